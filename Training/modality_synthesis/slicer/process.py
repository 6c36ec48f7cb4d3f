"""A worker as a QProcess: what it says, line by line, jobs for it, and ending its process tree."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess

import qt

from modality_synthesis.slicer.command import WorkerCommand
from modality_synthesis.slicer.protocol import READY, LineReader, parse_line

GRACE_MILLISECONDS = 4000


class WorkerProcess:
    """One process, started once. Whoever `listen`s hears it: `onLines`, `onErrorLines` and, once, `onEnd`.

    Attributes:
        pid: of the Python itself, not of a launcher; None until it said so.
        ready: True once a serving worker can take jobs.
        running: until it has ended.
    """

    def __init__(self, command: WorkerCommand, listener: object) -> None:
        self._command, self._listener = command, listener
        # What one job floods standard error with is not kept whole.
        self._output, self._errors = LineReader(), LineReader(longest=10_000)
        self.pid = None
        self.ready = False
        self.running = False
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onErrorOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onProcessFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self.kill)

    def listen(self, listener: object) -> None:
        """From now on, another one hears the process; None is nobody."""
        self._listener = listener

    def start(self, arguments: list) -> None:
        """Start it; returns at once.

        :param arguments: what follows the command's own arguments.
        """
        environment = qt.QProcessEnvironment()
        for name, value in self._command.environment().items():
            environment.insert(name, value)
        self.running = True
        self._process.setProcessEnvironment(environment)
        self._process.start(self._command.program, self._command.line(arguments))

    def send(self, message: dict) -> None:
        """Write a line of JSON to the standard input of a serving worker."""
        self._process.write(json.dumps(message).encode("ascii") + b"\n")

    def stop(self) -> None:
        """Ask it to stop; end its whole process tree when it has not after some seconds."""
        self._process.closeWriteChannel()
        if self.pid is not None and os.name != "nt":
            ask_to_stop(self.pid)  # PythonSlicer is a launcher, and not every one passes standard input on
        self._timer.start(GRACE_MILLISECONDS)

    def kill(self) -> None:
        """End the process tree now."""
        if not self.running:
            return
        if self.pid is not None:
            kill_tree(self.pid)
        self._process.kill()

    def abandon(self) -> None:
        """End the process tree, wait until it is gone, and tell nobody."""
        self.listen(None)
        if self.running:
            self._process.closeWriteChannel()
            self.kill()
            self._process.waitForFinished(2000)

    def _onOutput(self) -> None:
        self._passOn(self._output.feed(bytes(self._process.readAllStandardOutput().data())))

    def _onErrorOutput(self) -> None:
        lines = self._errors.feed(bytes(self._process.readAllStandardError().data()))
        if lines and self._listener is not None:
            self._listener.onErrorLines(lines)

    def _passOn(self, lines: list) -> None:
        if self.pid is None or not self.ready:
            for message in filter(None, map(parse_line, lines)):
                if message.get("pid"):
                    self.pid = int(message["pid"])
                self.ready = self.ready or message["type"] == READY
        if lines and self._listener is not None:
            self._listener.onLines(lines)

    def _onProcessError(self, error: object) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(None, f"{self._command.program} could not be started.")

    def _onProcessFinished(self, exitCode: int, exitStatus: object) -> None:
        self._onOutput()
        self._onErrorOutput()
        self._passOn(self._output.finish())
        if self._listener is not None:
            self._listener.onErrorLines(self._errors.finish())
        self._end(exitCode if exitStatus == qt.QProcess.NormalExit else None, "")

    def _end(self, exitCode: int | None, failure: str) -> None:
        if not self.running:
            return
        self.running = False
        self._timer.stop()
        if self._listener is not None:
            self._listener.onEnd(exitCode, failure)


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
