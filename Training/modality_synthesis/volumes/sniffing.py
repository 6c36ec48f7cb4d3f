"""Facts from a volume's header, without reading its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import metaimage, nifti, nrrd
from modality_synthesis.volumes.dicom_files import is_dicom_input
from modality_synthesis.volumes.paths import split_series, volume_ending
from modality_synthesis.volumes.reading import grid_reader

_FORMATS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}


_DTYPES = {"NIfTI": nifti.stored_type, "NRRD": nrrd.stored_type, "MetaImage": metaimage.stored_type}


@dataclass(frozen=True)
class VolumeInfo:
    """What a header says; nothing of it has been checked.

    Attributes:
        path: the file or folder.
        format: NIfTI, NRRD, MetaImage or DICOM.
        size: voxels along x, y, z (and further axes).
        spacing: mm, as many values.
        dtype: stored voxel type in words, scaling applied.
    """

    path: Path
    format: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    dtype: str


def sniff(path: str | Path) -> VolumeInfo:
    """Size, voxel size and type of a volume, quickly.

    Raises:
        BadInputError: missing or unsupported file, unreadable header, or a DICOM folder without exactly one
            volume.
    """
    path, series = split_series(path)
    if is_dicom_input(path):
        return _sniff_dicom(path, series)
    ending = volume_ending(path)
    size, grid = grid_reader(ending)(path)
    return VolumeInfo(path, _FORMATS[ending], size, grid.spacing, _in_words(_DTYPES[_FORMATS[ending]](path)))


def _in_words(dtype: np.dtype[Any]) -> str:
    """As ITK names voxel types."""
    kind = {"i": "signed integer", "u": "unsigned integer", "f": "float"}.get(dtype.kind, dtype.name)
    return f"{8 * dtype.itemsize}-bit {kind}"


def _sniff_dicom(path: Path, series: str | None) -> VolumeInfo:
    from modality_synthesis.volumes.dicom import find_stack

    stack = find_stack(path, series, Reporter())
    size = (*stack.slices[0].size, stack.depth)
    return VolumeInfo(path, "DICOM", size, stack.spacing, "16-bit integer, rescaled")
