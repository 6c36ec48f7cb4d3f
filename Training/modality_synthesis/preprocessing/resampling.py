"""Sampling on other grids, with the blur that keeps fine detail from aliasing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing.parameters import Resample

_FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))


def antialias(image: sitk.Image, spacing: tuple[float, float, float]) -> sitk.Image:
    """Blur each axis that is about to be sampled more coarsely, to the resolution of the new spacing.

    Args:
        image: float32 volume.
        spacing: the new voxel size along the image's own axes, mm.
    """
    for axis, (old, new) in enumerate(zip(image.GetSpacing(), spacing, strict=True)):
        if new > 1.05 * old and image.GetSize()[axis] >= 4:
            sigma = _FWHM_TO_SIGMA * float(np.sqrt(new**2 - old**2))
            image = sitk.RecursiveGaussian(image, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    return image


def resample_isotropic(image: sitk.Image, spacing_mm: float, *, is_mask: bool = False) -> sitk.Image:
    """The same field of view at an isotropic voxel size.

    Returns:
        float32 (linear, antialiased), or uint8 (nearest) when `is_mask`.
    """
    spacing = (spacing_mm,) * 3
    size = [
        max(int(np.ceil(count * old / spacing_mm)), 1)
        for count, old in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    # The new grid is centered on the old one, so that no side loses more than the other.
    middle = image.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in image.GetSize()])
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(middle) - direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    source = image if is_mask else antialias(sitk.Cast(image, sitk.sitkFloat32), spacing)
    return sitk.Resample(
        source,
        size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor if is_mask else sitk.sitkLinear,
        origin.tolist(),
        spacing,
        image.GetDirection(),
        0.0,
        sitk.sitkUInt8 if is_mask else sitk.sitkFloat32,
    )


def tilt_degrees(axes: np.ndarray) -> float:
    """How far the axis that is tilted most lies from the nearest axis of the frame that it is given in.

    Args:
        axes: (3, 3), columns are unit vectors.
    """
    cosines = np.abs(axes).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), 0.0, 1.0))))


def resample_along(
    image: sitk.Image, axes: np.ndarray, center: Sequence[float], size: Sequence[int], spacing_mm: float
) -> sitk.Image:
    """On an isotropic grid that is turned.

    Args:
        image: volume.
        axes: (3, 3), columns are the grid's x, y and z axes in the world.
        center: of the grid, mm in the world.
        size: x, y, z.
        spacing_mm: of the grid.

    Returns:
        float32 volume, 0 outside the image's field of view.
    """
    spacing = (spacing_mm,) * 3
    origin = np.array(center) - axes @ (spacing_mm * (np.array(size) - 1) / 2)
    source = antialias(sitk.Cast(image, sitk.sitkFloat32), spacing)
    return sitk.Resample(
        source, list(size), sitk.Transform(), sitk.sitkLinear, origin.tolist(), spacing, axes.ravel().tolist(), 0.0,
        sitk.sitkFloat32,
    )  # fmt: skip


def resample_cubic(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """One interpolation, cubic so that sharpness survives, held to the image's own range so that nothing rings.

    Args:
        image: volume of any pixel type.
        grid: gives the grid only.
        transform: from world points of `grid` to world points of `image`.

    Returns:
        float32 volume on the grid, the image's lowest value outside its field of view.
    """
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    moved = sitk.Resample(image, grid, transform, sitk.sitkBSpline, low, sitk.sitkFloat32)
    return sitk.Clamp(moved, sitk.sitkFloat32, low, high)


def model_grid(parameters: Resample) -> sitk.Image:
    """An empty image on a model's grid: axes along template Left-Posterior-Superior."""
    grid = sitk.Image(list(parameters.size), sitk.sitkUInt8)
    grid.SetSpacing(parameters.spacing)
    half = [(count - 1) / 2 * step for count, step in zip(parameters.size, parameters.spacing, strict=True)]
    grid.SetOrigin([center - extent for center, extent in zip(parameters.center, half, strict=True)])
    return grid
