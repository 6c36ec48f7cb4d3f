"""Outputs appear complete or not at all, and all outputs of one result together.

Everything is written and flushed to temporary files beside the places first. Then the moves are noted in a journal (the
lease in the first folder), what is there is kept aside under a name of the program's own, and the files are moved into
place. When a move fails, all are taken back at once. When the process is killed between two moves, whoever writes into
one of the folders next finishes them (`clean_stale`). Nothing is ever removed by the name of an output.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.interruptions import shielded
from modality_synthesis.volumes.leases import Lease, new_token
from modality_synthesis.volumes.moves import Move, flush, remove
from modality_synthesis.volumes.paths import cannot_write, split_ending
from modality_synthesis.volumes.recovery import clean_stale, journal

# EFBIG: the user's own limit on file sizes.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
    errno.ENOTEMPTY,
}  # fmt: skip


@contextmanager
def atomic_files(*, final: bool = False) -> Iterator[None]:
    """Everything that is written inside the block appears together at its end, or nothing of it does.

    All writers of this package take part (`write_image`, `write_json`, `write_rows`, `atomic_output`, `atomic_folder`
    ...), whatever function they are called in; until the end of the block their files are not there yet (`written`
    finds them). An earlier file stays in its place until then, and after a failure. Blocks may be nested: the outermost
    one moves, and an inner one that fails takes only its own files with it.

    Raises:
        BadInputError: a folder cannot be written to (full, read-only, no permission).
    """
    group = _current.get()
    if group is not None:
        with group.part():
            yield
        return
    group = _Group()
    before = _current.set(group)
    try:
        yield
        group.commit(final)
    except BaseException:
        group.discard()
        raise
    finally:
        _current.reset(before)


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder, moved to `path` when the block ends well and removed otherwise.

    The parent folders are created, and removed again if nothing comes of it. The temporary name ends as `path` does.
    Inside `atomic_files`, the move happens at the end of that block.

    Raises:
        BadInputError: the folder cannot be written to (full, read-only, no permission).
    """
    with atomic_files(), _refusals_explained(Path(path)):
        move = _group().add(Path(path))
        yield move.temporary
        flush(move.temporary)


@contextmanager
def atomic_folder(path: str | Path, *, new: bool = False) -> Iterator[Path]:
    """Like `atomic_output` for a folder: an empty temporary folder that becomes `path`, replacing it if it exists.

    Args:
        path: of the folder.
        new: it must not exist at the end either; another run may have made it meanwhile.

    Raises:
        BadInputError: the parent folder cannot be written to, or `path` is there although it was to be new.
    """
    with atomic_files(), _refusals_explained(Path(path)):
        move = _group().add(Path(path), is_folder=True)
        move.new = new
        yield move.temporary
        for file in move.temporary.rglob("*"):
            flush(file)


@contextmanager
def scratch_folder(parent: str | Path) -> Iterator[Path]:
    """A folder of the program's own inside `parent`, for work in progress; it is gone when the block ends.

    Raises:
        OSError: it cannot be created.
    """
    group = _Group()
    try:
        yield group.add(Path(parent) / "scratch", is_folder=True).temporary
    finally:
        group.discard()


def written(path: str | Path) -> Path:
    """Where the contents of an output are now: its temporary inside `atomic_files`, else `path` itself."""
    group = _current.get()
    return Path(path) if group is None else group.where(Path(path))


