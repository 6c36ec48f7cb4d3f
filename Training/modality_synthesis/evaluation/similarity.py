"""How alike two volumes are: SSIM, multi-scale SSIM, correlation and mutual information inside a mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
# Wang 2003, cross-scale calibration.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
NMI_BINS = 100


def structural_similarity(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, data_range: float, *, masked: bool = True
) -> float:
    """Mean SSIM (Wang 2004).

    Args:
        synthetic: (depth, height, width).
        reference: same shape.
        inside: bool, same shape: where the mean is taken. Outside both volumes are set to 0, so that a window across
            the border compares the inside only.
        data_range: largest minus smallest possible value.
        masked: False takes the mean over every position where the window fits instead, as MONAI does.
    """
    first, second = _zeroed(synthetic, reference, inside, masked)
    values, _ = _similarity_and_contrast(first, second, data_range)
    return _mean(values, inside if masked else None)


def multiscale_structural_similarity(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, data_range: float, *, masked: bool = True
) -> float:
    """Multi-scale SSIM (Wang 2003): contrast and structure at every scale, luminance at the coarsest.

    Scales halve the resolution by averaging. Five need 176 voxels across; with fewer, the standard weights of the first
    ones are used, scaled to sum to 1. Arguments as for `structural_similarity`.
    """
    count = scale_count(inside.shape)
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    first, second = _zeroed(synthetic, reference, inside, masked)
    share = inside.astype(np.float64)
    product = 1.0
    for scale in range(count):
        if scale:
            first, second, share = (_halved(volume) for volume in (first, second, share))
        similarity, contrast = _similarity_and_contrast(first, second, data_range)
        values = similarity if scale == count - 1 else contrast
        product *= max(_mean(values, share > 0.5 if masked else None), 0.0) ** weights[scale]
    return float(product)


def scale_count(shape: tuple[int, ...]) -> int:
    """Scales, five at most, at which a region of this shape is still `WINDOW` voxels across."""
    return int(np.clip(np.log2(max(min(shape) / WINDOW, 1)) + 1, 1, len(SCALE_WEIGHTS)))


def _zeroed(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, masked: bool
) -> tuple[np.ndarray, np.ndarray]:
    arrays = [np.where(inside, volume, 0.0) if masked else volume for volume in (synthetic, reference)]
    return arrays[0].astype(np.float64), arrays[1].astype(np.float64)


def _similarity_and_contrast(first: np.ndarray, second: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and its contrast-structure part at each voxel, zeros beyond the border."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean1, mean2 = _blurred(first), _blurred(second)
    variances = _blurred(first * first) - mean1**2 + _blurred(second * second) - mean2**2
    covariance = _blurred(first * second) - mean1 * mean2
    contrast = (2 * covariance + c2) / (variances + c2)
    return (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1) * contrast, contrast


def _blurred(volume: np.ndarray) -> np.ndarray:
    taps = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    for axis in range(3):
        volume = ndimage.correlate1d(volume, taps / taps.sum(), axis=axis, mode="constant")
    return volume


def _halved(volume: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 x 2 voxels; an odd last plane is left out."""
    depth, height, width = (count // 2 * 2 for count in volume.shape)
    even = volume[:depth, :height, :width]
    return even.reshape(depth // 2, 2, height // 2, 2, width // 2, 2).mean(axis=(1, 3, 5))


def _mean(values: np.ndarray, inside: np.ndarray | None) -> float:
    if inside is not None:
        return float(values[inside].mean()) if inside.any() else float("nan")
    border = WINDOW // 2
    fitting = tuple(slice(border, -border) if count >= WINDOW else slice(None) for count in values.shape)
    return float(values[fitting].mean())


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; NaN when one of them is constant."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def normalized_mutual_information(first: np.ndarray, second: np.ndarray, bins: int = NMI_BINS) -> float:
    """(H(A) + H(B)) / H(A, B) (Studholme 1999) of a joint histogram over each one's range; NaN for constants."""
    joint, _, _ = np.histogram2d(first.ravel().astype(np.float64), second.ravel().astype(np.float64), bins=bins)
    entropies = [_entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0)), _entropy(joint.ravel())]
    return float((entropies[0] + entropies[1]) / entropies[2]) if entropies[2] > 0 else float("nan")


def _entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
