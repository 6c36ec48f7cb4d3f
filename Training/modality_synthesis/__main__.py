"""The program's entry: answers signals before the command line is loaded."""

from __future__ import annotations

from collections.abc import Callable

from modality_synthesis.program import run


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    run(_command_line)


def _command_line() -> Callable[..., object]:
    from modality_synthesis.cli import app

    return app


if __name__ == "__main__":
    main()