@dataclass
class _Group:
    """The files of one result, between their first byte and their move.

    Attributes:
        token: in the names of everything that belongs to it.
        leases: by folder; the first one, the master, holds the journal.
        moves: in the order in which they were written.
        made: parent folders that were not there.
    """

    token: str = field(default_factory=new_token)
    leases: dict[Path, Lease] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    made: list[Path] = field(default_factory=list)
    count: int = 0

    def add(self, path: Path, *, is_folder: bool = False) -> Move:
        """A place for one more output; a folder is created, a file is for the caller to write."""
        place = Path(os.path.abspath(path))
        if place.is_dir() and not is_folder:
            raise IsADirectoryError(errno.EISDIR, "there is a folder of that name", str(place))
        if is_folder and place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "there is a file of that name", str(place))
        self._join(place.parent)
        self.count += 1
        ending = split_ending(place)[1]
        temporary, kept = (place.parent / f".ms-{kind}-{self.token}-{self.count}{ending}" for kind in ("tmp", "old"))
        # Known before it exists: an interruption in between leaves nothing that nobody removes.
        self.moves.append(Move(temporary, place, kept))
        if is_folder:
            temporary.mkdir()
        return self.moves[-1]

    def where(self, path: Path) -> Path:
        place = Path(os.path.abspath(path))
        return next((move.temporary for move in reversed(self.moves) if move.place == place), path)

    @contextmanager
    def part(self) -> Iterator[None]:
        """An inner block: when it fails, its own files go."""
        first = len(self.moves)
        try:
            yield
        except BaseException:
            with shielded():
                for move in self.moves[first:]:
                    remove(move.temporary)
                del self.moves[first:]
            raise

    def commit(self, final: bool) -> None:
        """Move everything into place, or leave everything as it was."""
        moves = self._last_of_each_place()
        with shielded() as shield, _one_at_a_time(self.leases):
            if moves:
                _refuse_existing(moves)
                with _refusals_explained(moves[0].place):
                    self._note(moves)
                begun: list[Move] = []
                try:
                    for move in moves:
                        begun.append(move)
                        with _refusals_explained(move.place):
                            move.make()
                    for folder in self.leases:
                        flush(folder)
                    shield.deliver()  # here it can still be undone
                except BaseException:
                    self._take_back(begun)
                    self.discard()
                    raise
            if final:
                shield.settle()
            self._end()

    def discard(self) -> None:
        """Remove what was written so far."""
        with shielded():
            # Without its journal, nobody takes the rest for something to finish.
            for lease in list(self.leases.values())[:1]:
                lease.end()
            for move in self.moves:
                remove(move.temporary)
            for lease in self.leases.values():
                lease.end()
            self.leases.clear()
            for folder in reversed(self.made):
                with suppress(OSError):
                    folder.rmdir()

    def _join(self, folder: Path) -> None:
        """Create the folder, say there that someone writes, and clean up after those who were killed."""
        if folder in self.leases:
            self.leases[folder].touch()
            return
        with shielded():
            for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
                # Another process may make it at the same time.
                with suppress(FileExistsError):
                    missing.mkdir()
                    self.made.append(missing)
            clean_stale(folder)
            lease = self.leases[folder] = Lease.take(folder, self.token)
            home, master = next(iter(self.leases.items()))
            if lease is not master:
                lease.write({"master": os.path.relpath(master.path, folder)})
            master.write(journal((), self.made, home))

    def _last_of_each_place(self) -> list[Move]:
        last = {move.place: move for move in self.moves}
        for move in self.moves:
            if last[move.place] is not move:
                remove(move.temporary)
        self.moves = list(last.values())
        return self.moves

    def _note(self, moves: list[Move]) -> None:
        folder, master = next(iter(self.leases.items()))
        master.write(journal(moves, self.made, folder))
        flush(folder)

    def _take_back(self, begun: list[Move]) -> None:
        try:
            for move in reversed(begun):
                move.take_back()
        except OSError:
            # The disk refuses: what is noted in the journal is finished by whoever comes next.
            for lease in self.leases.values():
                lease.leave()
            self.leases.clear()
            self.moves.clear()
            self.made.clear()

    def _end(self) -> None:
        for move in self.moves:
            remove(move.kept)
        self.moves.clear()
        for lease in reversed(list(self.leases.values())):
            lease.end()
        self.leases.clear()


_current: ContextVar[_Group | None] = ContextVar("modality_synthesis_files", default=None)


def _group() -> _Group:
    group = _current.get()
    assert group is not None
    return group


@contextmanager
def _one_at_a_time(folders: Iterable[Path]) -> Iterator[None]:
    """Only one result is moved into a folder at a time: of two that have the same places, volume and sidecar would mix.

    Held for the moves alone, milliseconds. Where a folder cannot be locked (Windows, some network file systems), the
    hash in the sidecar still tells a mixed pair.
    """
    handles: list[int] = []
    try:
        if sys.platform != "win32":
            import fcntl

            for folder in sorted(folders):  # in one order, so that no two wait for each other
                with suppress(OSError):
                    handles.append(os.open(folder, os.O_RDONLY))
                    fcntl.flock(handles[-1], fcntl.LOCK_EX)
        yield
    finally:
        for handle in handles:
            os.close(handle)


def _refuse_existing(moves: Iterable[Move]) -> None:
    there = next((move.place for move in moves if move.new and os.path.lexists(move.place)), None)
    if there is not None:
        raise BadInputError(f"{there} was made by another run in the meantime; nothing was replaced.")


@contextmanager
def _refusals_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or (error.errno in _FORBIDDEN and _concerns(error, Path(os.path.abspath(path)))):
            raise cannot_write(path, error) from error
        raise


def _concerns(error: OSError, path: Path) -> bool:
    """Whether the refusal is about this output, and not about a file that the block reads."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return False
    named = Path(os.path.abspath(error.filename))
    return named.parent == path.parent or named in path.parents
