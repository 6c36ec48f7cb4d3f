"""How long-running work tells its caller where it is.

Library functions take a `Reporter` and know nothing of terminals or JSON; `modality_synthesis.cli` provides the
reporters that print. A reporter handed to a sub-task covers a part of its parent's range (`Reporter.part`), so
every function can count from 0 to 1. What a function reports without a reporter at hand (a reader deep in a worker
process) goes to the one of the command under way (`current`), so that it is never lost.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Reporter:
    """Receives status, progress, warnings and findings. This base class keeps the latter two and shows nothing.

    Subclasses override `emit_status`, `emit_progress`, `emit_warning` and `emit_finding`.

    Attributes:
        warnings: so far.
        findings: so far.
        accepted: codes of findings that a person has looked at and accepted (`qc.tsv`): they warn, whatever their
            level.
    """

    warnings: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    accepted: frozenset[str] = frozenset()

    def status(self, message: str) -> None:
        """Say something worth reading once (which model, which device)."""
        self.emit_status(message)

    def progress(self, fraction: float, stage: str) -> None:
        """Report that `fraction` (0..1) of the work is done and `stage` is under way."""
        self.emit_progress(min(max(fraction, 0.0), 1.0), stage)

    def warning(self, message: str) -> None:
        """Report something the user must know although the work goes on; the same again is not repeated."""
        if message in self.warnings:
            return
        self.warnings.append(message)
        self.emit_warning(message)

    def finding(self, finding: Finding) -> None:
        """Report what a check found: kept at any level, a warning too when it is `look`.

        The same finding again (a file that is read twice) is not repeated.

        Raises:
            BadInputError: the level is `refuse`, and nobody has accepted it.
        """
        if finding.level != "refuse" and finding in self.findings:
            return
        self.findings.append(finding)
        self.emit_finding(finding)
        if finding.level == "look":
            self.warning(finding.text)
        elif finding.level == "refuse" and finding.code in self.accepted:
            self.warning(f"{finding.message} Accepted in qc.tsv.")
        elif finding.level == "refuse":
            error = BadInputError(finding.text)
            error.finding = finding
            raise error

    def row(self, index: int, state: str, message: str = "") -> None:
        """Report what became of one row of a batch: `running`, `done`, `skipped` or `failed`."""
        self.emit_row(index, state, message)

    def finished(self, count: int, total: int, stage: str, name: str = "") -> None:
        """Report that `count` of `total` items are done, the last of them called `name`."""
        self.progress(count / max(total, 1), stage)
        self.emit_finished(count, total, stage, name)

    def part(self, start: float, end: float) -> Reporter:
        """A reporter whose 0..1 is this one's `start`..`end`."""
        return _PartReporter(
            parent=self, start=start, end=end, warnings=self.warnings, findings=self.findings, accepted=self.accepted
        )

    def track(self, items: Sequence[Item], stage: str) -> Iterator[Item]:
        """Iterate over `items`, reporting progress before each."""
        for index, item in enumerate(items):
            self.progress(index / max(len(items), 1), stage)
            yield item
        self.progress(1.0, stage)

    def emit_status(self, message: str) -> None:
        """Show a status message."""

    def emit_progress(self, fraction: float, stage: str) -> None:
        """Show progress."""

    def emit_warning(self, message: str) -> None:
        """Show a warning."""

    def emit_finding(self, finding: Finding) -> None:
        """Pass on a finding; people see those that matter as warnings or errors anyway."""

    def emit_row(self, index: int, state: str, message: str) -> None:
        """Show the state of a batch's row."""

    def emit_finished(self, count: int, total: int, stage: str, name: str) -> None:
        """Show that an item is done."""


@dataclass
class _PartReporter(Reporter):
    parent: Reporter = field(default_factory=Reporter)
    start: float = 0.0
    end: float = 1.0

    def emit_status(self, message: str) -> None:
        self.parent.emit_status(message)

    def emit_progress(self, fraction: float, stage: str) -> None:
        self.parent.progress(self.start + fraction * (self.end - self.start), stage)

    def emit_warning(self, message: str) -> None:
        self.parent.emit_warning(message)

    def emit_finding(self, finding: Finding) -> None:
        self.parent.emit_finding(finding)

    def emit_row(self, index: int, state: str, message: str) -> None:
        self.parent.emit_row(index, state, message)

    def emit_finished(self, count: int, total: int, stage: str, name: str) -> None:
        self.parent.emit_finished(count, total, stage, name)


class PythonWarnings(Reporter):
    """For callers of the library without a reporter: what they must know becomes a Python warning."""

    def emit_warning(self, message: str) -> None:
        warnings.warn(message, stacklevel=4)


@dataclass
class _Doubts(_PartReporter):
    def emit_status(self, message: str) -> None:
        """Nothing."""

    def emit_progress(self, fraction: float, stage: str) -> None:
        """Nothing."""


_CURRENT: ContextVar[Reporter | None] = ContextVar("reporter", default=None)


def current() -> Reporter:
    """Takes warnings and findings to the reporter of the command under way; without one, they become Python's.

    Progress and status stay where they are: whoever has no reporter at hand does not know its share of the work.
    """
    parent = _CURRENT.get() or PythonWarnings()
    return _Doubts(parent=parent, warnings=parent.warnings, findings=parent.findings, accepted=parent.accepted)


@contextmanager
def reporting_to(reporter: Reporter) -> Iterator[None]:
    """Make a reporter the `current` one."""
    token = _CURRENT.set(reporter)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@dataclass(frozen=True)
class Reported(Generic[Result]):
    """What a function returned in a worker process, and what it had to say there."""

    result: Result
    warnings: tuple[str, ...]
    findings: tuple[Finding, ...]

    def retell(self, reporter: Reporter) -> Result:
        """Say it in this process; returns the result. A refusal has done there what it does, and is only kept here."""
        for finding in self.findings:
            if finding.level == "refuse":
                reporter.findings.append(finding)
                reporter.emit_finding(finding)
            else:
                reporter.finding(finding)
        said = {finding.text for finding in self.findings}
        for message in self.warnings:
            if message not in said:
                reporter.warning(message)
        return self.result


@dataclass(frozen=True)
class Collecting(Generic[Item, Result]):
    """A function whose warnings and findings come back with its result; picklable when the function is."""

    function: Callable[[Item], Result]

    def __call__(self, item: Item) -> Reported[Result]:
        reporter = Reporter()
        with reporting_to(reporter):
            result = self.function(item)
        return Reported(result, tuple(reporter.warnings), tuple(reporter.findings))


def parts(reporter: Reporter, weights: Iterable[float]) -> list[Reporter]:
    """Split a reporter into consecutive parts whose lengths are proportional to `weights`."""
    values = list(weights)
    total = sum(values)
    edges = [sum(values[:index]) / total for index in range(len(values) + 1)]
    return [reporter.part(start, end) for start, end in itertools.pairwise(edges)]
