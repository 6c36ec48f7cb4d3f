"""One file or folder on its way to its place: made so that it can be taken back, or finished, at any point."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

Identity = tuple[int, int, int]


@dataclass
class Move:
    """From `temporary` to `place`, with what was there as `kept` in the meantime. All three lie in one folder.

    Attributes:
        before: what was in the place when the move was noted; None for nothing.
        new: nothing may be in the place.
    """

    temporary: Path
    place: Path
    kept: Path
    before: Identity | None = field(default=None)
    new: bool = False

    def make(self) -> None:
        """Keep what is there, and move. Raises OSError."""
        if os.path.lexists(self.place):
            _keep(self.place, self.kept)
        os.replace(self.temporary, self.place)

    def take_back(self) -> None:
        """Undo `make`, however far it came; the temporary is there again then. Raises OSError."""
        if os.path.lexists(self.temporary):
            if os.path.lexists(self.kept):
                _put_back(self.kept, self.place)
        elif not os.path.lexists(self.kept):
            os.replace(self.place, self.temporary)
        else:
            _keep(self.place, self.temporary)
            os.replace(self.kept, self.place)

    def may_finish(self) -> bool:
        """Whether the place is as the journal says; someone may have used it since the writer was killed."""
        if not os.path.lexists(self.temporary):
            return True
        now = identity(self.place)
        return now is None or now == self.before or now == identity(self.temporary)

    def finish(self) -> None:
        """Bring a move to its end that was interrupted somewhere. Raises OSError."""
        if not os.path.lexists(self.temporary):
            return
        if identity(self.place) == identity(self.temporary):
            self.temporary.unlink()  # both names of one file: moving one to the other would leave both
        else:
            if self.place.is_dir() and not os.path.lexists(self.kept):
                os.replace(self.place, self.kept)
            os.replace(self.temporary, self.place)

    def give_up(self) -> None:
        """Leave the place as it is, and give back what was kept, if nothing is there. Raises OSError."""
        if os.path.lexists(self.kept) and not os.path.lexists(self.place):
            os.replace(self.kept, self.place)


def identity(path: Path) -> Identity | None:
    """Which file it is, and of what time; None for none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name points to them. Raises OSError when they cannot be."""
    if path.is_dir():
        # Windows and some network file systems cannot flush a folder; what a file's flush says (full, broken) counts.
        with suppress(OSError):
            _flush(path, os.O_RDONLY)
        return
    _flush(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)


def _flush(path: Path, how: int) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or folder of the program's own, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _keep(path: Path, second: Path) -> None:
    """Give a file a second name, so that its first is never without one; folders, and file systems without hard links,
    have to move."""
    try:
        os.link(path, second, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.replace(path, second)


def _put_back(kept: Path, place: Path) -> None:
    if identity(kept) == identity(place):
        kept.unlink()
    elif not os.path.lexists(place):
        os.replace(kept, place)
