"""Waiting for what a process that a test started is about to do, without a guess at how long that takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# A test that hangs is worse than one that fails; no test is about this limit.
_HANGS_S = 600.0


def wait_until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Poll until a condition holds.

    Args:
        condition: what is waited for.
        process: who is to bring it about; its end before that is a failure.
    """
    end = time.monotonic() + _HANGS_S
    while not condition():
        assert time.monotonic() < end, "it never happened"
        assert process is None or process.poll() is None, f"the process ended with {process.returncode}"
        time.sleep(0.05)


def wait_until_asleep(process: subprocess.Popen, polls: int = 5) -> None:
    """Wait until the main thread of a process sleeps in a system call, at several looks on end and using no CPU.

    A thread that is only waiting for its turn on a busy machine is not asleep.
    """
    if not Path("/proc/self/stat").exists():
        pytest.fail("The states of processes are read from /proc, which this system has not.")
    history: list[tuple[str, int]] = []

    def asleep() -> bool:
        fields = Path(f"/proc/{process.pid}/task/{process.pid}/stat").read_text().rpartition(")")[2].split()
        history.append((fields[0], int(fields[11]) + int(fields[12])))
        return len(history) >= polls and set(history[-polls:]) == {("S", history[-1][1])}

    wait_until(asleep, process)


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
