"""Where a table's cell says that a volume is."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

_GIT_LFS = b"version https://git-lfs.github.com/spec/"


def volume_place(cell: str, folder: Path) -> Path:
    """The path that a cell names, relative to the table's folder.

    `~`, `file://` addresses, Windows' backslashes in relative paths, quotation marks around the path and both ways to
    write accents are understood. A name that is there as it is written counts as written.
    """
    first, *others = _readings(cell.strip("\"'"))
    place = folder / first
    if not others or _there(place):
        return place
    return next((folder / other for other in others if _there(folder / other)), folder / others[0])


def why_absent(path: Path) -> str | None:
    """Why a path that is named holds no data here, with the way out; None when something is there.

    Links without a target, git-annex's (DataLad) and Git LFS's placeholders are told apart from what does not exist.
    """
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if ".git/annex/objects" in target.replace("\\", "/"):
            return "its content is not here (git-annex); get it with 'datalad get' or 'git annex get'"
        return f"it is a link to {target}, which does not exist"
    if not path.exists():
        return "it does not exist"
    if path.is_file() and path.stat().st_size < 1024:
        start = path.read_bytes()
        if start.startswith(_GIT_LFS):
            return "its content is not here (Git LFS); get it with 'git lfs pull'"
        if start.startswith(b"/annex/objects/") or b".git/annex/objects/" in start:
            return "its content is not here (git-annex); get it with 'datalad get' or 'git annex get'"
    return None


def _readings(cell: str) -> Iterator[str]:
    """Ways to understand a cell, the likeliest first; the second is what a message shows when nothing is there."""
    if cell.lower().startswith("file:"):
        parts = urlsplit(cell)
        yield url2pathname(parts.path)
        return
    yield _home(cell)
    if os.sep == "/" and "\\" in cell:
        cell = cell.replace("\\", "/")
        yield _home(cell)
    for form in ("NFC", "NFD"):
        if (other := unicodedata.normalize(form, cell)) != cell:
            yield other
    if "%" in cell:
        yield unquote(cell)


def _home(cell: str) -> str:
    return os.path.expanduser(cell) if cell.startswith("~") else cell


def _there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return False
