"""Image metrics with their definitions: inside a mask, or over the whole volume.

Inside a mask no figure depends on what lies outside, so that an empty background cannot improve it. Figures over the
whole volume, where it does, are only reported beside the others (Dohmen 2025, "Five pitfalls").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modality_synthesis.evaluation import sharpness, slicewise
from modality_synthesis.evaluation.similarity import (
    correlation,
    multiscale_structural_similarity,
    normalized_mutual_information,
    structural_similarity,
)
from modality_synthesis.volumes import bounding_box


@dataclass(frozen=True)
class Volumes:
    """Two volumes on one grid, and where and how they are compared.

    Attributes:
        synthetic: (depth, height, width), target units.
        reference: same shape.
        inside: bool, same shape; all True for the whole volume.
        masked: False when the whole volume is compared.
        data_range: largest minus smallest value the target can take.
        spacing: voxel size along the array's axes, mm.
        slice_axis: the array axis across axial slices.
        low: least value the target can take; `low + data_range` is the greatest.
    """

    synthetic: np.ndarray
    reference: np.ndarray
    inside: np.ndarray
    masked: bool
    data_range: float
    spacing: tuple[float, float, float]
    slice_axis: int
    low: float = 0.0

    @property
    def error(self) -> np.ndarray:
        """Synthetic minus reference at the voxels inside, float64."""
        return self.synthetic[self.inside].astype(np.float64) - self.reference[self.inside].astype(np.float64)


@dataclass(frozen=True)
class Metric:
    """A figure and what is needed to read it.

    Attributes:
        definition: in words, with the source.
        unit: `target units`, `dB`, or empty for pure numbers.
        ideal: its value when both volumes are the same.
        better: whether `lower`, `higher` or `nearer` (to `ideal`) is better.
        uses_data_range: whether the data range enters.
        compute: the figure.
    """

    definition: str
    unit: str
    ideal: float
    better: str
    uses_data_range: bool
    compute: Callable[[Volumes], float]


def _psnr(volumes: Volumes) -> float:
    mse = float(np.mean(volumes.error**2))
    return float("inf") if mse == 0 else float(10 * np.log10(volumes.data_range**2 / mse))


METRICS: Mapping[str, Metric] = {
    "MAE": Metric(
        "mean absolute error", "target units", 0.0, "lower", False, lambda v: float(np.abs(v.error).mean())
    ),
    "MSE": Metric(
        "mean squared error", "squared target units", 0.0, "lower", False, lambda v: float(np.mean(v.error**2))
    ),
    "RMSE": Metric(
        "root of the mean squared error", "target units", 0.0, "lower", False,
        lambda v: float(np.sqrt(np.mean(v.error**2))),
    ),
    "PSNR": Metric("10 log10(data range² / MSE)", "dB", float("inf"), "higher", True, _psnr),
    "SSIM": Metric(
        "mean local SSIM in 3-D, Gaussian window 11 voxels wide with sigma 1.5, K1 0.01, K2 0.03 (Wang 2004)",
        "", 1.0, "higher", True,
        lambda v: structural_similarity(v.synthetic, v.reference, v.inside, v.data_range, masked=v.masked),
    ),
    "MS-SSIM": Metric(
        "multi-scale SSIM (Wang 2003) in 3-D: the standard weights of as many scales, five at most, as leave 11 voxels "
        "across the compared region",
        "", 1.0, "higher", True,
        lambda v: multiscale_structural_similarity(v.synthetic, v.reference, v.inside, v.data_range, masked=v.masked),
    ),
    "NCC": Metric(
        "zero-normalized cross-correlation (Pearson's r)", "", 1.0, "higher", False,
        lambda v: correlation(v.synthetic[v.inside], v.reference[v.inside]),
    ),
    "NMI": Metric(
        "normalized mutual information (H(A) + H(B)) / H(A, B) of a joint histogram with 100 bins (Studholme 1999); 1 "
        "is none, 2 is full",
        "", 2.0, "higher", False,
        lambda v: normalized_mutual_information(v.synthetic[v.inside], v.reference[v.inside]),
    ),
    "Tenengrad ratio": Metric(
        "mean Sobel gradient magnitude within axial slices, synthetic over reference: below 1 blurred, above 1 noisy",
        "", 1.0, "nearer", False,
        lambda v: sharpness.tenengrad_ratio(v.synthetic, v.reference, v.inside, slice_axis=v.slice_axis),
    ),
    "Spectrum ratio": Metric(
        "power between half and the whole Nyquist frequency of the coarsest axis, synthetic over reference",
        "", 1.0, "nearer", False,
        lambda v: sharpness.spectrum_ratio(v.synthetic, v.reference, v.inside, spacing=v.spacing),
    ),
    "Through-plane ratio": Metric(
        "mean absolute jump from one axial slice to the next, synthetic over reference: above 1, slices do not fit",
        "", 1.0, "nearer", False,
        lambda v: sharpness.through_plane_ratio(v.synthetic, v.reference, v.inside, axis=v.slice_axis),
    ),
}  # fmt: skip


def _over_slices(name: str) -> Callable[[Volumes], float]:
    def compute(volumes: Volumes) -> float:
        made, real, inside = (
            np.moveaxis(values, volumes.slice_axis, 0)
            for values in (volumes.synthetic, volumes.reference, volumes.inside)
        )
        limits = (volumes.low, volumes.low + volumes.data_range)
        return slicewise.score_slices(made, real, inside, limits, names=[name])[name]

    return compute


# What the literature on CT to MRI reports (Li 2022, tables 2 and 3): means over the axial slices of the grid that the
# brain touches, both volumes empty outside the brain. The background makes them better than they are.
SLICE_METRICS: Mapping[str, Metric] = {
    name: Metric(
        f"{slicewise.SLICE_DEFINITIONS[name]}; mean over slices", unit, ideal, better, True, _over_slices(name)
    )
    for name, unit, ideal, better in (
        ("PSNR whole slice", "dB", float("inf"), "higher"),
        ("RMSE whole slice", "target units", 0.0, "lower"),
        ("SSIM global", "", 1.0, "higher"),
        ("Tenengrad", "", float("nan"), "nearer"),
    )
}
DEFINITIONS: Mapping[str, str] = {name: metric.definition for name, metric in METRICS.items()}
# What training logs at each validation: the others cost more and say little about an unfinished model.
QUICK = ("MAE", "RMSE", "PSNR", "SSIM", "NCC")


def compare_arrays(
    synthetic: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray | None,
    data_range: float,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    slice_axis: int = 0,
    names: Sequence[str] = tuple(METRICS),
    low: float = 0.0,
) -> dict[str, float]:
    """Compare two volumes on one grid.

    Args:
        synthetic: (depth, height, width), target units.
        reference: same shape.
        mask: same shape; True where the comparison counts. None compares the whole volume, background and all.
        data_range: largest minus smallest value the target can take (2.5 for FDG SUVR here), stated with the result.
        spacing: voxel size along the array's axes, mm.
        slice_axis: the array axis across axial slices.
        names: which of `METRICS` and `SLICE_METRICS`.
        low: least value the target can take, for `SLICE_METRICS`.

    Returns:
        Figures by name; NaN where one is not defined (a constant reference, a region too thin).

    Raises:
        ValueError: shapes differ or the mask is empty.
    """
    if synthetic.shape != reference.shape or (mask is not None and mask.shape != reference.shape):
        raise ValueError(f"shapes differ: {synthetic.shape}, {reference.shape}, {None if mask is None else mask.shape}")
    inside = np.ones(reference.shape, dtype=bool) if mask is None else mask.astype(bool)
    if not inside.any():
        raise ValueError("the mask is empty")
    around = bounding_box(inside)  # what lies outside counts for nothing, so that it need not be computed either
    settings = (mask is not None, data_range, spacing, slice_axis, low)
    volumes = Volumes(synthetic[around], reference[around], inside[around], *settings)
    whole = Volumes(synthetic, reference, inside, *settings)
    return {
        name: SLICE_METRICS[name].compute(whole) if name in SLICE_METRICS else METRICS[name].compute(volumes)
        for name in names
    }
