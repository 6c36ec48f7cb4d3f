"""The program's entry: makes the process around it usable, answers signals, then loads the command line."""

from __future__ import annotations

import os
import sys

from modality_synthesis import environment
from modality_synthesis.errors import CancelledError
from modality_synthesis.stopping import stoppable


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    environment.prepare()
    try:
        with stoppable():
            from modality_synthesis.cli import app

            app(prog_name=environment.APPLICATION)
    except SystemExit as finished:
        code = finished.code
    except (CancelledError, KeyboardInterrupt):
        print("Error: Cancelled.", file=sys.stderr)
        code = CancelledError.exit_code
    else:
        code = 0
    sys.exit(_flushed(code if isinstance(code, int) else int(bool(code))))


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


if __name__ == "__main__":
    main()
