"""Which visits of a cohort were simulated: what marks them, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.json_files import read_json_object
from modality_synthesis.volumes import found_sidecar
from modality_synthesis.volumes.nifti import read_header
from modality_synthesis.volumes.paths import volume_ending

# What `simulate` writes into a volume's header; whoever hands such volumes on keeps it.
MARK = "simulated"
COLUMN = "simulated"
_YES = {"yes", "y", "true", "1", "simulated"}


def is_simulated(visit: Visit, modalities: Iterable[str]) -> bool:
    """Whether a visit's volumes, or some of them, were simulated; without any mark they are measured.

    Marks: the table's column `simulated`; `simulated` as a NIfTI file's description; `"Simulated": true` in the
    volume's sidecar or in the `dataset_description.json` of a folder around it.
    """
    stated = visit.variable(COLUMN)
    if stated is not None:
        return stated.strip().lower() in _YES
    return any(is_simulated_file(visit.volumes[name]) for name in modalities if name in visit.volumes)


def is_simulated_file(path: Path) -> bool:
    """Whether a volume says that it was simulated."""
    return _described(path) or _says_so(found_sidecar(path)) or _dataset_says_so(path.parent)


def _described(path: Path) -> bool:
    if volume_ending(path) not in (".nii", ".nii.gz"):
        return False
    try:
        return bytes(read_header(path)["descrip"].item()).strip(b"\0 ").lower() == MARK.encode()
    except (ModalitySynthesisError, OSError, ValueError):
        return False


def _says_so(path: Path) -> bool:
    try:
        return read_json_object(path).get("Simulated") is True
    except (OSError, ValueError):
        return False


@lru_cache(maxsize=4096)
def _dataset_says_so(folder: Path) -> bool:
    """The nearest dataset's description counts: BIDS datasets may lie inside others."""
    for place in (folder, *folder.resolve().parents)[:6]:
        description = place / "dataset_description.json"
        if description.is_file():
            return _says_so(description)
    return False
