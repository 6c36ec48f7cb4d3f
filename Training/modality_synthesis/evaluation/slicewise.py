"""Figures per slice, as the CT-to-MRI literature reports them, beside those that mean what they seem to mean.

A whole slice of a brain on a black background flatters PSNR by 10 log10(pixels / brain pixels), five to six dB; the
literature's figures are whole-slice ones. Both are given here, each under a name that says which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter, sobel

from modality_synthesis._version import __version__
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.common_grid import mask_on_grid_of, on_common_grid, read_volume
from modality_synthesis.evaluation.signal import is_signal, match_signal
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import (
    Mark,
    array,
    check_outputs,
    check_writable,
    derived_record,
    mark_columns,
    read_image,
    read_mark,
    refuse_foreign_json,
    write_json,
)
from modality_synthesis.volumes.coverage import LOOK_BELOW

SLICE_DEFINITIONS: Mapping[str, str] = {
    "PSNR": "20 log10(data range / RMSE) over the slice's mask pixels, dB",
    "PSNR whole slice": "the same over all pixels of the slice, the empty background included, dB",
    "RMSE": "root mean squared error over the slice's mask pixels, target units",
    "RMSE whole slice": "the same over all pixels of the slice, the empty background included, target units",
    "SSIM": "mean SSIM (Gaussian window 11 pixels, sigma 1.5, K1 0.01, K2 0.03) over the slice's mask pixels",
    "SSIM global": "SSIM of the whole slice's means, variances and covariance (one window)",
    "Tenengrad": "mean magnitude of the unnormalized 3 x 3 Sobel gradient, 8-bit scale, whole slice",
    "Tenengrad ratio": "Tenengrad of the synthetic slice over that of the real one, 1 is as sharp",
}


def score_slices(
    synthetic: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    value_range: tuple[float, float],
    *,
    threshold: float = 0.0,
    names: Sequence[str] = tuple(SLICE_DEFINITIONS),
) -> dict[str, float]:
    """Means over a patient's slices that the mask touches; `SLICE_DEFINITIONS` says of what.

    Outside the mask both volumes are set to the low end of the range: the literature's images are masked, and a real
    volume's skull is no error of a synthetic brain.

    Args:
        synthetic: (depth, height, width), target units.
        reference: same shape.
        mask: same shape; True in the brain.
        value_range: least and greatest value the target can take; its width is the data range of PSNR and SSIM.
        threshold: of the Tenengrad.
        names: which figures.

    Raises:
        ValueError: shapes differ or the mask is empty.
    """
    if not synthetic.shape == reference.shape == mask.shape or synthetic.ndim != 3:
        raise ValueError(f"shapes differ or are not 3-D: {synthetic.shape}, {reference.shape}, {mask.shape}")
    inside = mask.astype(bool)
    touched = np.flatnonzero(inside.any(axis=(1, 2)))
    if touched.size == 0:
        raise ValueError("the mask is empty")
    width = value_range[1] - value_range[0]
    made, real = (np.where(inside, volume, value_range[0]) for volume in (synthetic, reference))
    rows = []
    for z in touched:
        pair, within = (made[z], real[z]), inside[z]
        sharp, sharp_real = (
            tenengrad(image, value_range, threshold=threshold) if any("Tenengrad" in name for name in names) else 0.0
            for image in pair
        )
        figures: dict[str, Callable[[], float]] = {
            "PSNR": partial(psnr, *pair, width, within),
            "PSNR whole slice": partial(psnr, *pair, width),
            "RMSE": partial(rmse, *pair, within),
            "RMSE whole slice": partial(rmse, *pair),
            "SSIM": partial(local_ssim, *pair, width, within),
            "SSIM global": partial(global_ssim, *pair, width),
            "Tenengrad": partial(float, sharp),
            "Tenengrad ratio": partial(_quotient, sharp, sharp_real),
        }
        rows.append({name: figures[name]() for name in names})
    return {name: float(np.nanmean([row[name] for row in rows])) for name in names}


def write_slice_scores(
    synthetic: str | Path,
    reference: str | Path,
    mask: str | Path,
    value_range: tuple[float, float],
    output: str | Path,
    *,
    threshold: float = 0.0,
    reporter: Reporter | None = None,
) -> dict[str, float]:
    """`score_slices` of files, with its definitions, as JSON; slices are axial.

    As in `compare`, a synthetic volume on another grid is resampled onto the reference's, what one of them does not
    hold is left out, and a real MRI is brought to the signal of a synthetic one; the range is in that signal.

    Raises:
        BadInputError: unreadable volumes, volumes that do not overlap, or an empty mask.
    """
    check_outputs([output], inputs=[synthetic, reference, mask])
    check_writable(output, endings=[".json"])
    refuse_foreign_json([output])
    reporter = reporter or current()
    given, wanted = (sitk.DICOMOrient(read_volume(path, reporter), "LPS") for path in (synthetic, reference))
    drawn = sitk.DICOMOrient(read_image(mask, reporter=reporter), "LPS")
    common = on_common_grid(given, wanted, register=False, brain_only=False, reporter=reporter)
    made, real = array(common.synthetic), array(common.reference)
    inside = array(mask_on_grid_of(wanted, drawn)) > 0.5
    if not inside.any():
        raise BadInputError(f"{Path(mask).name}: the mask is empty.")
    # What one of them does not hold is nobody's error, as in `compare`.
    covered = round(100 * float(common.both[inside].mean()), 2)
    inside &= common.both
    if not inside.any():
        raise BadInputError(f"{Path(mask).name}: inside the mask, the two volumes nowhere hold something both.")
    if covered < LOOK_BELOW:
        text = f"The two volumes hold something in {covered:.0f} % of the mask only; figures are of that part alone."
        action = "Give volumes that show all of the mask, or a mask of what they show."
        reporter.finding(Finding("coverage", "look", text, action, covered, LOOK_BELOW))
    factor = None
    if is_signal(synthetic):
        factor, _ = match_signal(made, real, inside, reporter)
        real = real if factor is None else factor * real
    scores = score_slices(made, real, inside, value_range, threshold=threshold)
    facts: dict[str, object] = {
        "slices": "axial, those the mask touches",
        "value_range": list(value_range),
        "threshold": threshold,
        "covered_percent": covered,
    }
    facts["reference_multiplied_by"] = factor
    finite = {name: value if np.isfinite(value) else None for name, value in scores.items()}
    facts["GeneratedBy"] = [{"Name": "modality-synthesis", "Version": __version__}]
    # What is given as synthetic counts as synthetic, also when it does not say so itself.
    mark = read_mark(synthetic) or Mark()
    facts |= mark_columns(mark)
    facts |= derived_record(mark, {"synthetic": synthetic, "reference": reference, "mask": mask})
    write_json({**facts, "scores": finite, "definitions": dict(SLICE_DEFINITIONS)}, output)
    return scores


def rmse(synthetic: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared error over the mask (or everywhere), target units."""
    error = synthetic.astype(np.float64) - reference
    return float(np.sqrt(np.mean((error if mask is None else error[mask]) ** 2)))


