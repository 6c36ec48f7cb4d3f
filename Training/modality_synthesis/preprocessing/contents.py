"""What a volume's voxels hold, looked at without registration: an image, a label map, noise; which contrast; a brain.

Coarse and quick (under a CPU second for a head at 1 mm), so that every volume of a cohort can be looked at before
anything is computed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from modality_synthesis.findings import Finding, Level
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter

WORKING_MM = 2.5
# Share of neighboring voxels (off the background) with the very same value. Measured: label maps and masks 0.74 to
# 0.97 at 1 and 2 mm, 0.55 at 3 mm; scans 0.00 to 0.25 (the highest: a template of 8 bits).
LABELS_ABOVE = 0.35
# Correlation of neighboring voxels. Measured: scans 0.82 to 1.00 (the lowest: a noisy PET), noise 0.00.
NOISE_BELOW = 0.35
# (98th - 2nd percentile) / median in the brain. Measured: scans above 0.4, smoothed noise 0.04.
STRUCTURE_ABOVE = 0.15
# Extents of a brain along left-right, front-back and up-down, mm. Measured: whole brains from 115, 150 and 115 up
# (ten real and simulated heads of adults), halves of three heads up to 82, 105 and 88.
SMALLEST_MM = (100.0, 125.0, 95.0)
_AXES = ("left to right", "front to back", "top to bottom")
# Deep tissue (12.5 to 25 mm below the brain's surface: white matter) over the outermost (2.5 to 7.5 mm: cortex and
# fluid). Measured: T1w 1.13 to 1.76 (the lowest: a protocol for multiple sclerosis), T2w 0.74 to 0.94, FLAIR 0.89 and
# 1.04, proton density 1.03, FDG PET 0.89 to 1.14, a map of T1 in ms 0.69.
_RATIO_LIMITS = {"T1w": (1.05, 1.10), "T2w": (1.05, 1.0), "FLAIR": (1.09, 1.06)}
_ALIKE = {"T1w": "T2w, FLAIR, PET or a map of relaxation times", "T2w": "T1w", "FLAIR": "T1w"}


@dataclass(frozen=True)
class BrainLook:
    """A brain on a grid of 2.5 mm, axes close to Left-Posterior-Superior.

    Attributes:
        mask: uint8.
        values: float32, the volume's own, same grid.
        volume_ml: of the mask.
        extents_mm: along left-right, front-back and up-down.
        deep_ratio: median of deep tissue over that of the outermost; NaN where the latter is not positive.
        spread: (98th - 2nd percentile) / median of the brain; NaN where the median is not positive.
    """

    mask: sitk.Image
    values: sitk.Image
    volume_ml: float
    extents_mm: tuple[float, float, float]
    deep_ratio: float
    spread: float


def check_structure(image: sitk.Image, name: str, reporter: Reporter) -> None:
    """Refuse what is no scan at all: a label map, a mask, noise.

    Args:
        image: as read, any grid.
        name: what messages call the volume.
        reporter: receives the findings `label-map` and `noise`.

    Raises:
        BadInputError: as the reporter decides.
    """
    values = _middle(sitk.GetArrayViewFromImage(image))
    first, second = values[..., 1:], values[..., :-1]
    background = _most_frequent(values)
    shown = (first != background) | (second != background)
    if not shown.any():
        return
    equal = float((first == second)[shown].mean())
    if equal > LABELS_ABOVE and bool((values == np.rint(values)).all()):
        reporter.finding(
            Finding(
                "label-map", "refuse",
                f"{name}: {equal:.0%} of the neighboring voxels are exactly equal, as in a label map or a mask; scans "
                "have less than 25 %.",
                "Give the scan itself.", round(equal, 3), LABELS_ABOVE,
            )
        )  # fmt: skip
        return
    likeness = _correlation(first, second)
    if likeness < NOISE_BELOW:
        reporter.finding(
            Finding(
                "noise", "refuse",
                f"{name}: neighboring voxels have nothing to do with each other (correlation {likeness:.2f}; scans "
                "have 0.8 and more): this is noise.",
                "Export the scan again.", round(likeness, 3), NOISE_BELOW,
            )
        )  # fmt: skip


def shrunk(image: sitk.Image) -> sitk.Image:
    """The volume on a grid of 2.5 mm, axes close to Left-Posterior-Superior; block means first, which is quick."""
    factors = [max(int(WORKING_MM / step), 1) for step in image.GetSpacing()]
    coarse = sitk.BinShrink(image, factors) if max(factors) > 1 else image
    upright = sitk.DICOMOrient(sitk.Cast(coarse, sitk.sitkFloat32), "LPS")
    return resample_isotropic(upright, WORKING_MM)


def brain_look(image: sitk.Image, mask: sitk.Image) -> BrainLook | None:
    """Measure the brain of a volume; None when the mask is empty.

    Args:
        image: any grid.
        mask: of the brain, uint8, any grid of the same world.
    """
    from scipy.ndimage import distance_transform_edt

    values = shrunk(image)
    soft = sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), values, sitk.Transform(), sitk.sitkLinear, 0.0)
    coarse = sitk.Cast(soft > 0.5, sitk.sitkUInt8)
    inside = sitk.GetArrayFromImage(coarse) > 0
    if not inside.any():
        return None
    voxels = sitk.GetArrayFromImage(values)
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * WORKING_MM
    outer = _median(voxels[(depth > 2.5) & (depth <= 7.5)])
    deep = _median(voxels[(depth > 12.5) & (depth <= 25.0)])
    low, middle, high = (float(value) for value in np.nanpercentile(voxels[inside], (2, 50, 98)))
    sides = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in (2, 1, 0)]
    x, y, z = ((side[-1] - side[0] + 1) * WORKING_MM for side in sides)
    return BrainLook(
        mask=coarse,
        values=values,
        volume_ml=float(inside.sum()) * WORKING_MM**3 / 1000.0,
        extents_mm=(float(x), float(y), float(z)),
        deep_ratio=deep / outer if outer > 0 else float("nan"),
        spread=(high - low) / middle if middle > 0 else float("nan"),
    )


def find_brain(image: sitk.Image, name: str) -> BrainLook | None:
    """The brain of an MRI, found by the shipped network on the coarse grid.

    Raises:
        BadInputError: nothing like a whole brain was found.
    """
    from modality_synthesis.preprocessing.brain_mask import brain_mask

    coarse = shrunk(image)
    return brain_look(coarse, brain_mask(coarse, name=name))


def check_extents(extents_mm: Sequence[float], name: str, reporter: Reporter) -> None:
    """Refuse a part of a brain.

    Args:
        extents_mm: of the brain, along left-right, front-back, up-down.
        name: what messages call the volume.
        reporter: receives the finding `brain-extent`.
    """
    for extent, least, axis in zip(extents_mm, SMALLEST_MM, _AXES, strict=True):
        if extent < least:
            reporter.finding(
                Finding(
                    "brain-extent", "refuse",
                    f"{name}: the brain measures {extent:.0f} mm from {axis}; an adult's measures more than "
                    f"{least:.0f} mm. A part of the head is missing, or the voxel size is wrong.",
                    "Give a scan of the whole head.", round(extent, 1), least,
                )
            )  # fmt: skip
            return


def check_coarse_contrast(
    look: BrainLook, modality: str, name: str, reporter: Reporter, *, refuse: bool = True
) -> None:
    """Refuse an MRI of another contrast than the one it is given as, and what has no contrast at all.

    Args:
        look: at the brain.
        modality: that the volume is given as; others than T1w, T2w and FLAIR are looked at for structure only.
        name: what messages call the volume.
        reporter: receives the finding `contrast`.
        refuse: else it is only doubted: a registration finds the template through other contrasts, too.

    Raises:
        BadInputError: as the reporter decides.
    """
    wrong: Level = "refuse" if refuse else "look"
    if look.spread < STRUCTURE_ABOVE:
        reporter.finding(
            Finding(
                "contrast", wrong, f"{name}: the brain is uniform (its values differ by {look.spread:.0%}).",
                "Export the scan again.", round(look.spread, 3), STRUCTURE_ABOVE,
            )
        )  # fmt: skip
        return
    if modality not in _RATIO_LIMITS or not np.isfinite(look.deep_ratio):
        return
    refused, doubted = _RATIO_LIMITS[modality]
    sign = 1 if modality == "T1w" else -1
    if sign * look.deep_ratio >= sign * doubted:
        return
    level: Level = wrong if sign * look.deep_ratio < sign * refused else "look"
    usual = {"T1w": "1.13 and more", "T2w": "0.94 and less"}.get(modality, "1.04 and less")
    reporter.finding(
        Finding(
            "contrast", level,
            f"{name}: does not look like a {modality}: deep tissue is {look.deep_ratio:.2f} times as bright as the "
            f"cortex ({modality}: {usual}). Is it a {_ALIKE[modality]}?",
            f"Give a {modality} MRI.", round(look.deep_ratio, 3), refused if level == "refuse" else doubted,
        )
    )  # fmt: skip


def _middle(values: np.ndarray) -> np.ndarray:
    """Half of the slices, around the middle: enough to tell, and a quarter of the cost of all three axes."""
    quarter = values.shape[0] // 4
    return values[quarter : values.shape[0] - quarter]


def _most_frequent(values: np.ndarray) -> float:
    numbers, counts = np.unique(values[::2, ::3, ::3], return_counts=True)
    return float(numbers[counts.argmax()])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
