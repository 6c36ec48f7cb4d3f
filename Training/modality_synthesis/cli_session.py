"""What every command of the command line shares: its reporter, its errors and signals, its result."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from modality_synthesis.console import JsonReporter, ProgressKind, finish, make_reporter, write_json_line
from modality_synthesis.errors import CancelledError, ModalitySynthesisError
from modality_synthesis.progress import Reporter

ProgressOption = Annotated[
    str,
    typer.Option("--progress", metavar="auto|bar|json|none", help="How progress is shown (json: worker protocol)."),
]


@contextmanager
def command(progress: str) -> Iterator[Reporter]:
    """Give a command its reporter; turn errors and signals into messages and exit codes."""
    kind: ProgressKind = progress if progress in ("auto", "bar", "json", "none") else "auto"  # type: ignore[assignment]
    reporter = make_reporter(kind)
    before = _on_signals(_cancel)
    try:
        yield reporter
    except ModalitySynthesisError as error:
        _fail(reporter, error.code, str(error), error.exit_code)
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _fail(
            reporter,
            CancelledError.code,
            "Cancelled. Nothing was left half-written.",
            CancelledError.exit_code,
        )
    except MemoryError:
        _fail(reporter, "OUT_OF_MEMORY", "Not enough memory. Close other programs and try again.", 1)
    except Exception as error:
        traceback.print_exc()
        _fail(reporter, "INTERNAL", f"Unexpected error ({type(error).__name__}): {error}", 1)
    finally:
        finish(reporter)
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_signals(handler: Callable[[int, Any], None]) -> dict[signal.Signals, Any]:
    """Set the handler for Ctrl-C and termination; returns the ones that were set."""
    return {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}


def _cancel(number: int, frame: Any) -> None:
    # A second signal must not interrupt the cleaning up that the first one started.
    _on_signals(lambda *_: None)
    raise CancelledError("Cancelled. Nothing was left half-written.")


def _fail(reporter: Reporter, code: str, message: str, exit_code: int) -> None:
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "error", "code": code, "message": message})
    else:
        print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(exit_code)


def result(reporter: Reporter, files: dict[str, Path], **facts: Any) -> None:
    """Say what was written."""
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "result", "files": {name: str(path) for name, path in files.items()}, **facts})
        return
    for name, path in files.items():
        print(f"{name + ':':<10} {os.fspath(path)}")


def require_all(finished: int, total: int) -> None:
    """End a command over rows with the code that says how many are finished: 0 all, 3 some, 1 none.

    Raises:
        typer.Exit: not all are.
    """
    if finished < total:
        raise typer.Exit(3 if finished else 1)


def need(*modules: str, extra: str) -> None:
    """Refuse a command whose optional libraries are not installed."""
    import importlib.util

    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModalitySynthesisError(
                f"This command needs {module!r}. Install it with: pip install 'modality-synthesis[{extra}]'"
            )
