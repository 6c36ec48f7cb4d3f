"""One volume out: NIfTI, NRRD or MetaImage, complete or not at all."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.volumes import metaimage, nifti, nrrd
from modality_synthesis.volumes.atomic import atomic_output
from modality_synthesis.volumes.geometry import affine, largest_displacement
from modality_synthesis.volumes.guard import check_writable
from modality_synthesis.volumes.paths import volume_ending
from modality_synthesis.volumes.reading import grid_reader

_SAME_GRID_MM = 1e-3
_INTEGERS = {
    sitk.sitkUInt8,
    sitk.sitkInt8,
    sitk.sitkUInt16,
    sitk.sitkInt16,
    sitk.sitkUInt32,
    sitk.sitkInt32,
    sitk.sitkUInt64,
    sitk.sitkInt64,
}


def write_image(image: sitk.Image, path: str | Path, *, like: str | Path | None = None, description: str = "") -> None:
    """Write a volume; integers stay integers, everything else becomes float32. Atomic, lightly compressed.

    When `like` is a file of the same format (NIfTI or NRRD) on the same grid, its geometry fields are copied
    bit for bit, so that both files read back with identical size, spacing, origin and direction. Without
    that, MetaImage holds the geometry exactly, NRRD to 1e-15 relative, and NIfTI, whose header is single
    precision, to 1e-7 relative: a volume read from NIfTI keeps size, spacing and origin exactly, and its
    direction cosines to 1e-7.

    Args:
        image: 3-D scalar volume.
        path: ends in .nii.gz, .nii, .nrrd or .mha. Parent folders are created.
        like: the file whose geometry `image` has.
        description: what the volume is; NIfTI keeps 79 bytes of it (`descrip`), NRRD puts it into `content`,
            MetaImage into `Comment`.

    Raises:
        BadInputError: unsupported ending, or the folder cannot be written to.
        ValueError: not a 3-D scalar volume.
    """
    path = Path(path)
    check_writable(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("Only 3-D scalar volumes are written.")
    if image.GetPixelID() not in _INTEGERS:
        image = sitk.Cast(image, sitk.sitkFloat32)
    source = Path(like) if like is not None and _is_on_grid(image, Path(like)) else None
    with atomic_output(path) as temporary:
        _write(image, temporary, source, description)


def _write(image: sitk.Image, path: Path, source: Path | None, description: str) -> None:
    ending = volume_ending(path)
    source_ending = volume_ending(source) if source else ""
    if ending in (".nii", ".nii.gz"):
        fields = nifti.read_header(source) if source and source_ending in (".nii", ".nii.gz") else None
        nifti.write(image, path, like=fields, description=description)
    elif ending == ".nrrd":
        lines = nrrd.read_header(source) if source and source_ending in (".nrrd", ".nhdr") else None
        exact = lines if lines and nrrd.copies_exactly(lines) else None
        nrrd.write(image, path, like=exact, description=description)
    else:
        metaimage.write(image, path, description=description)


def _is_on_grid(image: sitk.Image, like: Path) -> bool:
    ending = volume_ending(like)
    if not ending or not like.is_file():
        return False
    size, grid = grid_reader(ending)(like)
    if size != image.GetSize():
        return False
    return largest_displacement(affine(image), grid.affine, size) <= _SAME_GRID_MM
