"""Facts from a volume's header, without reading its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.itk_io import read_grid
from modality_synthesis.volumes.paths import volume_ending
from modality_synthesis.volumes.reading import is_dicom_input

_FORMATS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}


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
    path = Path(path)
    if is_dicom_input(path):
        return _sniff_dicom(path)
    grid = read_grid(path)
    dtype = sitk.GetPixelIDValueAsString(grid.GetPixelID())
    return VolumeInfo(path, _FORMATS[volume_ending(path)], grid.GetSize(), grid.GetSpacing(), dtype)


def _sniff_dicom(path: Path) -> VolumeInfo:
    from modality_synthesis.volumes.dicom import find_stack

    stack = find_stack(path, None, Reporter())
    size = (*stack.slices[0].size, stack.depth)
    return VolumeInfo(path, "DICOM", size, stack.spacing, "16-bit integer, rescaled")
