"""Before a command computes: whether its outputs can be written, and what of the user's they would destroy."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.volumes.dicom_files import is_dicom_file
from modality_synthesis.volumes.files import detached_files, file_sha256
from modality_synthesis.volumes.interruptions import shielded
from modality_synthesis.volumes.leases import new_token
from modality_synthesis.volumes.paths import (
    READABLE,
    WRITABLE,
    cannot_write,
    check_output_name,
    found_sidecar,
    sidecar_path,
    split_ending,
    volume_ending,
)
from modality_synthesis.volumes.recovery import clean_stale

PROGRAM = "modality-synthesis"


def check_writable(path: str | Path, *, endings: Sequence[str] = WRITABLE) -> None:
    """Find out before hours of computing that an output cannot be written. Leaves nothing behind, no folder either.

    Args:
        path: the file to be written.
        endings: the allowed file endings.

    Raises:
        UsageError: unsupported ending, or the path is a folder.
        BadInputError: a name is too long, or the folder cannot be created or written to.
    """
    path = Path(path)
    check_output_name(path, endings)
    for file in (path, sidecar_path(path)):
        check_name(file)
    check_folder_writable(path.parent, path)


def check_folder_writable(folder: str | Path, path: str | Path | None = None) -> None:
    """Whether files can be written into a folder, or into one that has to be created.

    Args:
        folder: the folder, there or not.
        path: what is to be written, for the message; default the folder.

    Raises:
        BadInputError: read-only, no permission, no space, or a file is in the way.
    """
    shown = Path(folder if path is None else path)
    place = Path(os.path.abspath(folder))
    there = next(parent for parent in (place, *place.parents) if os.path.lexists(parent))
    # os.access knows neither access control lists nor read-only network shares; trying does.
    probe = there / f".ms-probe-{new_token()}"
    with shielded():
        try:
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except OSError as error:
            raise cannot_write(shown, error) from None
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def check_name(path: str | Path) -> None:
    """Whether the file system takes names of this length.

    Raises:
        BadInputError: it does not, or the name holds what no name can hold.
    """
    path = Path(path)
    place = Path(os.path.abspath(path))
    missing = [place]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    there = missing[-1].parent
    # Each name by itself, too: behind a folder that is not there yet, nobody looks at the rest.
    for file in (*(there / part.name for part in missing), place):
        try:
            os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise cannot_write(path, error) from None
        except ValueError as error:
            raise BadInputError(f"{str(path)!r} is no name of a file: {error}.") from None


def check_outputs(
    outputs: Iterable[object],
    *,
    described: Iterable[object] = (),
    folders: Iterable[object] = (),
    inputs: Iterable[object] = (),
) -> None:
    """Refuse outputs that would destroy something: an input, its sidecar, someone's JSON, each other.

    Called by every command before it computes. Whatever is no path (None, an image) is passed over. It also cleans up
    what killed runs left beside the outputs.

    Args:
        outputs: files that will be written, without a sidecar.
        described: files that will be written with their sidecar (`sidecar_path`) beside them.
        folders: folders that will be created or replaced as a whole.
        inputs: files and DICOM folders that are read, those that are named inside tables too.

    Raises:
        UsageError: which file it is, and what to do.
    """
    with_sidecar = _paths(described)
    read = _paths(inputs)
    plain = _paths(outputs)
    for folder in dict.fromkeys(path.parent for path in (*plain, *with_sidecar, *_paths(folders))):
        clean_stale(folder)
    sources = {_key(file): file for path in read for file in _files_of_input(path)}
    written: dict[tuple[object, ...], Path] = {}
    for path in (*plain, *with_sidecar, *(sidecar_path(path) for path in with_sidecar)):
        key = _key(path)
        if key in sources:
            raise UsageError(_would_replace(path, sources[key]))
        if key in written:
            raise UsageError(_twice(written[key], path, with_sidecar))
        written[key] = path
        _refuse_inside_input(path, read)
    for path in with_sidecar:
        _check_sidecar(path, written, read)
    for folder in _paths(folders):
        _check_folder(folder, read)


def is_own_json(path: Path) -> bool:
    """Whether this program wrote a JSON file."""
    return _is_own(_read(path))


def refuse_foreign_json(paths: Iterable[str | Path]) -> None:
    """For results whose JSON files have names that the user does not choose.

    Raises:
        UsageError: one of the files is there and was not written by this program.
    """
    for path in map(Path, paths):
        if os.path.lexists(path) and not is_own_json(path):
            raise UsageError(
                f"{path} is there already and was not written by this program; it would be replaced. Choose another "
                "folder for the results, or move that file."
            )


def _paths(values: Iterable[object]) -> list[Path]:
    return [Path(value) for value in values if isinstance(value, (str, os.PathLike))]


def _key(path: Path) -> tuple[object, ...]:
    """Equal for two ways to name one file: links, other spellings, capitals where a file is yet to be."""
    place = Path(os.path.realpath(path))
    rest: list[str] = []
    while True:
        try:
            found = os.stat(place)
            return (found.st_dev, found.st_ino, *rest)
        except OSError:
            # Whether capitals count is the file system's business; two outputs should differ by more.
            rest.insert(0, unicodedata.normalize("NFC", place.name).casefold())
        if place == place.parent:
            return tuple(rest)
        place = place.parent


def _files_of_input(path: Path) -> Iterator[Path]:
    """An input and everything that belongs to it."""
    yield path
    for file in (found_sidecar(path), path.parent / f"{path.stem}.json"):
        if path.is_file() and file.is_file():
            yield file
    # What is wrong with a header is for its reader to say.
    with contextlib.suppress(BadInputError, OSError, ValueError):
        yield from detached_files(path)


def _refuse_inside_input(path: Path, read: Sequence[Path]) -> None:
    place = Path(os.path.realpath(path))
    for folder in read:
        if folder.is_dir() and Path(os.path.realpath(folder)) in place.parents and _is_dicom(path):
            raise UsageError(_would_replace(path, folder / path.name))


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and is_dicom_file(path)
    except (BadInputError, OSError):
        return False


def _check_folder(folder: Path, read: Sequence[Path]) -> None:
    place = Path(os.path.realpath(folder))
    for path in read:
        source = Path(os.path.realpath(path))
        inside_source = source.is_dir() and (place == source or source in place.parents)
        if place in source.parents or inside_source:
            raise UsageError(f"{folder} holds the input {path}, or lies in it. Choose another folder for the result.")


def _check_sidecar(path: Path, written: dict[tuple[object, ...], Path], read: Sequence[Path]) -> None:
    sidecar = sidecar_path(path)
    record = _read(sidecar)
    if os.path.lexists(sidecar) and not _is_own(record):
        raise UsageError(
            f"{sidecar.name} beside {path.name} was not written by this program and would be replaced. "
            f"Give the result another name, or another folder."
        )
    for sibling in _siblings(path, read):
        if _key(sibling) in written or not _belongs(record, path):
            raise UsageError(
                f"{path.name} and {sibling.name} would share the sidecar {sidecar.name}. Give the result another name, "
                "or another folder."
            )
    if os.path.lexists(sidecar) and volume_ending(path):
        table = path.with_name(f"{split_ending(path)[0]}.csv")
        if table.exists() and not sidecar_path(table).exists() and _key(table) not in written and not path.exists():
            raise UsageError(
                f"{sidecar.name} belongs to the table {table.name} and would be replaced. Give the result another name."
            )


def _siblings(path: Path, read: Sequence[Path]) -> Iterator[Path]:
    """Other volumes that have the same sidecar."""
    if not volume_ending(path):
        return
    stem = split_ending(path)[0]
    own = _key(path)
    for ending in READABLE:
        other = path.with_name(stem + ending)
        if other.is_file() and _key(other) != own:
            yield other
    folder = path.with_name(stem)
    if folder.is_dir() and any(_key(source) == _key(folder) for source in read):
        yield folder


def _belongs(record: dict[str, Any], path: Path) -> bool:
    """Whether a sidecar says by its hash that it is this file's, and no other's of that stem."""
    return "SHA256" in record and path.is_file() and record["SHA256"] == file_sha256(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except (OSError, ValueError):
        return {}


def _is_own(record: dict[str, Any]) -> bool:
    programs = record.get("GeneratedBy")
    return isinstance(programs, list) and any(
        isinstance(program, dict) and str(program.get("Name")).split(" ")[0] == PROGRAM for program in programs
    )


def _would_replace(path: Path, source: Path) -> str:
    same = f"{path} is an input" if path == source else f"{path} is the input {source}"
    return f"{same}; the result would replace it. Give the result another name, or another folder."


def _twice(first: Path, second: Path, described: Sequence[Path]) -> str:
    owners = [path for path in described if _key(sidecar_path(path)) == _key(second)]
    if len(owners) > 1:
        return (
            f"{owners[0].name} and {owners[1].name} would share the sidecar {second.name}. Give one of them another "
            "name."
        )
    if first == second:
        return f"{first.name} is named for two results. Give each a file of its own."
    return f"{first} and {second} are one file, or differ by capitals only. Give each result a name of its own."
