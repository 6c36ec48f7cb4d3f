"""The worker process: runs one command of `modality_synthesis.cli` for the panel, or with `--serve` one after another.

A script, not imported: it needs no installed package, so it works from a source tree too. It says its process id first,
is the leader of its own process group (so that the whole tree can be ended), and stops like after Ctrl-C when its
standard input closes: that is how the panel cancels, and what happens when Slicer ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable

OLDEST_PYTHON = (3, 10)
SERVE = "--serve"


def say(message: dict) -> None:
    """One line of the worker protocol."""
    print(json.dumps(message), flush=True)


def stop_when_input_closes(interrupt: Callable[[], None]) -> None:
    """Interrupt the command once nobody holds the other end of standard input."""
    # Not through sys.stdin: its lock, held by this thread, would crash the interpreter when it ends.
    while os.read(0, 1):
        pass
    interrupt()


def main() -> None:
    """Run the command line that was given."""
    # This script's own folder must not be a place to import from: its modules have common names.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if hasattr(os, "setsid"):
        try:
            os.setsid()
        except OSError:
            pass  # leads a group already
    say({"type": "status", "message": "Starting", "pid": os.getpid()})
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(str(number) for number in OLDEST_PYTHON)
        message = (
            f"The generators need Python {needed} or newer, this is {sys.version.split()[0]}. Use Slicer 5.10 or newer, or "
            "choose another Python under Advanced."
        )
        say({"type": "error", "code": "BAD_PYTHON", "message": message})
        raise SystemExit(1)
    from modality_synthesis.stopping import interrupt

    serves = sys.argv[1:] == [SERVE]
    if not serves:
        threading.Thread(target=stop_when_input_closes, args=(interrupt,), daemon=True).start()
    try:
        from modality_synthesis import cli
    except ImportError as error:
        message = f"{error.name or error} is not installed in {sys.executable}. Install the requirements and try again."
        say({"type": "error", "code": "DEPENDENCIES_MISSING", "message": message})
        raise SystemExit(1) from None
    if serves:
        from modality_synthesis.serving import serve

        serve(cli.app)
    cli.main()


if __name__ == "__main__":
    main()
