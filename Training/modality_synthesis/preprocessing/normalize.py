"""Intensity normalization inside the brain mask."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter1d

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.atlas import label_image
from modality_synthesis.preprocessing.bias_field import correct_bias_field
from modality_synthesis.preprocessing.parameters import Normalize, SignalNormalization

_GRAY, _WHITE = 1, 2


def normalize(image: sitk.Image, mask: sitk.Image, parameters: Normalize) -> tuple[sitk.Image, dict[str, float]]:
    """Scale the image inside the mask as the parameters say; 0 outside.

    Returns:
        float32 volume on the same grid, and quality figures: for `tissue`, by which share of the white matter's signal
        the gray matter's lies below it.
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    low, high = _anchors(image, mask, parameters.method)
    quality = {"gray_white_contrast": round(1 - low / high, 4)} if parameters.method == "tissue" and high > 0 else {}
    at_low, at_high = (0.5, 1.0) if parameters.method == "tissue" else (0.0, 1.0)
    if high <= low:
        # Reversed contrast (T2w, FLAIR): scale by the distance all the same; the contrast check reports it.
        low, high = high, low
    scaled = at_low + (voxels - low) * ((at_high - at_low) / max(high - low, 1e-6))
    scaled = np.where(inside, np.clip(scaled, *parameters.clip), 0.0).astype(np.float32)
    result = sitk.GetImageFromArray(scaled)
    result.CopyInformation(image)
    return result, quality


def normalize_signal(image: sitk.Image, mask: sitk.Image, parameters: SignalNormalization) -> sitk.Image:
    """Bring an MRI to a common scale; unlike `normalize` it keeps what lies outside the mask and clips nothing.

    Args:
        image: float32, in template space.
        mask: uint8 brain mask on the same grid.
        parameters: the method.

    Raises:
        BadInputError: the volume has no signal where the scale is taken from.
    """
    if parameters.bias_field is not None:
        image = correct_bias_field(image, mask, parameters.bias_field)
    if parameters.method == "white-matter":
        low, high = 0.0, white_matter_peak(image, mask)
    else:
        values = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) > 0]
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    if not high > low:
        raise BadInputError("Intensities cannot be normalized: the reference MRI has no signal in the brain.")
    return (image - low) * (1.0 / (high - low))


def _anchors(image: sitk.Image, mask: sitk.Image, method: str) -> tuple[float, float]:
    if method == "z-score":
        values = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(mask) > 0]
        return float(values.mean()), float(values.mean() + values.std())
    return tissue_levels(image, mask)


def tissue_levels(image: sitk.Image, mask: sitk.Image) -> tuple[float, float]:
    """Typical gray and white matter signal: medians over the atlas' regions.

    An affine leaves the atlas' cortex partly in white matter and in fluid, so the gray level is no tissue mean; it is
    the same robust figure for every head and contrast, which a mixture fitted to the histogram is not.

    Args:
        image: in template space.
        mask: uint8 brain mask on the same grid.

    Returns:
        gray, white.
    """
    gray, white = _tissue_values(image, mask)
    return float(np.median(gray)), float(np.median(white))


def white_matter_peak(image: sitk.Image, mask: sitk.Image) -> float:
    """The most frequent signal in the atlas' deep white matter.

    Wide ventricles and lesions reach into that region: they shift its median, but not its peak.

    Args:
        image: in template space.
        mask: uint8 brain mask on the same grid.
    """
    white = _tissue_values(image, mask)[1]
    counts, edges = np.histogram(white, bins=128, range=tuple(np.percentile(white, (0.5, 99.5))))
    peak = int(np.argmax(gaussian_filter1d(counts.astype(float), 4.0)))
    return float((edges[peak] + edges[peak + 1]) / 2)


def _tissue_values(image: sitk.Image, mask: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    regions = sitk.GetArrayFromImage(
        sitk.Resample(_tissue_regions(), image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    )
    values, inside = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(mask) > 0
    gray, white = (values[inside & (regions == tissue)] for tissue in (_GRAY, _WHITE))
    if min(gray.size, white.size) < 100:
        raise BadInputError(
            "Intensities cannot be normalized: the volume does not reach the atlas' gray and white matter."
        )
    return gray, white


@lru_cache(maxsize=1)
def _tissue_regions() -> sitk.Image:
    """The atlas' gray matter (1) and deep white matter (2) at 1 mm."""
    labels = label_image()
    tissue = np.zeros(1 << 16, dtype=np.uint8)  # by label: a table is many times quicker than asking label by label
    tissue[1000:3000] = _GRAY
    tissue[[8, 47, 10, 49, 11, 50, 12, 51, 17, 53, 18, 54]] = _GRAY
    tissue[[2, 41]] = _WHITE
    by_voxel = tissue[sitk.GetArrayFromImage(labels)]
    white = sitk.GetImageFromArray((by_voxel == _WHITE).astype(np.uint8))
    shallow = sitk.GetArrayFromImage(sitk.BinaryErode(white, [3, 3, 3])) == 0
    by_voxel[(by_voxel == _WHITE) & shallow] = 0
    regions = sitk.GetImageFromArray(by_voxel)
    regions.CopyInformation(labels)
    return regions
