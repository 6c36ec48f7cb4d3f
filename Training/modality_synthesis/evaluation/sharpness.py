"""Is a synthetic volume as sharp as the real one? Ratios whose target is 1: blur lowers them, noise raises them.

Errors and SSIM hardly notice blur (Dohmen 2025); these do. They are no measure of truth: noise is sharp.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def tenengrad(volume: np.ndarray, inside: np.ndarray, *, slice_axis: int = 0, threshold: float = 0.0) -> float:
    """Mean magnitude of the 3 x 3 Sobel gradient within slices (Krotkov 1988, as Li 2022 use it).

    Args:
        volume: (depth, height, width).
        inside: bool, same shape; its outermost voxels are left out, where the filter would see the outside.
        slice_axis: the axis across slices.
        threshold: magnitudes at or below it count as 0.

    Returns:
        Units of the volume times 8 per voxel (the filter is not normalized); NaN when the region is too thin.
    """
    chosen = _interior(inside, slice_axis)
    if not chosen.any():
        return float("nan")
    # The outside is cut off before filtering: what lies there must not matter.
    values = np.where(inside, volume, 0.0).astype(np.float64)
    first, second = (axis for axis in range(3) if axis != slice_axis)
    gradients: list[np.ndarray] = []
    for along, across in ((first, second), (second, first)):
        smoothed: np.ndarray = ndimage.correlate1d(values, [1.0, 2.0, 1.0], axis=across, mode="nearest")
        gradients.append(ndimage.correlate1d(smoothed, [-1.0, 0.0, 1.0], axis=along, mode="nearest"))
    magnitude = np.hypot(*gradients)[chosen]
    return float(np.where(magnitude > threshold, magnitude, 0.0).mean())


def _interior(inside: np.ndarray, slice_axis: int) -> np.ndarray:
    """Voxels whose 3 x 3 neighbors within the slice are inside too."""
    shape = [3, 3, 3]
    shape[slice_axis] = 1
    return ndimage.binary_erosion(inside, np.ones(shape))


def tenengrad_ratio(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, *, slice_axis: int = 0, threshold: float = 0.0
) -> float:
    """`tenengrad` of the synthetic volume over that of the reference; target 1."""
    figures = [
        tenengrad(volume, inside, slice_axis=slice_axis, threshold=threshold) for volume in (synthetic, reference)
    ]
    return _ratio(*figures)


def through_plane_jump(volume: np.ndarray, inside: np.ndarray, *, axis: int = 0) -> float:
    """Mean |I(k+1) - I(k)| along an axis, over neighbors that are both inside; NaN when there are none."""
    count = volume.shape[axis]
    lower, upper = np.arange(count - 1), np.arange(1, count)
    pairs = inside.take(lower, axis) & inside.take(upper, axis)
    if not pairs.any():
        return float("nan")
    jumps = np.abs(volume.take(upper, axis).astype(np.float64) - volume.take(lower, axis))
    return float(jumps[pairs].mean())


def through_plane_ratio(synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, *, axis: int = 0) -> float:
    """`through_plane_jump` of the synthetic volume over that of the reference; target 1.

    Volumes made slice by slice jump between slices: the ratio is then above 1 across them, not within them.
    """
    return _ratio(*(through_plane_jump(volume, inside, axis=axis) for volume in (synthetic, reference)))


def spectrum_ratio(
    synthetic: np.ndarray,
    reference: np.ndarray,
    inside: np.ndarray,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    band: tuple[float, float] = (0.5, 1.0),
) -> float:
    """Power of fine detail, synthetic over reference; target 1.

    Each volume, less its mean inside, is multiplied by the mask with a soft edge (a hard one would add the same high
    frequencies to both); power is summed over the frequencies of the band in all directions.

    Args:
        synthetic: (depth, height, width).
        reference: same shape.
        inside: bool, same shape.
        spacing: voxel size along the axes, mm.
        band: lower and upper frequency, as shares of the coarsest axis' Nyquist frequency.
    """
    window = _soft_window(inside)
    frequencies = np.meshgrid(
        *(np.fft.fftfreq(count, step) for count, step in zip(inside.shape[:2], spacing[:2], strict=True)),
        np.fft.rfftfreq(inside.shape[2], spacing[2]),
        indexing="ij",
        sparse=True,
    )
    radius = np.sqrt(sum(frequency**2 for frequency in frequencies))
    nyquist = 0.5 / max(spacing)
    chosen = (radius >= band[0] * nyquist) & (radius <= band[1] * nyquist)
    # The transform of real values leaves out the mirror images of all but the first and an even length's last plane.
    mirrored = np.full(chosen.shape[2], 2.0)
    mirrored[0] = 1.0
    if inside.shape[2] % 2 == 0:
        mirrored[-1] = 1.0
    powers = []
    for volume in (synthetic, reference):
        centered = (volume - volume[inside].mean(dtype=np.float64)) * window
        power = np.abs(np.fft.rfftn(centered)) ** 2 * mirrored
        powers.append(float(power[chosen].sum()))
    return _ratio(*powers)


def _soft_window(inside: np.ndarray, width: float = 3.0) -> np.ndarray:
    """0 outside and on the edge, rising to 1 over `width` voxels (a squared sine); flat where nothing is outside."""
    if inside.all():
        return np.ones(inside.shape)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    return np.sin(np.pi / 2 * np.clip((depth - 1) / width, 0, 1)) ** 2


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")
