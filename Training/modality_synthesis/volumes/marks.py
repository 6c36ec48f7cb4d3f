"""The mark of synthetic data: read from whatever carries it, and handed on to everything that is made from it.

Synthetic in, synthetic out: a volume or table derived from a synthetic volume says so itself, with the model's id,
version and weights, so that it can be told from a measurement without the files it came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.volumes import metaimage, nifti, nrrd
from modality_synthesis.volumes.dicom_files import dicom_files, is_dicom_file, read_dataset
from modality_synthesis.volumes.dicom_numbers import items, text
from modality_synthesis.volumes.files import file_sha256
from modality_synthesis.volumes.paths import volume_ending
from modality_synthesis.volumes.sidecars import read_sidecar

WORD = "SYNTHETIC"
INTENDED_USE = "Research use only, not for diagnosis."
_LONGEST = 79  # bytes of a NIfTI description
# "SYNTHETIC FDG-PET SUVR, demo-t1w-fdg 1.0.0, research use only", as `describe` writes it; the panels' is in words.
_DESCRIBED = re.compile(r"^SYNTHETIC\b", re.IGNORECASE)
_MODEL = re.compile(r", (?:model )?(?P<model>[a-z0-9][a-z0-9._-]*) (?P<version>\d+[.]\w+(?:[.]\w+)*)")


@dataclass(frozen=True)
class Mark:
    """What a synthetic volume says about the model that made it; empty where it does not say.

    Attributes:
        model: id.
        version: of the model.
        weights_sha256: of the model.
    """

    model: str = ""
    version: str = ""
    weights_sha256: str = ""

    @property
    def name(self) -> str:
        """Model and version, for people and tables; `unknown` when the volume does not say which."""
        return f"{self.model} {self.version}".strip() or "unknown"


def read_mark(path: str | Path | None, record: Mapping[str, Any] | None = None) -> Mark | None:
    """The mark of a volume, a table or a DICOM folder; None when nothing says that it is synthetic.

    The sidecar is asked first, then the file itself: the description of a NIfTI, NRRD or MetaImage file, and DICOM's
    SyntheticData (0008,001C). Files that cannot be read carry no mark.

    Args:
        path: of the file or folder.
        record: its sidecar, where it was read already.

    Raises:
        BadInputError: the sidecar is another file's (`sidecars.read_sidecar`).
    """
    if path is None:
        return None
    found = _from_record(read_sidecar(path) if record is None else record)
    if found is not None:
        return found
    try:
        return _from_file(Path(path))
    except (ModalitySynthesisError, OSError, ValueError):
        return None


def _from_record(record: Mapping[str, Any]) -> Mark | None:
    model = record.get("Model")
    if record.get("SyntheticData") is not True:
        return None
    facts = model if isinstance(model, Mapping) else {}
    return Mark(*(str(facts.get(name) or "") for name in ("id", "version", "weights_sha256")))


def _from_file(path: Path) -> Mark | None:
    ending = volume_ending(path)
    if ending in (".nii", ".nii.gz"):
        return _from_description(bytes(nifti.read_header(path)["descrip"].item()).decode("ascii", "replace"))
    if ending in (".nrrd", ".nhdr"):
        fields = nrrd.read_header(path).fields
        return _from_description(fields.get("content") or fields.get("itk_filenotes", "").lstrip("="))
    if ending in (".mha", ".mhd"):
        return _from_description(metaimage.read_header(path).fields.get("comment", ""))
    return _from_dicom(path)


def _from_description(text: str) -> Mark | None:
    if not _DESCRIBED.match(text.strip("\0 \t\"'")):
        return None
    found = _MODEL.search(text)
    return Mark() if found is None else Mark(found["model"], found["version"])


def _from_dicom(path: Path) -> Mark | None:
    file = next(dicom_files(path), None) if path.is_dir() else path if path.is_file() and is_dicom_file(path) else None
    if file is None:
        return None
    header = read_dataset(file, ["SyntheticData", "ContributingEquipmentSequence"])
    if text(header, "SyntheticData").upper() != "YES":
        return None
    for item in items(header, "ContributingEquipmentSequence"):
        model, _, version = text(item, "ManufacturerModelName").rpartition(" ")
        if model:
            return Mark(model, version, text(item, "DeviceSerialNumber"))
    return Mark()


def describe(text: str, mark: Mark | None) -> str:
    """A file's description: the text as it is for measured data, else with the mark, at most 79 characters."""
    if mark is None:
        return text[:_LONGEST]
    model = f", {mark.name}" if mark.model else ""
    room = _LONGEST - len(f"{WORD} {model}")
    return f"{WORD} {text[:room]}{model}"[:_LONGEST]


def derived_record(mark: Mark | None, sources: Mapping[str, str | Path | None]) -> dict[str, Any]:
    """The part of a sidecar that says what a file was made from, and whether that was synthetic.

    Args:
        mark: of the source that decides (the synthetic volume); None when all are measured.
        sources: role -> file; None, and volumes that never were files, are left out.
    """
    chain = [_source(role, path) for role, path in sources.items() if path is not None]
    record: dict[str, Any] = {"Sources": chain} if chain else {}
    if mark is None:
        return record
    return record | {
        "SyntheticData": True,
        "IntendedUse": INTENDED_USE,
        "Model": {"id": mark.model, "version": mark.version, "weights_sha256": mark.weights_sha256},
    }


def _source(role: str, path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"role": role, "file": Path(path).name, "sha256": file_sha256(path)}
    mark = read_mark(path)
    return facts if mark is None else facts | {"synthetic": True, "model": mark.name}


def statement(marks: Iterable[Mark | None]) -> str:
    """The line below a picture: SYNTHETIC, and the models; empty when nothing in it is synthetic."""
    names = list(dict.fromkeys(mark.name if mark.model else "unknown model" for mark in marks if mark is not None))
    return f"{WORD}, {', '.join(names)}. {INTENDED_USE}" if names else ""


def statement_with_hashes(marks: Iterable[Mark | None]) -> str:
    """The same for a file's metadata: with the SHA-256 of the models' weights."""
    found = [mark for mark in dict.fromkeys(marks) if mark is not None]
    hashes = dict.fromkeys(f"{mark.name}: weights {mark.weights_sha256}" for mark in found if mark.weights_sha256)
    return " ".join(filter(None, (statement(found), "; ".join(hashes))))


def mark_columns(mark: Mark | None) -> dict[str, str]:
    """The columns `synthetic` (yes, no) and `model` of a table."""
    return {"synthetic": "no" if mark is None else "yes", "model": "" if mark is None else mark.name}


def first_mark(marks: Iterable[Mark | None]) -> Mark | None:
    """The first mark there is: what is made from several volumes is synthetic when one of them is."""
    return next((mark for mark in marks if mark is not None), None)
