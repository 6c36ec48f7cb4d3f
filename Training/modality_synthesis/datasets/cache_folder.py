"""Where what was computed from a cohort is kept for the next time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import overload

from modality_synthesis.environment import user_folder
from modality_synthesis.errors import BadInputError, ModalitySynthesisError

CACHE_VARIABLE = "MODALITY_SYNTHESIS_CACHE"


@overload
def cache_folder(table: Path, named: str | Path | None = None) -> Path: ...


@overload
def cache_folder(table: Path, named: str | Path | None = None, *, needed: bool) -> Path | None: ...


def cache_folder(table: Path, named: str | Path | None = None, *, needed: bool = True) -> Path | None:
    """The folder for a table's preprocessed volumes and checks; it exists and can be written.

    In this order: the one that is named (`--cache`), the one in `MODALITY_SYNTHESIS_CACHE`, `.cache` beside the table,
    and where the table's folder is read-only, the user's cache folder.

    Args:
        table: of the cohort.
        named: by the user.
        needed: whether the command cannot do without; else None says that there is none.

    Raises:
        BadInputError: a named folder, or none at all, can be written.
    """
    chosen = named or os.environ.get(CACHE_VARIABLE)
    if chosen:
        folder, origin = Path(chosen), "--cache" if named else CACHE_VARIABLE
        reason = _objection(folder)
        if reason is None:
            return folder
        raise BadInputError(f"The cache folder {folder} ({origin}) cannot be written: {reason}. Name another one.")
    beside = table.parent / ".cache"
    if _objection(beside) is None:
        return beside
    users = _users_folder(table)
    if users is not None and _objection(users) is None:
        return users
    if not needed:
        return None
    raise BadInputError(
        f"Neither {table.parent} nor your own cache folder can be written, and preprocessed volumes must be kept. Name "
        f"a folder with --cache FOLDER, or in {CACHE_VARIABLE}."
    )


def _users_folder(table: Path) -> Path | None:
    """In the user's cache folder, one folder per table; None where there is no user's folder."""
    try:
        users = user_folder("cache")
    except ModalitySynthesisError:  # no home
        return None
    name = hashlib.sha256(str(table.parent.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return users / "cohorts" / f"{table.parent.resolve().name or 'cohort'}-{name}"


def _objection(folder: Path) -> str | None:
    """Why nothing can be written there; the folder is made. Trying tells more than permissions do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix=".ms-probe-", dir=folder)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
