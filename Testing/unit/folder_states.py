"""What a folder holds, and interruptions at every step that changes it."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

State = dict[str, str]

# The calls by which this program changes a folder.
STEPS = ("open", "replace", "link", "unlink", "mkdir", "fsync", "write", "ftruncate", "rmdir")


def state(folder: Path, *, own: bool = False) -> State:
    """Path -> SHA-256 (or what else it is), without the program's own temporary files unless `own`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if own or not any(part.startswith(".ms-") for part in parts):
            name = "/".join(parts)
            if path.is_symlink():
                found[name] = f"link to {os.readlink(path)}"
            elif path.is_dir():
                found[name] = "folder"
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@contextmanager
def failing_at(
    monkeypatch: pytest.MonkeyPatch, number: int, failure: Callable[[str], None], folder: Path
) -> Iterator[list[str]]:
    """The `number`-th step that changes something in `folder` fails; the list says which steps there were."""
    seen: list[str] = []

    def instead(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            if _concerns(name, arguments, folder):
                seen.append(name)
                if len(seen) == number:
                    failure(name)
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, instead(name, getattr(os, name)))
        yield seen


def _concerns(name: str, arguments: tuple[object, ...], folder: Path) -> bool:
    if name == "open" and not arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):  # type: ignore[operator]
        return False
    what = arguments[0]
    if isinstance(what, int):
        try:
            what = os.readlink(f"/proc/self/fd/{what}")
        except OSError:
            return False
    return str(os.fspath(what)).startswith(str(folder))  # type: ignore[call-overload]


def numbers_until_done(run: Callable[[int], bool]) -> int:
    """Call `run(1)`, `run(2)` ... until one reports that nothing was interrupted; returns how many were."""
    for number in itertools.count(1):
        if not run(number):
            return number - 1
    raise AssertionError


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, folder: Path, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed at that step; whether it was."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with failing_at(monkeypatch, number, lambda name: os.kill(os.getpid(), signal.SIGKILL), folder):
                work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
