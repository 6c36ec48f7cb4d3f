"""Which Python runs the worker, and with which environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

import slicer

from modality_synthesis.slicer.protocol import LineReader, Outcome, Transcript

PYTHON_SETTING = "ModalitySynthesis/Python"
PYTHON_VARIABLE = "MODALITY_SYNTHESIS_PYTHON"
WORKER_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


@dataclass
class WorkerCommand:
    """How to start the worker.

    Attributes:
        program: a Python.
        arguments: what comes before the command's own arguments.
        own_environment: True when the program is not Slicer's: it then gets the environment Slicer was started in.
    """

    program: str
    arguments: list = field(default_factory=lambda: [WORKER_SCRIPT])
    own_environment: bool = False

    def line(self, arguments: list) -> list:
        """The complete argument list, without the program."""
        return [*self.arguments, *(str(argument) for argument in arguments)]

    def environment(self) -> dict:
        """The environment variables of the process."""
        variables = slicer.util.startupEnvironment() if self.own_environment else dict(os.environ)
        variables.update({"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"})
        return variables


def chosen_python() -> str:
    """The Python that the user chose instead of Slicer's; empty when none."""
    return os.environ.get(PYTHON_VARIABLE) or slicer.util.settingsValue(PYTHON_SETTING, "", converter=str)


def worker_command() -> WorkerCommand:
    """The user's Python when one is set, else Slicer's own."""
    chosen = chosen_python()
    if chosen:
        return WorkerCommand(chosen, own_environment=True)
    return WorkerCommand(slicer_python())


def slicer_python() -> str:
    """PythonSlicer; outside the application, the running Python."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = os.path.join(slicer.app.slicerHome, "bin", name)
    return beside if os.path.isfile(beside) else shutil.which("PythonSlicer") or sys.executable


def run_blocking(command: WorkerCommand, arguments: list, on_message: object = None) -> Outcome:
    """Run the worker and wait: for scripts and tests, never for the panel.

    :param on_message: called with each protocol message.
    """
    transcript, reader = Transcript(), LineReader()
    process = subprocess.Popen(
        [command.program, *command.line(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=command.environment(),
    )
    try:
        for raw in process.stdout:
            for line in reader.feed(raw):
                message = transcript.add(line)
                if message is not None and on_message is not None:
                    on_message(message)
        for line in reader.finish():
            transcript.add(line)
    finally:
        process.stdin.close()
        process.stdout.close()
        exit_code = process.wait()
    return transcript.outcome(exit_code)
