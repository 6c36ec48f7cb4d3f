"""Errors a user can meet. Each carries the worker protocol's code and the process exit code.

Messages say what is wrong, why, and what to do, in one or two lines, with the file's name; they are shown
to users as they are, so they hold no patient data beyond the path the user gave.
"""

from __future__ import annotations

import os
import traceback

from modality_synthesis.findings import Finding

TRACEBACK_VARIABLE = "MODALITY_SYNTHESIS_TRACEBACK"


class ModalitySynthesisError(Exception):
    """Base of every error that is reported to the user without a traceback."""

    code = "INTERNAL"
    exit_code = 1


class BadInputError(ModalitySynthesisError):
    """A file, table or value given by the user cannot be used.

    Attributes:
        finding: what the check found, where a check refused (`Reporter.finding`).
    """

    code = "BAD_INPUT"
    finding: Finding | None = None


class UsageError(BadInputError):
    """The command or call itself is wrong (an unknown option value, for example)."""

    exit_code = 2


class ModelMissingError(ModalitySynthesisError):
    """No installed model package answers the request."""

    code = "MODEL_MISSING"


class HashMismatchError(ModalitySynthesisError):
    """A file's SHA-256 is not the one its model package declares."""

    code = "HASH_MISMATCH"


class OutOfMemoryError(ModalitySynthesisError):
    """Neither the device asked for nor its fallbacks have enough memory."""

    code = "OUT_OF_MEMORY"


class CancelledError(BaseException):
    """The user stopped the command. Like KeyboardInterrupt, it is none of the errors that work can go on after."""

    code = "CANCELLED"
    exit_code = 130


class WorkerLostError(ModalitySynthesisError):
    """A worker process was ended from outside, or took longer than allowed."""

    code = "WORKER_LOST"


def reported(error: BaseException) -> ModalitySynthesisError:
    """Any exception as one that people can be shown in one line; those meant for them come back as they are.

    With `MODALITY_SYNTHESIS_TRACEBACK` set, where an unforeseen one came from is printed.
    """
    if isinstance(error, ModalitySynthesisError):
        return error
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, MemoryError):
        return OutOfMemoryError("Not enough memory. Close other programs and try again.")
    if isinstance(error, OSError):
        return BadInputError(_refused_by_system(error))
    if isinstance(error, RecursionError):
        return BadInputError("An input is nested too deeply to be read (JSON or YAML). Is it the right file?")
    return ModalitySynthesisError(
        f"Unexpected error ({type(error).__name__}): {_first_line(error)} This is a fault of the program; please "
        f"report it with what {TRACEBACK_VARIABLE}=1 makes the same command print."
    )


def _refused_by_system(error: OSError) -> str:
    reason = (error.strerror or _first_line(error) or type(error).__name__).rstrip(".")
    named = error.filename if isinstance(error.filename, (str, bytes, os.PathLike)) else None
    return f"{reason}." if named is None else f"{os.fsdecode(named)}: {reason[:1].lower()}{reason[1:]}."


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else ""
