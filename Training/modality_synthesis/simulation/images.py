"""Small image operations the simulators share."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))


def like(values: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """A float32 image with `values` (z, y, x) on the grid of `reference`."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32))
    image.CopyInformation(reference)
    return image


def blur(image: sitk.Image, sigma_mm: float | tuple[float, float, float]) -> sitk.Image:
    """Gaussian blur; sigma per axis in mm, 0 leaves an axis alone."""
    sigmas = (sigma_mm,) * 3 if isinstance(sigma_mm, (int, float)) else sigma_mm
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            image = sitk.RecursiveGaussian(image, sigma, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, axis)
    return image


def smooth_field(grid: sitk.Image, rng: np.random.Generator, fwhm_mm: float) -> np.ndarray:
    """A random field on `grid` with about zero mean and unit standard deviation, correlated over `fwhm_mm`."""
    coarse = coarse_grid(grid, fwhm_mm / 3)
    noise = rng.standard_normal(coarse.GetSize()[::-1])
    coarse = blur(like(noise, coarse), fwhm_mm * FWHM_TO_SIGMA)
    values = sitk.GetArrayViewFromImage(coarse)
    coarse = (coarse - float(values.mean())) / float(values.std())
    return sitk.GetArrayFromImage(sitk.Resample(coarse, grid, sitk.Transform(), sitk.sitkLinear, 0.0))


def coarse_grid(grid: sitk.Image, step_mm: float) -> sitk.Image:
    """An empty image of isotropic `step_mm` that covers `grid` with one voxel to spare on each side."""
    extent = [size * spacing for size, spacing in zip(grid.GetSize(), grid.GetSpacing(), strict=True)]
    coarse = sitk.Image([int(np.ceil(length / step_mm)) + 3 for length in extent], sitk.sitkUInt8)
    coarse.SetSpacing([step_mm] * 3)
    coarse.SetDirection(grid.GetDirection())
    start = [-step_mm / spacing for spacing in grid.GetSpacing()]
    coarse.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint(start))
    return coarse


def regrid(
    image: sitk.Image, spacing: tuple[float, float, float], transform: sitk.Transform | None = None
) -> sitk.Image:
    """Sample an image on a grid of another spacing over the same field of view (linear)."""
    size = [
        max(round(count * old / new), 1)
        for count, old, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    ]
    first = [(new / old - 1) / 2 for old, new in zip(image.GetSpacing(), spacing, strict=True)]
    origin = image.TransformContinuousIndexToPhysicalPoint(first)
    return sitk.Resample(
        image,
        size,
        transform or sitk.Transform(),
        sitk.sitkLinear,
        origin,
        spacing,
        image.GetDirection(),
        0.0,
    )
