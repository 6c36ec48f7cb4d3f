"""Errors a user can meet. Each carries the worker protocol's code and the process exit code.

Messages say what is wrong, why, and what to do, in one or two lines, with the file's name; they are shown
to users as they are, so they hold no patient data beyond the path the user gave.
"""

from __future__ import annotations

from modality_synthesis.findings import Finding


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
