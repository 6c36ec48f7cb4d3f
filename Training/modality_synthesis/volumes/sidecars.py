"""The JSON beside a file that this program wrote: what the file shows, and the SHA-256 that ties the two together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.volumes.atomic import written
from modality_synthesis.volumes.files import file_sha256, write_json
from modality_synthesis.volumes.paths import found_sidecar, sidecar_path

HASH = "SHA256"
_OBJECTS = ("Model", "Route", "Parameters", "Quality", "Cost")
_LISTS = ("Findings", "Warnings", "Sources", "GeneratedBy", "DisplayWindow")
_TEXTS = ("Quantity", "Units", "ReferenceRegion", "Manufacturer", "Modality", "Fingerprint", HASH)
_TYPES: dict[str, type] = dict.fromkeys(_OBJECTS, dict) | dict.fromkeys(_LISTS, list) | dict.fromkeys(_TEXTS, str)


def write_sidecar(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write the sidecar of a file that was written just before, both inside one `atomic_files()`.

    Args:
        path: the volume or table.
        record: what is said about it; its `GeneratedBy` must name this program. The file's SHA-256 is added.

    Returns:
        the sidecar's path.
    """
    sidecar = sidecar_path(path)
    write_json({**record, HASH: file_sha256(written(path))}, sidecar)
    return sidecar


def read_sidecar(path: str | Path) -> dict[str, Any]:
    """What the JSON beside a volume or table says; empty without a readable one.

    A link's is the one beside it or, without one, the one beside the file it leads to (`found_sidecar`). A table's
    sidecar of version 0.1.0, `NAME.json` instead of `NAME.csv.json`, is read too.

    Raises:
        BadInputError: the sidecar describes another file than this one (`check_sidecar`).
    """
    path = Path(path)
    own = found_sidecar(path)
    for sidecar in (own, *([path.with_suffix(".json")] if path.suffix in (".csv", ".tsv") else [])):
        try:
            record = read_json_object(sidecar)
        except (OSError, ValueError):
            continue
        if HASH in record and (path.is_dir() or sidecar != own):
            return {}  # of a file that has the same stem
        check_sidecar(path, record)
        return sound(record)
    return {}


def sound(record: Mapping[str, Any]) -> dict[str, Any]:
    """A sidecar without what is of another type than this program writes: somebody else's says nothing by it."""
    kept = {key: value for key, value in record.items() if isinstance(value, _TYPES.get(key, object))}
    if "DisplayWindow" in kept and not _is_window(kept["DisplayWindow"]):
        del kept["DisplayWindow"]
    return kept


def _is_window(value: Any) -> bool:
    try:
        low, high = (float(end) for end in value if type(end) in (int, float))
        return math.isfinite(low) and math.isfinite(high) and low < high
    except (TypeError, ValueError, OverflowError):
        return False


def check_sidecar(path: str | Path, record: Mapping[str, Any]) -> None:
    """Whether a sidecar is the one of this file; one without a hash (of version 0.1.0) is taken at its word.

    Raises:
        BadInputError: the file was changed, or replaced, after the sidecar was written.
    """
    path = Path(path)
    noted = record.get(HASH)
    if noted is None or not path.is_file():
        return
    found = path.stat()
    if noted == _sha256(path.absolute(), found.st_ino, found.st_size, found.st_mtime_ns):
        return
    sidecar = found_sidecar(path).name
    raise BadInputError(
        f"{path.name} is not the file that {sidecar} describes: its SHA-256 differs, so it was changed or replaced "
        f"after it was written. Make it again; if you changed it yourself, remove the line {HASH!r} from {sidecar}."
    )


@lru_cache(maxsize=64)
def _sha256(path: Path, inode: int, size: int, modified_ns: int) -> str:
    """A command asks several times about the same file; it is hashed once, as long as it is the same."""
    return file_sha256(path)