def psnr(synthetic: np.ndarray, reference: np.ndarray, data_range: float, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio over the mask (or everywhere), dB; infinite for equal images."""
    error = rmse(synthetic, reference, mask)
    return float("inf") if error == 0 else float(20 * np.log10(data_range / error))


def tenengrad(image: np.ndarray, value_range: tuple[float, float], *, threshold: float = 0.0) -> float:
    """Mean over a slice's pixels of the gradient's magnitude where it exceeds a threshold (Li 2022).

    The paper states neither the scale nor the threshold. On 8-bit intensities with the unnormalized 3 x 3 Sobel
    operators real T1w and T2w slices score 14 to 27, the order of its figures. Noise raises the figure, blur lowers it.

    Args:
        image: (height, width).
        value_range: intensities that become 0 and 255; others are clipped.
        threshold: T, on the scale of the gradient.

    Raises:
        ValueError: an empty range.
    """
    low, high = value_range
    if not low < high:
        raise ValueError("the low end of value_range is not below its high end")
    levels = np.round(255 * np.clip((image.astype(np.float64) - low) / (high - low), 0, 1))
    magnitude = np.hypot(sobel(levels, axis=0, mode="nearest"), sobel(levels, axis=1, mode="nearest"))
    return float(np.where(magnitude > threshold, magnitude, 0.0).mean())


def global_ssim(synthetic: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """SSIM with one window, the whole image (the formula of Li 2022); population variances.

    Blind to where errors are: a few equal statistics suffice for a high value.
    """
    first, second = synthetic.astype(np.float64), reference.astype(np.float64)
    covariance = float(np.mean((first - first.mean()) * (second - second.mean())))
    return float(_ssim(first.mean(), second.mean(), first.var(), second.var(), covariance, data_range))


def local_ssim(
    synthetic: np.ndarray, reference: np.ndarray, data_range: float, mask: np.ndarray | None = None
) -> float:
    """Mean SSIM of one slice (Wang 2004: Gaussian window of 11 pixels, sigma 1.5) over the mask's pixels.

    Args:
        synthetic: (height, width).
        reference: same shape.
        data_range: largest minus smallest possible value.
        mask: same shape; outside it both images count as 0. None takes all pixels.
    """
    inside = np.ones(reference.shape, dtype=bool) if mask is None else mask.astype(bool)
    first, second = (np.where(inside, image, 0.0).astype(np.float64) for image in (synthetic, reference))

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.5, mode="reflect")  # radius 5: 11 taps

    mean1, mean2 = blur(first), blur(second)
    variance1, variance2 = blur(first * first) - mean1**2, blur(second * second) - mean2**2
    covariance = blur(first * second) - mean1 * mean2
    values = _ssim(mean1, mean2, variance1, variance2, covariance, data_range)
    return float(np.asarray(values)[inside].mean())


def _ssim(
    mean1: np.ndarray | float,
    mean2: np.ndarray | float,
    variance1: np.ndarray | float,
    variance2: np.ndarray | float,
    covariance: np.ndarray | float,
    data_range: float,
) -> np.ndarray | float:
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    return luminance * (2 * covariance + c2) / (variance1 + variance2 + c2)


def _quotient(first: float, second: float) -> float:
    return first / second if second > 0 else float("nan")
