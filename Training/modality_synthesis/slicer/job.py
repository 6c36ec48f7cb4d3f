"""One job of the worker: messages while it runs, an `Outcome` when it ends, cancel.

It runs in the warm worker when that one is free, else in a process of its own, and so it does when the warm worker ends, or
says nothing, before it took the job.
"""

from __future__ import annotations

import os

import qt

from modality_synthesis.slicer.command import WorkerCommand
from modality_synthesis.slicer.process import WorkerProcess
from modality_synthesis.slicer.protocol import CANCELLED_EXIT, JOB, READY, Outcome, Transcript, parse_line
from modality_synthesis.slicer.warm import warm

# A worker that is ready takes a job at once.
TAKE_MILLISECONDS = 5000


class Job:
    """Started once. `running` until `onFinished` is called."""

    def __init__(self, command: WorkerCommand, onMessage: object, onFinished: object) -> None:
        """
        :param command: how a worker is started.
        :param onMessage: called with each protocol message (a dict).
        :param onFinished: called once, with the `Outcome`.
        """
        self._command, self._onMessage, self._onFinished = command, onMessage, onFinished
        self._arguments, self._needsResult = [], True
        self._transcript = Transcript()
        self._process = None
        self._former = None  # a QProcess must not be deleted inside its own signal
        self._isWarm = self._taken = self._saidAll = False
        self._exitCode = None
        self.cancelled = False
        self.running = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._onNotTaken)

    @property
    def pid(self) -> int | None:
        """The process id of the Python that works."""
        return self._process.pid if self._process is not None else None

    def start(self, arguments: list, needsResult: bool = True) -> None:
        """Start the job; returns at once.

        :param arguments: the command and its arguments.
        :param needsResult: False for commands that end without a result message.
        """
        self._arguments, self._needsResult = [str(argument) for argument in arguments], needsResult
        self._process = warm.lend(self._command)
        self._isWarm = self._process is not None
        self.running = True
        if not self._isWarm:
            self._startAlone()
            return
        self._process.listen(self)
        self._process.send({"arguments": self._arguments, "folder": workingFolder()})
        if self._process.ready:
            self._timer.start(TAKE_MILLISECONDS)

    def cancel(self) -> None:
        """Ask the worker to stop; end its whole process tree when it has not after some seconds."""
        if self.running and not self.cancelled:
            self.cancelled = True
            self._process.stop()

    def abandon(self) -> None:
        """End the process tree and call nobody: the scene or the panel goes away."""
        self._onMessage = self._onFinished = None
        if self.running:
            self.running = False
            self._timer.stop()
            warm.drop(self._process)
            self._process.abandon()

    # What the process says

    def onLines(self, lines: list) -> None:
        """Lines of standard output."""
        for line in lines:
            if self._isWarm and self._tookNote(parse_line(line)):
                continue
            message = self._transcript.add(line)
            if message is not None and self._onMessage is not None and not self.cancelled:
                self._onMessage(message)
        self._finishWhenComplete()

    def onErrorLines(self, lines: list) -> None:
        """Lines of standard error: the log, and at its end what says that it is complete."""
        for line in lines:
            if self._isWarm and _isEndOfJob(parse_line(line)):
                self._saidAll = True
            else:
                self._transcript.note(line)
        self._finishWhenComplete()

    def onEnd(self, exitCode: int | None, failure: str) -> None:
        """The process has ended."""
        if self._isWarm:
            warm.drop(self._process, refused=not self._process.ready and not self.cancelled)
            if not self._taken and not self.cancelled:
                self._startAlone()
                return
        if failure:
            self._end(Outcome("INTERNAL", failure))
        else:
            self._judge(self._exitCode if self._exitCode is not None else exitCode)

    def _tookNote(self, message: dict | None) -> bool:
        """Messages of the warm worker itself."""
        if message is None or message["type"] not in (READY, JOB):
            return False
        if message["type"] == READY:
            self._timer.start(TAKE_MILLISECONDS)
        elif _isEndOfJob(message):
            self._exitCode = int(message.get("exit_code", 1))
        else:
            self._taken = True
            self._timer.stop()
        return True

    def _finishWhenComplete(self) -> None:
        complete = self._isWarm and self._exitCode is not None and self._saidAll
        # A worker whose job was cancelled ends by itself: the job is over then.
        if complete and self.running and not self.cancelled and self._exitCode != CANCELLED_EXIT:
            warm.giveBack(self._process)
            self._judge(self._exitCode)

    def _onNotTaken(self) -> None:
        """A launcher that keeps standard input to itself, a worker that hangs."""
        if self.running and not self._taken and not self.cancelled:
            warm.drop(self._process, refused=True)
            self._process.abandon()
            self._startAlone()

    def _startAlone(self) -> None:
        self._timer.stop()
        self._isWarm, self._transcript = False, Transcript()
        self._former, self._process = self._process, WorkerProcess(self._command, self)
        self._process.start(self._arguments)

    def _judge(self, exitCode: int | None) -> None:
        self._end(self._transcript.outcome(exitCode, self.cancelled, self._needsResult))

    def _end(self, outcome: Outcome) -> None:
        if not self.running:
            return
        self.running = False
        self._timer.stop()
        if self._onFinished is not None:
            self._onFinished(outcome)


def _isEndOfJob(message: dict | None) -> bool:
    return message is not None and message["type"] == JOB and message.get("state") == "finished"


def workingFolder() -> str:
    """Where relative paths of a job begin; empty when that folder is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""
