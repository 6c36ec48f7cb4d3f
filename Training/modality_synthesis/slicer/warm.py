"""The worker that is kept ready for the next job: what takes seconds to import is imported already.

There is one for the whole application, which both panels share: a job that finds it at work gets a process of its own. It is
started when a job could be started, at the latest with the first job; it ends with a cancelled job, after ten idle minutes,
and with Slicer. Other environment variables, or another Python, need another one.
"""

from __future__ import annotations

import qt
import slicer

from modality_synthesis.slicer.command import WorkerCommand
from modality_synthesis.slicer.process import WorkerProcess
from modality_synthesis.slicer.worker import SERVE

KEEP_SETTING = "ModalitySynthesis/KeepWorker"
IDLE_MILLISECONDS = 10 * 60 * 1000


class WarmWorker:
    """Starts the process, lends it to one job at a time, and ends it when nobody needs it."""

    def __init__(self) -> None:
        self._process = None
        self._former = None  # a QProcess must not be deleted inside its own signal
        self._kind = None  # what the process was started with
        self._refused = None  # what could not be started like this
        self._lent = False
        self._timer = None

    @property
    def pid(self) -> int | None:
        """The process that is there, idle or at work."""
        return self._process.pid if self._process is not None else None

    @property
    def ready(self) -> bool:
        """True while it waits for a job."""
        return self._process is not None and self._process.ready and not self._lent

    def prepare(self, command: WorkerCommand) -> None:
        """Have a process for this command, unless the user wants none, it is at work, or it did not work before."""
        kind = kindOf(command)
        if self._lent or kind == self._refused or (self._process is not None and kind == self._kind):
            return
        self.end()
        if not keptReady():
            return
        self._process, self._kind = WorkerProcess(command, self), kind
        self._process.start([SERVE])
        self._rest()

    def lend(self, command: WorkerCommand) -> WorkerProcess | None:
        """The process, for a job of this command; None when the job needs one of its own."""
        self.prepare(command)
        if self._process is None or self._lent or kindOf(command) != self._kind or not keptReady():
            return None
        self._lent = True
        self._timer.stop()
        return self._process

    def giveBack(self, process: WorkerProcess) -> None:
        """The job is done; the process waits for the next one."""
        self._lent = False
        process.listen(self)
        if keptReady():
            self._rest()
        else:
            self.end()

    def drop(self, process: WorkerProcess, refused: bool = False) -> None:
        """The process has ended, or ends.

        :param refused: True when it never became ready, so that trying again is of no use.
        """
        if process is not self._process:
            return
        if refused:
            self._refused = self._kind
        self._former, self._process, self._lent = process, None, False
        self._timer.stop()

    def end(self) -> None:
        """End the process when it is idle. A job that it works at keeps it."""
        if self._process is None or self._lent:
            return
        process = self._process
        self.drop(process)
        process.abandon()

    def renew(self) -> None:
        """The packages are others now: an idle process goes, and what did not work before is tried again."""
        self._refused = None
        self.end()

    def onLines(self, lines: list) -> None:
        """Nobody asked: what a library prints while it waits."""

    onErrorLines = onLines

    def onEnd(self, exitCode: int | None, failure: str) -> None:
        """It ended while it was idle: killed from outside, or it could not start."""
        if self._process is not None:
            self.drop(self._process, refused=not self._process.ready)

    def _rest(self) -> None:
        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.setSingleShot(True)
            self._timer.connect("timeout()", self.end)
        self._timer.start(IDLE_MILLISECONDS)


def kindOf(command: WorkerCommand) -> tuple:
    """Two commands of one kind can share a process."""
    return command.program, tuple(command.arguments), tuple(sorted(command.environment().items()))


def keptReady() -> bool:
    """Whether the user wants a worker to be kept; it is remembered for this machine."""
    return slicer.util.settingsValue(KEEP_SETTING, True, converter=slicer.util.toBool)


warm = WarmWorker()
