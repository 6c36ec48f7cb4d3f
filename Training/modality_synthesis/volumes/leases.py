"""Who writes into a folder, and whether that process still lives: a small file, locked as long as it does.

Host name and process number say nothing: containers share both. A lock (flock) is kept by the kernel, which knows every
process of every container on it, and ends with the process however that ends. Where another machine may have taken the
lock (network file systems that keep locks to themselves), or no lock can be had, a day must pass without a change.

All names of the program's own start with `.ms-`: `.ms-lease-TOKEN`, `.ms-tmp-TOKEN-1.nii.gz` (being written),
`.ms-old-TOKEN-1.nii.gz` (what it replaces) and `.ms-probe-TOKEN`. The token begins with the kernel's own.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OWN = re.compile(r"^\.ms-(?P<kind>lease|tmp|old|probe)-(?P<token>[0-9a-f]{8}-[0-9a-f]{12})(?:-\d+)?(?:\..*)?$")
# Of version 0.1.0: `.NAME.ms-tmp-HOST-PID.ENDING`.
_FORMER = re.compile(r"^\..+\.ms-(?P<kind>tmp|old)-(?:[A-Za-z0-9]+-)?\d+(?:\..*)?$")
# Longer than any volume takes to write.
ABANDONED_AFTER_S = 24 * 3600
_HELD = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}


@dataclass(frozen=True)
class OwnName:
    """What the name of one of the program's own files says; `token` is empty for those of former versions."""

    kind: str
    token: str = ""


def parse_own_name(name: str) -> OwnName | None:
    """None for a file that is not the program's own."""
    if match := _OWN.match(name):
        return OwnName(match["kind"], match["token"])
    if match := _FORMER.match(name):
        return OwnName(match["kind"])
    return None


def new_token() -> str:
    """Of one result that is being written: unlike any other's, in whatever thread, process, container or machine."""
    return f"{_kernel()}-{secrets.token_hex(6)}"


class Lease:
    """The file `.ms-lease-TOKEN` in a folder, open and locked; it holds what the next process must know."""

    def __init__(self, path: Path, handle: int, *, is_locked: bool) -> None:
        self.path, self._handle, self.is_locked = path, handle, is_locked

    @classmethod
    def take(cls, folder: Path, token: str) -> Lease:
        """Create one.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = folder / f".ms-lease-{token}"
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            locked = _lock(handle)
            # Another process may have taken the file for an abandoned one before it was locked.
            if locked is not False and _is_at(handle, path):
                return cls(path, handle, is_locked=bool(locked))
            os.close(handle)

    @classmethod
    def inherit(cls, path: Path) -> Lease | None:
        """Take over a lease whose process is gone; None while it lives, or may live."""
        try:
            handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            return None
        locked = _lock(handle)
        name = parse_own_name(path.name)
        certain = locked and name is not None and _locks_reach(path.parent, name.token)
        if locked is not False and _is_at(handle, path) and (certain or is_old(path)):
            return cls(path, handle, is_locked=bool(locked))
        os.close(handle)
        return None

    def read(self) -> dict[str, Any]:
        """What `write` left; empty without anything, or when it was not written to its end."""
        with suppress(OSError, ValueError):
            os.lseek(self._handle, 0, os.SEEK_SET)
            found = json.loads(os.read(self._handle, os.fstat(self._handle).st_size))
            if isinstance(found, dict):
                return found
        return {}

    def write(self, facts: Mapping[str, Any]) -> None:
        """Keep `facts` where a crash cannot lose them. Raises OSError when the disk is full."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        # ASCII, so that names that are not UTF-8 come back as they were.
        text = json.dumps(facts).encode("ascii")
        while text:
            text = text[os.write(self._handle, text) :]
        os.fsync(self._handle)

    def touch(self) -> None:
        """Say that the writer lives, to machines that cannot see its lock."""
        with suppress(OSError):
            os.utime(self.path)

    def end(self) -> None:
        """Remove the file, and with it the lock."""
        if sys.platform == "win32":
            self.leave()
        with suppress(OSError):
            self.path.unlink()
        self.leave()

    def leave(self) -> None:
        """Give the lock up and leave the file: the next process takes it over."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def is_abandoned(path: Path, token: str) -> bool:
    """Whether a file without a lease is left over: at once where its writer would be known, after a day elsewhere."""
    return (token != "" and _locks_reach(path.parent, token)) or is_old(path)


def is_old(path: Path) -> bool:
    """Whether nothing happened to a file for a day. Raises OSError when it is gone."""
    return time.time() - path.stat().st_mtime > ABANDONED_AFTER_S


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _locks_reach(folder: Path, token: str) -> bool:
    """Whether a writer's lock would be seen here: one kernel has both, or it is a disk of this machine."""
    if token.startswith(_kernel()):
        return True
    # Network, shared and virtual file systems have no device of their own.
    return sys.platform == "linux" and os.major(os.stat(folder).st_dev) != 0


@functools.cache
def _kernel() -> str:
    """Eight digits for the running kernel, which containers on it share; another machine's, or boot's, differ."""
    try:
        facts = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        facts = f"{socket.gethostname()} {uuid.getnode()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:8]


def _lock(handle: int) -> bool | None:
    """True when the lock was free, False when someone holds it, None where the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # One byte far behind the contents: what is locked there cannot be read by others.
            os.lseek(handle, 1 << 30, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _HELD else None
    return True
