"""JSON and tables out, and the hashes that provenance records."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.tables.words import harmless
from modality_synthesis.volumes import metaimage, nrrd
from modality_synthesis.volumes.atomic import atomic_output
from modality_synthesis.volumes.dicom_files import dicom_files
from modality_synthesis.volumes.dicom_index import series_files
from modality_synthesis.volumes.paths import cannot_read, check_regular, split_series


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON that every reader accepts: UTF-8, sorted keys, two spaces, a newline at the end; atomic.

    Paths and dates become strings, NumPy numbers and arrays plain ones, dataclasses objects; NaN and
    infinity, which JSON does not know, become null.
    """
    text = json.dumps(_plain(data), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_output(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_rows(
    path: str | Path, rows: Iterable[Any], *, digits: int | None = 5, nan: str = "", delimiter: str = ","
) -> None:
    """Write a table: UTF-8, a header, a row per line, empty cells for None; atomic. Without rows nothing is written.

    Args:
        path: of the file.
        rows: dataclasses or mappings that share their keys, in the file's order; the first one's keys are the header.
            Texts that a spreadsheet would take for formulas begin with an apostrophe (`tables.words.harmless`).
        digits: significant ones of fractions; None writes all of them.
        nan: what stands for NaN, where `digits` are counted.
        delimiter: between cells.
    """
    records: list[Mapping[str, Any]] = [row if isinstance(row, Mapping) else dataclasses.asdict(row) for row in rows]
    if not records:
        return

    def cell(value: Any) -> Any:
        if isinstance(value, str):
            return harmless(value)
        if digits is None or not isinstance(value, float):
            return value
        return nan if math.isnan(value) else f"{value:.{digits}g}"

    with (
        atomic_output(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        writer = csv.DictWriter(stream, fieldnames=list(records[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: cell(value) for key, value in record.items()} for record in records)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file in hexadecimal; of a DICOM folder, the SHA-256 over its DICOM files' sorted hashes.

    Of one series of a folder (`FOLDER#2`) only that series' files count. A header with detached voxels
    is hashed together with its data file in the same way. A folder's hash does not depend on the files' names; other
    files in it do not count.

    Raises:
        BadInputError: missing or unreadable file, or a folder without DICOM files.
    """
    path, series = split_series(path)
    try:
        if path.is_dir():
            files = dicom_files(path) if series is None else series_files(path, series)
            hashes = sorted(_hash(file) for file in files)
        elif detached := detached_files(path):
            hashes = sorted({_hash(file) for file in (path, *detached)})
        else:
            check_regular(path)
            return _hash(path)
    except OSError as error:
        raise cannot_read(path, error) from None
    if not hashes:
        raise BadInputError(f"{path.name} holds no DICOM files.")
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def detached_files(path: Path) -> list[Path]:
    """The file that holds the voxels of a NRRD or MetaImage header; none where they are in the file itself.

    Raises:
        BadInputError: of a .nhdr or .mhd file: a damaged header, or data that is missing.
    """
    rooms = {".nhdr": nrrd, ".nrrd": nrrd, ".mhd": metaimage, ".mha": metaimage}
    room = rooms.get(path.suffix.lower())
    if room is None or not path.is_file():
        return []
    try:
        found = room.data_file(path, room.read_header(path))
    except BadInputError:
        # What holds its own voxels, as a rule, has a hash even when it is damaged.
        if path.suffix.lower() in (".nhdr", ".mhd"):
            raise
        return []
    return [] if found == path else [found]


def image_sha256(image: Any) -> str:
    """SHA-256 of a volume in memory (SimpleITK): its grid and its voxels."""
    from modality_synthesis.volumes.geometry import affine, array

    values = array(image)
    grid = f"{values.shape} {values.dtype} {affine(image).tolist()}"
    return hashlib.sha256(grid.encode() + values.tobytes()).hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return _plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")
