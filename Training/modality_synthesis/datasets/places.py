"""Where a table's cell says that a volume is."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from modality_synthesis.volumes import data_path


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
        return data_path(path).exists() or path.is_symlink()
    except (OSError, ValueError):
        return False
