"""Volumes as the figures show them: 1 mm voxels along the body's axes, cut into three planes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.volumes import array

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")


def oriented(image: sitk.Image) -> sitk.Image:
    """The same volume with axes Left-Posterior-Superior and 1 mm voxels."""
    return resample_isotropic(sitk.DICOMOrient(sitk.Cast(image, sitk.sitkFloat32), "LPS"), 1.0)


def display_volume(image: sitk.Image) -> np.ndarray:
    """(z, y, x) of `oriented`."""
    return array(oriented(image))


def center_of(inside: np.ndarray) -> tuple[int, int, int]:
    """The middle of what is inside (z, y, x); the axial plane a little higher, through the ventricles."""
    center = []
    for axis, share in enumerate((0.56, 0.52, 0.46)):
        hits = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        center.append(int(hits[0] + share * (hits[-1] - hits[0])) if hits.size else inside.shape[axis] // 2)
    return center[0], center[1], center[2]


def cut(volume: np.ndarray, plane: Plane, center: tuple[int, int, int]) -> np.ndarray:
    """One plane of a (z, y, x) volume, head up: the person's right (or front) is on the left."""
    axis = PLANES.index(plane)
    image = np.take(volume, center[axis], axis=axis)
    return image if axis == 0 else image[::-1]
