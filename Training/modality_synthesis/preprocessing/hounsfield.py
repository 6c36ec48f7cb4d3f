"""Is a volume a head CT in Hounsfield units, or was it rescaled, shifted or windowed on its way here?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter, current

Limits = tuple[float, float]

# Where air and soft tissue lie in a volume that raises no question, and beyond what no head CT in Hounsfield units has
# them. Accreditation asks for -1005 to -970 HU in air and -7 to 7 in water (ACR CT phantom); scanners without negative
# stored numbers below -1024 end there. Measured: see `check_hounsfield`.
_AIR: Limits = (-1035.0, -965.0)
_AIR_AT_MOST: Limits = (-1070.0, -930.0)
_SOFT: Limits = (10.0, 55.0)
_SOFT_AT_MOST: Limits = (-15.0, 75.0)
# Share of the voxels above 150 HU at exactly the highest value: 0.0000 in every CT measured, metal included.
_CUT_SHARE = 0.01
# Scanners end at 2976 or 3071 (12 bits) themselves; a lower end that holds many voxels is an export's window.
_CUT_REFUSED, _CUT_DOUBTED = 1000.0, 2500.0
# With less, what is below -300 HU are sinuses and edges, whose voxels hold tissue too.
_LEAST_AIR = 0.01
_REMEDY = (
    "Export the CT again from its original DICOM images, in Hounsfield units (rescale slope and intercept applied) and "
    "without a window."
)


def check_hounsfield(image: sitk.Image, name: str, reporter: Reporter | None = None) -> None:
    """Make sure that a volume is a head CT in Hounsfield units, neither rescaled nor windowed.

    Three marks are looked at: the peak of air, the peak of soft tissue (a head's is mostly brain), and how much of the
    bone lies at exactly the highest value. Measured on two real head CTs (GE, 4 mm, padded with -1500 outside the field
    of view; a 1.5 mm one that ends at -1024) and simulated ones: air at -999 and -1000 (simulated: -1000), soft tissue
    at 31 and 23 (simulated: 24 to 33), 0.0000 of the voxels above 150 HU at the highest value. The real ones altered:

    - times 0.5, 0.8, 0.9, 1.1, 1.2: air at -500, -800, -900, -1100, -1200 (+-1): refused. A factor of 0.95 or 1.05 is a
      warning, one closer to 1 is not found.
    - plus 40: air at -960, soft tissue at 63 and 71. Each alone is a warning; both moved the same way: refused.
    - clipped to 300, 400, 500 HU: at least 0.77, 0.63, 0.52 of the voxels above 150 HU at the highest value: refused.
      To 1000: 0.18 and 0.27, to 1500: 0.02 and 0.03: a warning, since only dense bone is lost.
    - noise of 15 HU, the upper or the lower part of the head alone, padding with -2000 or -3024, surroundings set to
      -1000 or -1024: air stays between -1024 and -996, soft tissue within 8 HU. Surroundings set to 0: no air is left
      to look at, a warning.

    Not found: a scale that was followed by setting the air to -1000 or -1024. Brain is too close to 0 HU for its peak
    to tell a factor (times 0.8: 18 and 25 HU), and fat has no peak of its own in these heads.

    Args:
        image: float32, any grid.
        name: what messages call the volume.
        reporter: receives warnings about what is doubtful.

    Raises:
        BadInputError: what was found, what a CT has there, and what to do.
    """
    reporter = reporter or current()
    values = sitk.GetArrayViewFromImage(image)[::2, ::2, ::2].ravel()
    lowest, highest = float(values.min()), float(values.max())
    if lowest > -500:
        raise BadInputError(
            f"{name}: the lowest value is {lowest:.0f}, but air in a CT is about -1000 HU. {_no_air(values)}"
        )
    if highest < 300:
        raise BadInputError(
            f"{name}: the highest value is {highest:.0f}, but bone in a CT lies above 300 HU. The volume was windowed "
            "or holds no skull; give the whole head in Hounsfield units."
        )
    tissue = values[(values > -300) & (values < 300)]
    share = float(((tissue > -20) & (tissue < 90)).mean()) if tissue.size else 0.0
    if share < 0.2:
        raise BadInputError(
            f"{name}: only {share:.0%} of the voxels between -300 and 300 lie where brain does (-20 to 90 HU). Check "
            f"that the volume is a head CT in Hounsfield units. {_REMEDY}"
        )
    air = _Mark("air", _air_peak(values), _AIR, _AIR_AT_MOST, "-1000")
    soft = _Mark("soft tissue", _soft_peak(values), _SOFT, _SOFT_AT_MOST, "20 to 45")
    _check_marks(air, soft, name, reporter)
    _check_bone(values, highest, name, reporter)


@dataclass(frozen=True)
class _Mark:
    """A tissue's peak, and where it may lie."""

    tissue: str
    found: float | None
    usual: Limits
    at_most: Limits
    expected: str

    @property
    def is_wrong(self) -> bool:
        return self.found is not None and not self.at_most[0] <= self.found <= self.at_most[1]

    @property
    def moved(self) -> int:
        """1 or -1: above or below the usual; else 0."""
        if self.found is None:
            return 0
        return int(self.found > self.usual[1]) - int(self.found < self.usual[0])

    def __str__(self) -> str:
        return f"{self.tissue} lies at {self.found:.0f}, in a CT at about {self.expected} HU"


def _check_marks(air: _Mark, soft: _Mark, name: str, reporter: Reporter) -> None:
    wrong = [mark for mark in (air, soft) if mark.is_wrong]
    if not wrong and air.moved and air.moved == soft.moved:
        wrong = [air, soft]
    if wrong:
        raise BadInputError(
            f"{name}: {'; '.join(map(str, wrong))}. The values were rescaled, shifted or windowed. {_REMEDY}"
        )
    if air.found is None:
        reporter.warning(
            f"{name}: less than {_LEAST_AIR:.0%} of the volume is air, so that its scale cannot be checked. If what is "
            "around the head was set to 0, set it to -1000."
        )
    for mark in (air, soft):
        if mark.moved:
            reporter.warning(
                f"{name}: {mark}. Check that the values are Hounsfield units, neither rescaled nor shifted; otherwise "
                "the result is wrong too."
            )


def _check_bone(values: np.ndarray, highest: float, name: str, reporter: Reporter) -> None:
    dense = values[values > 150]
    share = float((dense == highest).mean())
    if share < _CUT_SHARE or highest >= _CUT_DOUBTED:
        return
    found = (
        f"{name}: {share:.0%} of the voxels above 150 HU have exactly the highest value, {highest:.0f}; in a CT dense "
        "bone goes up to about 2000 HU."
    )
    if highest < _CUT_REFUSED:
        raise BadInputError(f"{found} The volume was windowed. {_REMEDY}")
    reporter.warning(f"{found} The volume seems to be windowed: dense bone is missing.")


def _no_air(values: np.ndarray) -> str:
    """What a volume without anything near -1000 probably is."""
    if float(values.min()) >= -1 and not _starts_at_zero(values):
        return (
            "Without negative values it looks like an MRI: is it one? Then choose a model whose source is T1w or T2w. "
            f"If it is a CT, it was windowed or rescaled. {_REMEDY}"
        )
    return (
        "Give the CT in Hounsfield units, neither windowed nor rescaled: it may be one whose values were shifted to "
        "start at 0 (apply the rescale intercept, -1024 for most scanners)."
    )


def _starts_at_zero(values: np.ndarray) -> bool:
    """Whether this is a CT plus 1000 or 1024: soft tissue's peak there, and bone above it."""
    tissue = _peak(values[(values > 500) & (values < 1500)], 15)
    return tissue is not None and 1000 + _SOFT[0] <= tissue <= 1024 + _SOFT[1] and float(values.max()) > 1500


def _air_peak(values: np.ndarray) -> float | None:
    """The peak of air: the highest one below -300 HU that holds a tenth of the voxels there.

    Padding outside the field of view (-1500, -2000, -3024) lies below it. None when there is hardly any air.
    """
    low = values[values < -300].clip(min=-5000.0)
    if low.size < _LEAST_AIR * values.size:
        return None
    enough, found = 0.1 * low.size, None
    while (peak := _peak(low, 15)) is not None and (np.abs(low - peak) <= 40).sum() >= enough:
        found, low = peak, low[low > peak + 100]
    return found


def _soft_peak(values: np.ndarray) -> float | None:
    """Median around the peak of soft tissue; robust against noise, and against a head masked to exactly 0."""
    tissue = values[(values > -200) & (values < 250)]
    numbers, counts = np.unique(np.rint(tissue), return_counts=True)
    filled = numbers[counts.argmax()]
    beside = counts[(np.abs(numbers - filled) <= 5) & (numbers != filled)]
    # A histogram of tissue is smooth: one number 20 times as frequent as those beside it was filled in.
    if counts.max() > 20 * (np.median(beside) if beside.size else 1):
        tissue = tissue[np.rint(tissue) != filled]
    peak = _peak(tissue, 8)
    if peak is None:
        return None
    for _ in range(10):
        peak = float(np.median(tissue[np.abs(tissue - peak) < 50]))
    return peak


def _peak(values: np.ndarray, width: int) -> float | None:
    """Most frequent value after smoothing the histogram with a triangle of this half width; None without values."""
    if not values.size:
        return None
    start = int(np.floor(values.min())) - width
    counts = np.bincount(np.rint(values - start).astype(np.int64), minlength=2 * width + 1)
    triangle = 1.0 - np.abs(np.arange(-width, width + 1)) / (width + 1)
    return float(start + np.convolve(counts, triangle, "same").argmax())
