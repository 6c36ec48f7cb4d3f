"""What happens around the command line in a process of its own: its surroundings, signals, the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from modality_synthesis import environment
from modality_synthesis.errors import CancelledError
from modality_synthesis.stopping import stoppable


def run(load: Callable[[], Callable[..., object]]) -> NoReturn:
    """Run the command line; the process ends with its exit code.

    Args:
        load: imports the typer application; signals are answered meanwhile.
    """
    environment.prepare()
    sys.exit(_flushed(execute(load)))


def execute(load: Callable[[], Callable[..., object]], arguments: Sequence[str] | None = None) -> int:
    """Run one command line, and answer signals meanwhile; returns its exit code.

    Args:
        load: gives the typer application.
        arguments: command and arguments; None takes those of the process.
    """
    try:
        with stoppable():
            load()(args=arguments, prog_name=environment.APPLICATION)
    except SystemExit as finished:
        code = finished.code
    except (CancelledError, KeyboardInterrupt):
        print("Error: Cancelled.", file=sys.stderr)
        code = CancelledError.exit_code
    else:
        code = 0
    return code if isinstance(code, int) else int(bool(code))


def _flushed(code: int) -> int:
    """The exit code, after what was printed has arrived: a full disk behind standard output is a failure."""
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"Error: standard output cannot be written: {(error.strerror or str(error)).lower()}.", file=sys.stderr)
        # The interpreter would try once more, and print what it met, when it ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        return code or 1
    return code
