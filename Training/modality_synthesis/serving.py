"""Many command lines in one process, one after another, for programs: what takes seconds to import is imported once.

`python -m modality_synthesis.serving` reads jobs from standard input, JSON objects, one a line:

    {"arguments": ["synthesize", "t1.nii.gz", "-o", "pet.nii.gz", "--progress", "json"], "folder": "/where/it/runs"}

and says on standard output, one JSON object a line: `{"type": "ready"}` once; for each job `{"type": "job", "state":
"started"}`, whatever the command itself says there, and `{"type": "job", "state": "finished", "exit_code": 0}`. The
last goes to standard error too, behind everything that the job wrote there.

A job finds what a new process would give it (`fresh_start`); one that crashes the process costs that job only. The
process ends when standard input closes, and with a job that is cancelled: both cancel what runs.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, NoReturn

from modality_synthesis import environment
from modality_synthesis.console import write_json_line
from modality_synthesis.errors import CancelledError, UsageError
from modality_synthesis.fresh_start import fresh_start, give_memory_back
from modality_synthesis.program import execute
from modality_synthesis.stopping import interrupt, stoppable

# What every synthesis needs. A model's own libraries, and the loaded model, would go here too.
PRELOADED = (
    "torch",
    "SimpleITK",
    "modality_synthesis.synthesis.pipeline",
    "modality_synthesis.generators.residual_unet",
)
# Between being asked to stop and being ended by force.
PATIENCE_S = 10.0


def serve(app: Callable[..., object], preloaded: Sequence[str] = PRELOADED) -> NoReturn:
    """Run the jobs that come in; the process ends with 0, or 130 when a job was cancelled.

    Takes standard input and output for itself: what libraries below Python print goes to standard error, and a job that
    reads finds nothing.

    Args:
        app: the typer application.
        preloaded: modules to import before the first job; those that are missing are left to the job that needs them.
    """
    environment.prepare()
    inbox = _Inbox(_take_streams())
    inbox.open()
    try:
        with stoppable():
            for name in preloaded:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            _say({"type": "ready"})
            code = _work(app, inbox)
    except (CancelledError, KeyboardInterrupt):
        code = CancelledError.exit_code
    sys.exit(code)


def _take_streams() -> int:
    """The standard streams for the jobs alone; returns where jobs come in."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - as long as the process
    stream = open(outgoing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = environment.steady(stream)
    return incoming


@dataclass
class _Inbox:
    """The jobs that came in and wait. None is the end."""

    incoming: int
    lines: SimpleQueue[bytes | None] = field(default_factory=SimpleQueue)
    came: int = 0
    asked: int = 0

    def open(self) -> None:
        threading.Thread(target=self._read, name="jobs", daemon=True).start()

    def next(self) -> bytes | None:
        """The next job. Who asks for it is done with the one before."""
        self.asked += 1
        return self.lines.get()

    def _read(self) -> None:
        rest: list[bytes] = []
        with contextlib.suppress(OSError):
            while data := os.read(self.incoming, 1 << 16):
                *lines, last = data.split(b"\n")
                for line in lines:
                    rest.append(line)
                    if b"".join(rest).strip():
                        self.came += 1
                        self.lines.put(b"".join(rest))
                    rest = []
                rest.append(last)
        self.lines.put(None)
        if self.came and self.asked <= self.came:  # a job runs, or waits
            interrupt()
        time.sleep(PATIENCE_S)
        os._exit(CancelledError.exit_code)


def _work(app: Callable[..., object], inbox: _Inbox) -> int:
    while (line := inbox.next()) is not None:
        _say({"type": "job", "state": "started"})
        # A context of its own: neither reporter nor open files of this job are the next one's.
        with fresh_start():
            code = contextvars.copy_context().run(_run, app, line)
        finished = {"type": "job", "state": "finished", "exit_code": code}
        _say(finished)
        with contextlib.suppress(OSError):
            sys.stderr.flush()
            os.write(2, b"\n" + json.dumps(finished).encode("ascii") + b"\n")
        if code == CancelledError.exit_code:
            return code
        give_memory_back()
    return 0


def _run(app: Callable[..., object], line: bytes) -> int:
    try:
        job = _understood(line)
        if job.folder:
            os.chdir(job.folder)
    except (UsageError, OSError) as error:
        _say({"type": "error", "code": UsageError.code, "message": f"This job cannot be run: {error}"})
        return UsageError.exit_code
    try:
        return execute(lambda: app, job.arguments)
    except Exception:  # what a process of its own would end with
        traceback.print_exc()
        return 1


@dataclass(frozen=True)
class _Job:
    arguments: list[str]
    folder: str


def _understood(line: bytes) -> _Job:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is no JSON ({error}).") from None
    arguments: Any = facts.get("arguments") if isinstance(facts, dict) else None
    if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
        raise UsageError('"arguments" must be a list of texts.')
    folder = facts.get("folder") or ""
    if not isinstance(folder, str):
        raise UsageError('"folder" must be a text.')
    return _Job(arguments, folder)


def _say(message: dict[str, Any]) -> None:
    """On a line of its own, whatever was printed without an end of line before."""
    sys.stdout.write("\n")
    write_json_line(message)


def main() -> NoReturn:
    """Serve this program's own command line."""
    from modality_synthesis.cli import app

    serve(app)


if __name__ == "__main__":
    main()
