"""Outputs appear complete or not at all: they are written beside their place and moved there at the end.

The temporary name is `.<name>.ms-tmp-<host>-<pid><ending>`. It keeps the ending, because writers choose the
format by it, and says who writes, so that what a killed process left behind is recognised and removed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modality_synthesis.volumes.paths import cannot_write, split_ending

_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32] or "host"
_MARKER = re.compile(
    r"^\.(?P<stem>.+)\.ms-(?P<kind>tmp|old)-(?:(?P<host>[A-Za-z0-9]+)-)?(?P<pid>\d+)(?P<ending>\..*)?$"
)
# Another machine's processes cannot be asked for; a day is longer than any volume takes to write.
_FOREIGN_AGE_S = 24 * 3600
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR}


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder, moved to `path` when the block ends well and removed otherwise.

    The parent folders are created. An existing file is replaced only at the end.

    Raises:
        BadInputError: the folder cannot be written to (full, read-only, no permission).
    """
    path = Path(path)
    with _refusals_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_stale(path.parent)
        temporary = _beside(path, "tmp")
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic_output` for a folder: an empty temporary folder that becomes `path`, replacing it if it
    exists.

    Raises:
        BadInputError: the parent folder cannot be written to.
    """
    path = Path(path)
    with _refusals_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_stale(path.parent)
        temporary, old = _beside(path, "tmp"), _beside(path, "old")
        _remove(temporary)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _flush(file)
            if path.exists():
                os.replace(path, old)
            try:
                os.replace(temporary, path)
            except BaseException:
                if old.exists():
                    os.replace(old, path)
                raise
            _remove(old)
        finally:
            _remove(temporary)
        _flush(path.parent)


def clean_stale(folder: str | Path) -> list[Path]:
    """Remove what killed processes left in `folder`, and put back a folder whose replacement was interrupted.

    Leftovers of running processes stay, and so do those of other machines for a day.

    Returns:
        the leftovers that were removed or put back.
    """
    found = []
    try:
        leftovers = sorted(Path(folder).glob(".*.ms-*"))
    except OSError:
        return []
    for leftover in leftovers:
        match = _MARKER.match(leftover.name)
        # Two processes may clean the same folder at once, so any of this may already be gone.
        with suppress(OSError):
            if match and _abandoned(leftover, match["host"], int(match["pid"])):
                place = leftover.with_name(match["stem"] + (match["ending"] or ""))
                if match["kind"] == "old" and not place.exists():
                    os.replace(leftover, place)
                else:
                    _remove(leftover)
                found.append(leftover)
    return found


def _beside(path: Path, kind: str) -> Path:
    stem, ending = split_ending(path)
    return path.with_name(f".{stem}.ms-{kind}-{_HOST}-{os.getpid()}{ending}")


def _abandoned(leftover: Path, host: str | None, pid: int) -> bool:
    if host is None or host == _HOST:
        return not _is_running(pid)
    return time.time() - leftover.stat().st_mtime > _FOREIGN_AGE_S


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        # os.kill(pid, 0) would end the process there.
        import ctypes

        query_limited_information, still_active = 0x1000, 259
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(query_limited_information, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == still_active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # no process has such a number
        return False
    except OSError:  # someone else's process
        return True
    return True


def _flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name points to them."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        # Some network file systems cannot flush a folder.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _refusals_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or (error.errno in _FORBIDDEN and _concerns(error, path)):
            raise cannot_write(path, error) from error
        raise


def _concerns(error: OSError, path: Path) -> bool:
    """Whether the refusal is about this output, and not about a file that the block reads."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return False
    named = Path(error.filename)
    return named.parent == path.parent or named in path.parents
