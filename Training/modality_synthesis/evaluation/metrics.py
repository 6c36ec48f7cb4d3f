"""Image metrics inside a mask, with the data range stated by the caller.

A masked background cannot inflate a figure: voxels outside the mask take no part in any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DEFINITIONS: Mapping[str, str] = {
    "MAE": "mean absolute error inside the mask, target units",
    "RMSE": "root mean squared error inside the mask, target units",
    "PSNR": "20 log10(data range / RMSE) inside the mask, dB",
    "SSIM": "mean SSIM (Gaussian window 11 voxels, sigma 1.5, K1 0.01, K2 0.03) over mask voxels",
    "r": "Pearson correlation inside the mask",
}


@dataclass(frozen=True)
class Metrics:
    """Figures of one comparison; `DEFINITIONS` says what they mean."""

    mae: float
    rmse: float
    psnr: float
    ssim: float
    correlation: float

    def as_dict(self) -> dict[str, float]:
        """By the names of `DEFINITIONS`."""
        return {
            "MAE": self.mae,
            "RMSE": self.rmse,
            "PSNR": self.psnr,
            "SSIM": self.ssim,
            "r": self.correlation,
        }


def compare_arrays(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float) -> Metrics:
    """Compare two volumes on one grid.

    Args:
        synthetic: (depth, height, width), target units.
        reference: same shape.
        mask: same shape; True where the comparison counts.
        data_range: largest minus smallest value the target can take (2.5 for FDG SUVR here), stated with the result.

    Raises:
        ValueError: shapes differ or the mask is empty.
    """
    if not synthetic.shape == reference.shape == mask.shape:
        raise ValueError(f"shapes differ: {synthetic.shape}, {reference.shape}, {mask.shape}")
    inside = mask.astype(bool)
    if not inside.any():
        raise ValueError("the mask is empty")
    first, second = synthetic[inside].astype(np.float64), reference[inside].astype(np.float64)
    error = first - second
    rmse = float(np.sqrt(np.mean(error**2)))
    return Metrics(
        mae=float(np.mean(np.abs(error))),
        rmse=rmse,
        psnr=float("inf") if rmse == 0 else float(20 * np.log10(data_range / rmse)),
        ssim=_ssim(synthetic, reference, inside, data_range),
        correlation=_correlation(first, second),
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ssim(synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, data_range: float) -> float:
    import torch

    from modality_synthesis.losses.ssim import ssim_map

    # Outside the mask both volumes take the same value, so that windows across the border compare the inside only.
    volumes = [torch.from_numpy(np.where(inside, volume, 0.0))[None, None] for volume in (synthetic, reference)]
    padded = [torch.nn.functional.pad(volume, [5] * 6) for volume in volumes]
    values = ssim_map(padded[0], padded[1], data_range=data_range)[0, 0].numpy()
    return float(values[inside].mean())


def bootstrap_interval(
    values: np.ndarray, *, level: float = 0.95, seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; `values` holds one figure per patient."""
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (draws, values.size)).mean(axis=1)
    low, high = np.percentile(means, [50 * (1 - level), 100 - 50 * (1 - level)])
    return float(low), float(high)
