"""What a volume must be before anything is computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError

MIN_VOXELS = 8
# 1024 along each axis: four times the finest head scans.
MOST_VOXELS = 1 << 30
MIN_SPACING_MM = 0.05
MAX_SPACING_MM = 20.0
# Cosines in headers are rounded; 0.001 is 0.06 degrees.
_ORTHONORMAL = 1e-3


def check_shape(size: Sequence[int], components: int, name: str) -> None:
    """Refuse colour, 4-D (unless the extra axes have length one), 2-D and tiny volumes.

    Args:
        size: voxels per axis, x first.
        components: numbers per voxel.
        name: the file's name.
    """
    if components != 1:
        raise BadInputError(
            f"{name} holds {components} numbers per voxel (colour or vector data); one is needed. "
            "Save a grey-value volume."
        )
    if math.prod(size[3:]) > 1:
        raise BadInputError(
            f"{name} is {len(size)}-D ({'×'.join(map(str, size))}); one 3-D volume is needed. "
            "Extract one time point, or average them."
        )
    if len(size) < 3 or min(size[:3]) < MIN_VOXELS:
        raise BadInputError(
            f"{name} is {'×'.join(map(str, size[:3]))} voxels; at least {MIN_VOXELS} along each of three "
            "axes are needed. A single slice or a scout cannot be used."
        )
    if math.prod(size[:3]) > MOST_VOXELS:
        raise BadInputError(
            f"{name} is {'×'.join(map(str, size[:3]))} voxels, more than any head scan has (2^30). Its header is "
            "wrong, or it shows something else."
        )


def check_grid(spacing: Sequence[float], direction: Sequence[float], name: str) -> None:
    """Refuse voxel sizes that no head scan has, and axes that are not at right angles.

    Args:
        spacing: mm, three values.
        direction: nine direction cosines, row by row.
        name: the file's name.
    """
    if not all(MIN_SPACING_MM <= step <= MAX_SPACING_MM for step in spacing):  # false for NaN as well
        raise BadInputError(
            f"{name} has a voxel size of {'×'.join(f'{step:.4g}' for step in spacing)} mm; {MIN_SPACING_MM} "
            f"to {MAX_SPACING_MM:g} mm is plausible. Its header is wrong, or its unit is not mm."
        )
    matrix = np.array(direction, dtype=float).reshape(3, 3)
    if not np.abs(matrix.T @ matrix - np.eye(3)).max() <= _ORTHONORMAL:
        raise not_orthonormal(name)


def not_orthonormal(name: str) -> BadInputError:
    """The error for a sheared grid."""
    return BadInputError(
        f"{name}: the voxel axes in its header are not at right angles (sheared), which neither ITK nor 3D "
        "Slicer reads as a volume. Resample it to a regular grid first."
    )


def checked_image(image: sitk.Image, name: str) -> sitk.Image:
    """A volume that came from elsewhere than a file, held to what files are held to.

    Returns:
        float32, same grid.

    Raises:
        BadInputError: color or not 3-D, tiny, implausible voxel size, sheared axes, NaN, infinity or constant values.
    """
    check_shape(image.GetSize(), image.GetNumberOfComponentsPerPixel(), name)
    check_grid(image.GetSpacing(), image.GetDirection(), name)
    image = sitk.Cast(image, sitk.sitkFloat32)
    check_values(image, name)
    return image


def check_values(image: sitk.Image, name: str, *, unmeasured: bool = False) -> None:
    """Refuse constant volumes, and NaN and infinity.

    Args:
        image: the volume.
        name: the file's name.
        unmeasured: NaN and infinity are allowed: they mark what was not measured (`coverage.find_coverage`).
    """
    voxels = sitk.GetArrayViewFromImage(image)
    low, high = float(voxels.min()), float(voxels.max())  # NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        known = np.isfinite(voxels)
        if not unmeasured:
            # Not "replace them by 0": where the head should be, that would be taken for a measurement.
            raise BadInputError(
                f"{name} holds {voxels.size - np.count_nonzero(known)} voxels that are not finite (NaN or infinity), "
                "so nothing is known there. Export or resample the volume again so that all of the head has values."
            )
        if not known.any():
            raise BadInputError(f"{name} holds no value at all, only NaN or infinity. Export it again.")
        low, high = float(voxels[known].min()), float(voxels[known].max())
    if low == high:
        raise BadInputError(f"{name} is empty: all its voxels are {low:g}. Export it again.")
