"""The hashes of a cohort's volumes, read once: a file is hashed again when anything about it has changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.parallel import parallel_map
from modality_synthesis.volumes import data_path, detached_files, file_sha256, write_json

INDEX = "contents.json"


def content_hashes(paths: Iterable[Path], folder: Path, *, jobs: int | None = None) -> dict[Path, str]:
    """SHA-256 of volumes by path (of a DICOM folder as in `file_sha256`); what cannot be read has none.

    Names, sizes and times do not stand for contents: a copied file may keep its time. But a file whose inode, size,
    time of change of contents and time of change of status (which no program can set) are those of the index is not
    read again.

    Args:
        paths: volumes; repeated ones count once.
        folder: of the index, the cohort's cache.
        jobs: worker processes, for many files.
    """
    index = _read(folder / INDEX)
    found: dict[Path, str] = {}
    unread: list[tuple[Path, list[list[object]]]] = []
    for path in dict.fromkeys(paths):
        state = _state(path)
        kept = index.get(str(path.resolve()))
        if state is not None and kept is not None and kept["state"] == state:
            found[path] = str(kept["sha256"])
        elif state is not None:
            unread.append((path, state))
    if not unread:
        return found
    # A process starts in the time that some hundred megabytes take.
    jobs = jobs if len(unread) > 200 else 1
    hashes = parallel_map(_hash, [path for path, _ in unread], jobs=jobs, stage="Reading the files")
    for (path, state), sha256 in zip(unread, hashes, strict=True):
        # A file that changes while it is read has another state afterwards.
        if sha256 is not None and _state(path) == state:
            found[path] = sha256
            index[str(path.resolve())] = {"state": state, "sha256": sha256}
    write_json(index, folder / INDEX)
    return found


def _hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except ModalitySynthesisError:
        return None


def _state(path: Path) -> list[list[object]] | None:
    """Of the file and what belongs to it; None when it is not there."""
    path = data_path(path)
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path, *detached_files(path)]
        return [_stat(file) for file in files]
    except OSError:
        return None


def _stat(path: Path) -> list[object]:
    found = os.stat(path)
    return [path.name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read(path: Path) -> dict[str, dict[str, object]]:  # damaged: everything is hashed again
    try:
        index = read_json_object(path)
        return {name: kept for name, kept in index.items() if {"state", "sha256"} <= set(kept)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
