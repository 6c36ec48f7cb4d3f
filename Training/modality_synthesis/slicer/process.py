"""One run of the worker as a QProcess: messages while it runs, an `Outcome` when it ends, cancel that ends the tree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import qt

from modality_synthesis.slicer.command import WorkerCommand
from modality_synthesis.slicer.protocol import LineReader, Outcome, Transcript

GRACE_MILLISECONDS = 4000


class WorkerProcess:
    """Starts the worker, passes its messages on, and tells how it ended. Used once."""

    def __init__(self, command: WorkerCommand, onMessage: object, onFinished: object) -> None:
        """
        :param command: what to start.
        :param onMessage: called with each protocol message (a dict).
        :param onFinished: called once, with the `Outcome`.
        """
        self._command, self._onMessage, self._onFinished = command, onMessage, onFinished
        self._output, self._errors = LineReader(), LineReader()
        self._transcript = Transcript()
        self._pid = None
        self._needsResult = True
        self.cancelled = False
        self.running = False
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onErrorOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onProcessFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self.kill)

    @property
    def pid(self) -> int | None:
        """The worker's process id: of the Python itself, not of a launcher."""
        return self._pid

    def start(self, arguments: list, needsResult: bool = True) -> None:
        """Start the command; returns at once.

        :param arguments: the command and its arguments.
        :param needsResult: False for commands that end without a result message.
        """
        environment = qt.QProcessEnvironment()
        for name, value in self._command.environment().items():
            environment.insert(name, value)
        self._needsResult = needsResult
        self.running = True
        self._process.setProcessEnvironment(environment)
        self._process.start(self._command.program, self._command.line(arguments))

    def cancel(self) -> None:
        """Ask the worker to stop; end its whole process tree when it has not after some seconds."""
        if not self.running or self.cancelled:
            return
        self.cancelled = True
        self._process.closeWriteChannel()
        if self._pid is not None and os.name != "nt":
            ask_to_stop(self._pid)  # PythonSlicer is a launcher, and not every one passes standard input on
        self._timer.start(GRACE_MILLISECONDS)

    def kill(self) -> None:
        """End the process tree now."""
        if not self.running:
            return
        self.cancelled = True
        if self._pid is not None:
            kill_tree(self._pid)
        self._process.kill()

    def abandon(self) -> None:
        """End the process tree and call nobody: the panel goes away."""
        self._onMessage = self._onFinished = None
        if self.running:
            self._process.closeWriteChannel()
            self.kill()
            self._process.waitForFinished(2000)

    def _onOutput(self) -> None:
        self._take(self._output.feed(bytes(self._process.readAllStandardOutput().data())))

    def _onErrorOutput(self) -> None:
        data = bytes(self._process.readAllStandardError().data())
        self._transcript.log.extend(self._errors.feed(data))

    def _take(self, lines: list) -> None:
        for line in lines:
            message = self._transcript.add(line)
            if message is None:
                continue
            if message.get("pid"):
                self._pid = int(message["pid"])
            if self._onMessage is not None and not self.cancelled:
                self._onMessage(message)

    def _onProcessError(self, error: object) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(Outcome("INTERNAL", f"{self._command.program} could not be started."))

    def _onProcessFinished(self, exitCode: int, exitStatus: object) -> None:
        self._onOutput()
        self._onErrorOutput()
        self._take(self._output.finish())
        self._transcript.log.extend(self._errors.finish())
        normal = exitStatus == qt.QProcess.NormalExit
        self._end(self._transcript.outcome(exitCode if normal else None, self.cancelled, self._needsResult))

    def _end(self, outcome: Outcome) -> None:
        if not self.running:
            return
        self.running = False
        self._timer.stop()
        if self._onFinished is not None:
            self._onFinished(outcome)


def ask_to_stop(pid: int) -> None:
    """Like Ctrl-C: the worker cleans up and ends. A second request does no harm."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def kill_tree(pid: int) -> None:
    """End a worker and everything it started."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False)
        return
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
