"""What a volume's own header, file name and sidecar say it is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.modalities import modality_of
from modality_synthesis.volumes.dicom_files import dicom_files, is_dicom_file, read_dataset
from modality_synthesis.volumes.dicom_index import choose, dicom_series
from modality_synthesis.volumes.dicom_numbers import text
from modality_synthesis.volumes.paths import found_sidecar, split_ending, split_series

_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_TIMES = ("RepetitionTime", "EchoTime", "InversionTime")
# Of an enhanced multi-frame file the times lie deeper; its description is at the top too.
_TAGS = ("Modality", *(name for name in _DESCRIPTIONS if name != "PulseSequenceName"), *_TIMES)
_WORD = {
    "FLAIR": re.compile(r"flair|tirm|dark.?fluid|space.?ir"),
    "T1w": re.compile(r"(?<![a-z0-9])t1(?![0-9])|mp.?rage|(?<![a-z])(f?spgr|bravo|ir.?fspgr|mp2rage)(?![a-z])"),
    "T2w": re.compile(r"(?<![a-z0-9])t2(?![0-9*]|.?star|.?gre)"),
}
_OTHER_MACHINES = {"PT": "PET", "NM": "SPECT", "US": "ultrasound"}


@dataclass(frozen=True)
class Statement:
    """A modality (`T1w`, `T2w`, `FLAIR`, `CT`, a PET, ...), and who says so."""

    modality: str
    where: str


def stated_modalities(path: str | Path) -> list[Statement]:
    """What DICOM header, file name and JSON sidecar say, in this order; what says nothing is left out.

    Args:
        path: volume file, DICOM folder, or one of its series (`FOLDER#2`). What cannot be read says nothing.
    """
    path, series = split_series(path)
    header = _header(path, series)
    said = [
        None if header is None else _said(lambda key: text(header, key), 1.0, "DICOM header"),
        _of_name(path),
        _of_sidecar(found_sidecar(path)),
    ]
    return [statement for statement in said if statement is not None]


def contrast_of_words(text: str) -> str | None:
    """T1w, T2w or FLAIR, as a series' description names it (`t2_tirm_dark-fluid` is a FLAIR); None without a word."""
    text = text.lower()
    found = [name for name, words in _WORD.items() if words.search(text)]
    if found == ["FLAIR", "T1w"]:  # GE calls an inversion recovery for T1 contrast 'T1 FLAIR'
        return "T1w"
    return found[0] if found[:1] == ["FLAIR"] or len(found) == 1 else None


def contrast_of_times(repetition_ms: float, echo_ms: float, inversion_ms: float) -> str | None:
    """T1w, T2w or FLAIR by the sequence's times, milliseconds, 0 where unknown; None where they leave it open."""
    if not echo_ms:
        return None
    if echo_ms >= 60 and repetition_ms >= 2000:
        return "FLAIR" if inversion_ms >= 1500 else "T2w" if not inversion_ms else None
    short = 0 < repetition_ms <= 1000 or 300 <= inversion_ms <= 1400
    return "T1w" if echo_ms <= 20 and short else None


def _header(path: Path, series: str | None) -> Any:
    """The header of the series that would be read; without one, of the first DICOM file."""
    try:
        file = path if path.is_file() and is_dicom_file(path) else _volume_file(path, series) if path.is_dir() else None
        return None if file is None else read_dataset(file, _TAGS)
    except (BadInputError, OSError, ValueError):
        return None


def _volume_file(folder: Path, series: str | None) -> Path | None:
    try:
        return choose(dicom_series(folder), series, folder.name).planes[0].path
    except BadInputError:
        return next(dicom_files(folder), None)


def _of_name(path: Path) -> Statement | None:
    """BIDS puts the modality last: `sub-01_T1w.nii.gz`."""
    words = re.split(r"[_\s]", split_ending(path)[0])
    if path.is_dir() or len(words) < 2:
        return None
    suffix = words[-1]
    modality = modality_of(suffix)
    if modality is None and suffix.lower() == "pet":
        modality = "PET"
    return None if modality is None else Statement(modality, "file name")


def _of_sidecar(path: Path) -> Statement | None:
    try:
        facts = read_json_object(path)
    except (OSError, ValueError):
        return None
    return _said(facts.get, 1000.0, "JSON sidecar")


def _said(get: Callable[[str], Any], milliseconds: float, where: str) -> Statement | None:
    machine = str(get("Modality") or "").upper()
    if machine == "CT":
        return Statement("CT", where)
    if machine in _OTHER_MACHINES:
        return Statement(_OTHER_MACHINES[machine], where)
    for key in _DESCRIPTIONS:
        if modality := contrast_of_words(str(get(key) or "")):
            return Statement(modality, f"{where} ({key} {str(get(key))!r})")
    times = [_number(get(key)) * milliseconds for key in _TIMES]
    modality = contrast_of_times(*times) if machine in ("MR", "") else None
    return None if modality is None else Statement(modality, f"{where} (repetition, echo and inversion time)")


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return found if math.isfinite(found) else 0.0
