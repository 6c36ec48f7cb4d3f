"""Does the stated uncertainty tell how large the error is? Coverage of intervals, and sparsification.

Both are statements over all voxels of a person, not about one voxel, and not about whether a lesion is real.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import integrate, stats

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
_FRACTIONS = 20


@dataclass(frozen=True)
class Calibration:
    """Uncertainty against error inside a mask.

    Attributes:
        levels: nominal levels of central intervals (Gaussian: value +- z * standard deviation).
        coverage: share of voxels whose reference lies in the interval, per level.
        width: mean width of the interval, target units, per level.
        fractions: shares of voxels removed, most uncertain first.
        sparsification: mean absolute error of the voxels kept.
        oracle: the same when the largest errors are removed first.
        ause: area between both curves over that of the unsparsified error (Ilg 2018); 0 is a perfect ranking.
        spearman: rank correlation of standard deviation and absolute error.
    """

    levels: tuple[float, ...]
    coverage: tuple[float, ...]
    width: tuple[float, ...]
    fractions: tuple[float, ...]
    sparsification: tuple[float, ...]
    oracle: tuple[float, ...]
    ause: float
    spearman: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def calibrate(
    error: np.ndarray, deviation: np.ndarray, inside: np.ndarray, levels: tuple[float, ...] = LEVELS
) -> Calibration:
    """Judge a map of standard deviations.

    Args:
        error: synthetic - reference.
        deviation: standard deviation of the synthetic volume, same shape and units.
        inside: bool, same shape.
        levels: nominal levels.

    Raises:
        ValueError: the mask is empty.
    """
    magnitude, spread = np.abs(error[inside]).astype(np.float64), deviation[inside].astype(np.float64)
    if magnitude.size == 0:
        raise ValueError("the mask is empty")
    quantiles = [float(stats.norm.ppf(0.5 + level / 2)) for level in levels]
    coverage = [float((magnitude <= z * spread).mean()) for z in quantiles]
    width = [float(2 * z * spread.mean()) for z in quantiles]
    fractions = np.arange(_FRACTIONS) / _FRACTIONS
    by_spread, by_error = _kept_means(magnitude, spread, fractions), _kept_means(magnitude, magnitude, fractions)
    whole = float(magnitude.mean())
    if spread.std() == 0:  # the same everywhere ranks nothing: whichever voxels go, the rest is like the whole
        by_spread = np.full(fractions.shape, whole)
    area = float(integrate.trapezoid(by_spread - by_error, fractions)) / whole if whole > 0 else float("nan")
    ranked = spread.std() > 0 and magnitude.std() > 0
    return Calibration(
        levels=levels,
        coverage=tuple(coverage),
        width=tuple(width),
        fractions=tuple(fractions.tolist()),
        sparsification=tuple(by_spread.tolist()),
        oracle=tuple(by_error.tolist()),
        ause=area,
        spearman=float(stats.spearmanr(spread, magnitude).statistic) if ranked else float("nan"),
    )


def _kept_means(magnitude: np.ndarray, key: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Mean magnitude of what stays when the given shares with the largest key are removed."""
    ascending = magnitude[np.argsort(key, kind="stable")]
    sums = np.cumsum(ascending)
    kept = np.maximum(np.round((1 - fractions) * magnitude.size).astype(int), 1)
    return sums[kept - 1] / kept
