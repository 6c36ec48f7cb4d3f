"""Names from a table that become names of files and folders."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.tables.words import FORMULA_SIGNS

# Windows keeps these for devices, whatever ending follows; a cohort may be copied there.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = '<>:"/\\|?*'
# With the longest ending, the mark of a temporary file and a host's name it stays below 255 bytes.
_LONGEST = 128


def unsafe_name(name: str) -> str | None:
    """Why a name cannot be a file's or folder's name on every system; None when it can.

    Args:
        name: a subject, a session, or both joined.
    """
    strange = next((letter for letter in name if letter in _FORBIDDEN), None)
    if strange is not None:
        return f"{strange!r} cannot be part of a file's name"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "it holds a control character"
    if not name.strip():
        return "it is empty"
    if name.startswith(FORMULA_SIGNS):
        return "a spreadsheet would take it for a formula"
    if name.startswith((".", " ")) or name.endswith((".", " ")):
        return "a file's name may not begin with a dot, nor end with a dot or a space"
    if _DEVICES.fullmatch(name):
        return "Windows keeps this name for a device"
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    return None


def safe_place(folder: str | Path, name: str) -> Path:
    """`folder/name`, which is inside the folder for certain.

    Raises:
        BadInputError: the name could lead elsewhere, or is no file's name on some system.
    """
    reason = unsafe_name(name)
    if reason is not None:
        raise BadInputError(f"{name!r} cannot name a file: {reason}. Rename it in the table.")
    return Path(folder) / name
