"""What a volume's own files say about how it was measured: the scanner's maker, the unit of its values."""

from __future__ import annotations

from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.volumes.dicom_files import dicom_files, is_dicom_file
from modality_synthesis.volumes.dicom_index import read_header, series_files
from modality_synthesis.volumes.dicom_numbers import text
from modality_synthesis.volumes.paths import found_sidecar, split_series


def scanner_manufacturer(path: str | Path) -> str | None:
    """The `Manufacturer` of a volume's JSON sidecar (BIDS), or else of its DICOM header; None when neither says.

    Args:
        path: volume file or DICOM folder. A sidecar or header that cannot be read says nothing.
    """
    return _stated(path, "Manufacturer")


def stated_units(path: str | Path) -> str | None:
    """The `Units` of a volume's JSON sidecar (BIDS: `Bq/mL`, `SUVR`), or else of its DICOM header (`BQML`)."""
    return _stated(path, "Units")


def _stated(path: str | Path, key: str) -> str | None:
    path, series = split_series(path)
    if series is not None:
        return _from_series(path, series, key)
    return _from_sidecar(found_sidecar(path), key) or _from_dicom(path, key)


def _from_series(folder: Path, series: str, key: str) -> str | None:
    try:
        header = read_header(series_files(folder, series)[0])
    except BadInputError:
        return None
    return None if header is None else text(header, key) or None


def _from_sidecar(path: Path, key: str) -> str | None:
    try:
        name = read_json_object(path).get(key)
    except (OSError, ValueError):
        return None
    return name.strip() or None if isinstance(name, str) else None


def _from_dicom(path: Path, key: str) -> str | None:
    try:
        files = dicom_files(path) if path.is_dir() else iter([path] if path.is_file() and is_dicom_file(path) else [])
        header = next(filter(None, map(read_header, files)), None)
    except (BadInputError, OSError, ValueError):
        return None
    return None if header is None else text(header, key) or None
