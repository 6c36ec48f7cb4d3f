"""What every command of the command line shares: its reporter, its errors and signals, its result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast, get_args

import typer

from modality_synthesis.console import JsonReporter, ProgressKind, finish, make_reporter, write_json_line
from modality_synthesis.environment import shown
from modality_synthesis.errors import CancelledError, ModalitySynthesisError, UsageError, reported
from modality_synthesis.progress import Reporter, reporting_to
from modality_synthesis.stopping import stoppable

ProgressOption = Annotated[
    str,
    typer.Option("--progress", metavar="auto|bar|json|none", help="How progress is shown (json: worker protocol)."),
]


@contextmanager
def command(progress: str) -> Iterator[Reporter]:
    """Give a command its reporter; turn errors and signals into messages and exit codes.

    Raises:
        UsageError: no such kind of progress.
    """
    if progress not in get_args(ProgressKind):
        _fail(make_reporter("none"), UsageError.code, _unknown_progress(progress), UsageError.exit_code)
    reporter = make_reporter(cast(ProgressKind, progress))
    try:
        with reporting_to(reporter), stoppable(lambda: _say_error(reporter, CancelledError.code, "Cancelled.")):
            yield reporter
    except typer.Exit:
        raise
    except (CancelledError, KeyboardInterrupt):
        _fail(reporter, CancelledError.code, "Cancelled.", CancelledError.exit_code)
    except Exception as error:
        told = reported(error)
        _fail(reporter, told.code, str(told), told.exit_code)
    finally:
        finish(reporter)


def _unknown_progress(progress: str) -> str:
    return f"Unknown --progress {progress!r}. Use {', '.join(get_args(ProgressKind))}."


@contextmanager
def one_result() -> Iterator[None]:
    """For commands that end with one result: all its files appear together, and nothing cancels them afterwards."""
    from modality_synthesis.volumes.atomic import atomic_files

    with atomic_files(final=True):
        yield


def _fail(reporter: Reporter, code: str, message: str, exit_code: int) -> NoReturn:
    _say_error(reporter, code, message)
    raise typer.Exit(exit_code)


def _say_error(reporter: Reporter, code: str, message: str) -> None:
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "error", "code": code, "message": message})
    else:
        print(f"Error: {shown(message)}", file=sys.stderr)


def result(reporter: Reporter, files: dict[str, Path], **facts: Any) -> None:
    """Say what was written."""
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "result", "files": {name: str(path) for name, path in files.items()}, **facts})
        return
    for name, path in files.items():
        print(f"{name + ':':<10} {shown(path)}")


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
