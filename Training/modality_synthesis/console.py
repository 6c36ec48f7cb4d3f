"""Reporters for the command line: a progress bar for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from modality_synthesis.environment import shown
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ProgressKind = Literal["auto", "bar", "json", "none"]


def make_reporter(kind: ProgressKind) -> Reporter:
    """`auto` is a bar on a terminal and plain lines elsewhere."""
    if kind == "json":
        return JsonReporter()
    if kind == "bar" or (kind == "auto" and sys.stderr.isatty()):
        return BarReporter()
    return LineReporter(quiet=kind == "none")


def finish(reporter: Reporter) -> None:
    """Take the progress bar off the screen."""
    if isinstance(reporter, BarReporter):
        reporter.stop()


@dataclass
class JsonReporter(Reporter):
    """The worker protocol: one JSON object per line on stdout."""

    started: float = field(default_factory=time.monotonic)

    def emit_status(self, message: str) -> None:
        write_json_line({"type": "status", "message": message})

    def emit_progress(self, fraction: float, stage: str) -> None:
        elapsed = time.monotonic() - self.started
        remaining = elapsed * (1 - fraction) / fraction if fraction > 0.02 else None
        write_json_line(
            {
                "type": "progress",
                "fraction": round(fraction, 4),
                "stage": stage,
                "remaining": None if remaining is None else round(remaining, 1),
            }
        )

    def emit_warning(self, message: str) -> None:
        write_json_line({"type": "warning", "message": message})

    def emit_finding(self, finding: Finding) -> None:
        write_json_line({"type": "finding", **finding.as_dict()})

    def emit_row(self, index: int, state: str, message: str) -> None:
        write_json_line({"type": "status", "row": index, "state": state, "message": message})


def write_json_line(record: dict[str, Any]) -> None:
    """One protocol message, in ASCII: it passes any code page, and a file name of any bytes comes out as it went in."""
    print(json.dumps(record, ensure_ascii=True), flush=True)


@dataclass
class LineReporter(Reporter):
    """Warnings, one line per stage and one per finished person, for logs of runs that nobody watches."""

    quiet: bool = False
    stage: str = ""
    started: float = field(default_factory=time.monotonic)

    def emit_status(self, message: str) -> None:
        if not self.quiet:
            print(shown(message), file=sys.stderr, flush=True)

    def emit_progress(self, fraction: float, stage: str) -> None:
        if not self.quiet and stage != self.stage:
            print(f"{fraction:4.0%}  {shown(stage)}", file=sys.stderr, flush=True)
        self.stage = stage

    def emit_warning(self, message: str) -> None:
        print(f"Warning: {shown(message)}", file=sys.stderr, flush=True)

    def emit_finished(self, count: int, total: int, stage: str, name: str) -> None:
        if not self.quiet:
            minutes = (time.monotonic() - self.started) / 60
            whose = f": {shown(name)}" if name else ""
            print(f"      {stage}, {count} of {total}{whose} ({minutes:.1f} min)", file=sys.stderr, flush=True)


@dataclass
class BarReporter(Reporter):
    """A progress bar on stderr with the stage and the time left."""

    bar: Progress | None = None
    task: TaskID | None = None

    def _started(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        if self.bar is None or self.task is None:
            columns = (
                TextColumn("{task.description:<34}"),
                BarColumn(None),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("Starting", total=1.0)
        return self.bar, self.task

    def emit_status(self, message: str) -> None:
        bar, _ = self._started()
        bar.console.print(shown(message), highlight=False, markup=False)

    def emit_progress(self, fraction: float, stage: str) -> None:
        from rich.markup import escape

        bar, task = self._started()
        bar.update(task, completed=fraction, description=escape(shown(stage)))

    def emit_warning(self, message: str) -> None:
        bar, _ = self._started()
        bar.console.print(f"Warning: {shown(message)}", style="yellow", highlight=False, markup=False)

    def stop(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
