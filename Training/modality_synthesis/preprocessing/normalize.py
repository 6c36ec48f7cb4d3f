"""Intensity normalization inside the brain mask."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing.parameters import Normalize

_BINS = 256


def normalize(image: sitk.Image, mask: sitk.Image, parameters: Normalize) -> sitk.Image:
    """Scale the image inside the mask as the parameters say; 0 outside.

    Returns:
        float32 volume on the same grid.
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    low, high = _anchors(voxels[inside], parameters.method)
    at_low, at_high = (0.5, 1.0) if parameters.method == "tissue" else (0.0, 1.0)
    scaled = at_low + (voxels - low) * ((at_high - at_low) / max(high - low, 1e-6))
    scaled = np.where(inside, np.clip(scaled, *parameters.clip), 0.0).astype(np.float32)
    result = sitk.GetImageFromArray(scaled)
    result.CopyInformation(image)
    return result


def _anchors(values: np.ndarray, method: str) -> tuple[float, float]:
    if method == "z-score":
        return float(values.mean()), float(values.mean() + values.std())
    return tissue_peaks(values)[1:]


def tissue_peaks(values: np.ndarray) -> tuple[float, float, float]:
    """Mean signal of cerebrospinal fluid, gray and white matter of a T1w brain, in rising order.

    A mixture of three Gaussians is fitted to the histogram by expectation maximization.

    Args:
        values: voxels inside the brain mask.
    """
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        return float(low) - 1.0, float(low), float(low) + 1.0
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    means = np.percentile(values, [8, 40, 80])
    spreads = np.full(3, (high - low) / 8)
    weights = np.array([0.15, 0.45, 0.40])
    for _ in range(200):
        density = weights * np.exp(-0.5 * ((centers[:, None] - means) / spreads) ** 2) / spreads
        share = density / np.maximum(density.sum(axis=1, keepdims=True), 1e-12)
        mass = np.maximum((counts[:, None] * share).sum(axis=0), 1e-6)
        updated = (counts[:, None] * share * centers[:, None]).sum(axis=0) / mass
        variance = (counts[:, None] * share * (centers[:, None] - updated) ** 2).sum(axis=0) / mass
        spreads = np.maximum(np.sqrt(variance), (high - low) / 60)
        weights = mass / mass.sum()
        if np.abs(updated - means).max() < 1e-4 * (high - low):
            means = updated
            break
        means = updated
    csf, gray, white = np.sort(means).tolist()
    return csf, gray, white
