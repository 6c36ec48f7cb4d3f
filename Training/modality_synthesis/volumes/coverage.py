"""Where a volume was measured. What was never measured is not zero, however the file says it.

Programs mark voxels outside the scanner's field of view, lost slices and padding in many ways: NaN, a slab or plane of
one value, a zone of exact zeros that a rotation made oblique, or no voxels at all. All of them end here, in one boolean
array on the volume's grid, which travels with the values wherever they are sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.findings import Finding, Level
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.ct_padding import LOWEST_HU, MIXED_BELOW_HU, Padding, is_hounsfield
from modality_synthesis.volumes.geometry import Interpolator, array, image_like, resample_like, same_geometry

# Scattered zeros in air (a scanner clips noise) are measured; a zone of one value this thick is none.
BLANK_MM = 8.0
# Of a region: below the first share its figures are doubtful, below the second they are of another region.
LOOK_BELOW, REFUSE_BELOW = 90.0, 50.0


def find_coverage(image: sitk.Image, *, zones: bool = True) -> np.ndarray:
    """Where a volume holds a measurement, bool (z, y, x).

    Not measured: NaN and infinity; planes along a voxel axis that hold one value only (padding, lost slices); and zones
    of the lowest value, or of exact zeros, that reach the border and are at least `BLANK_MM` thick. In a CT what fills
    the corners around a round field of view (`ct_padding`) takes the place of the lowest value, which may be air.

    Args:
        image: volume of any grid.
        zones: look for such zones; without, what a program left empty around the brain counts as zero.
    """
    values = sitk.GetArrayViewFromImage(image)
    covered = np.isfinite(values)
    if not covered.any():
        return covered
    known = values if covered.all() else np.where(covered, values, np.nan)
    padding = Padding(known) if is_hounsfield(known) else None
    covered &= ~_flat_planes(known, padding)
    spacing = image.GetSpacing()[::-1]
    for blank in _blanks(known, padding) if zones else ():
        covered &= ~_blank_zone(known == blank, spacing)
        if padding is not None and blank < MIXED_BELOW_HU:
            covered &= ~(known < MIXED_BELOW_HU)  # with interpolation's mixtures of padding and air
    return covered


def _blanks(known: np.ndarray, padding: Padding | None) -> set[float]:
    """The values whose zones may not have been measured."""
    lowest = float(np.fmin.reduce(known, axis=None))
    if padding is None:
        return {0.0, lowest}
    return {0.0, *padding.values(known.size), *((lowest,) if padding.holds(lowest) else ())}


def _flat_planes(known: np.ndarray, padding: Padding | None) -> np.ndarray:
    """The planes along each axis in which everything known has one value, unless that is what a CT's air is."""
    found = np.zeros(known.shape, dtype=bool)
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        highest = np.fmax.reduce(known, axis=others)
        flat = ~(highest > np.fmin.reduce(known, axis=others))
        if padding is not None:
            flat &= np.array([not padding.is_air(value) for value in highest.tolist()], dtype=bool)
        found[(slice(None),) * axis + (flat,)] = True
    return found


def _blank_zone(zone: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The parts of a zone that hold a box of `BLANK_MM` and reach the border, beyond which everything counts."""
    from scipy import ndimage

    if zone.mean() < 1e-3:
        return np.zeros_like(zone)
    reach = [max(round(BLANK_MM / 2 / step), 1) for step in spacing]
    parts, count = ndimage.label(_spread(~_spread(~zone, reach), reach))
    faces = [parts.take(end, axis) for axis in range(3) for end in (0, -1)]
    reached = np.unique(np.concatenate([face.ravel() for face in faces]))
    return np.isin(parts, reached[reached > 0]) if count else np.zeros_like(zone)


def cuts(blank: np.ndarray, brain: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """What holds nothing, where it cuts into a brain; nowhere, where it only lies around it.

    A volume without its skull is blank all around the brain, and touches a slightly larger brain mask here and there;
    that is no cut. A cut holds a box of `BLANK_MM` in the brain.

    Args:
        blank: bool (z, y, x), not `find_coverage`.
        brain: same shape.
        spacing: (z, y, x), mm.
    """
    reach = [max(round(BLANK_MM / 2 / step), 1) for step in spacing]
    deep = ~_spread(~(blank & brain), reach)
    return blank if deep.any() else np.zeros_like(blank)


def _spread(zone: np.ndarray, reach: list[int]) -> np.ndarray:
    """A zone grown by a box of `reach` voxels to either side of each axis; nothing comes in from outside the array."""
    for axis, most in enumerate(reach):
        grown, along = zone.copy(), np.moveaxis(zone, axis, 0)
        target = np.moveaxis(grown, axis, 0)
        for step in range(1, min(most, len(along) - 1) + 1):
            target[step:] |= along[:-step]
            target[:-step] |= along[step:]
        zone = grown
    return zone


def filled(image: sitk.Image) -> sitk.Image:
    """The volume with 0 (in a CT: air) in place of NaN and infinity, for what cannot compute with these."""
    values = array(image)
    known = np.isfinite(values)
    if known.all():
        return image
    value = LOWEST_HU if is_hounsfield(np.where(known, values, np.nan)) else 0.0
    return image_like(np.where(known, values, np.float32(value)), image)


def resample_covered(
    image: sitk.Image,
    covered: np.ndarray,
    grid: sitk.Image,
    *,
    transform: sitk.Transform | None = None,
    interpolator: Interpolator = "linear",
) -> tuple[sitk.Image, np.ndarray]:
    """Sample a volume together with its coverage: no value is mixed with what was not measured.

    Args:
        image: float32 volume.
        covered: bool, its coverage (z, y, x).
        grid: gives the grid only.
        transform: from world points of `grid` to world points of `image`; identity when None.
        interpolator: as `resample_like`; `bspline` continues the nearest measured value where there is none.

    Returns:
        The volume on the grid, 0 where it is not covered, and its coverage there. Covered is what owes more than half
        of its value to measured voxels.
    """
    if transform is None and same_geometry(image, grid, tolerance_mm=1e-6):
        return resample_like(filled(image), grid), covered.copy()
    weights = image_like(covered.astype(np.float32), image)
    linear: Interpolator = "nearest" if interpolator == "nearest" else "linear"
    share = array(resample_like(weights, grid, transform=transform, interpolator=linear))
    inside = share > 0.5
    if interpolator == "bspline":
        source = image_like(_continued(array(image), covered), image)
        moved = array(resample_like(source, grid, transform=transform, interpolator="bspline"))
    else:
        source = image_like(np.where(covered, array(image), 0.0).astype(np.float32), image)
        moved = array(resample_like(source, grid, transform=transform, interpolator=linear))
        moved = moved / np.where(inside, share, 1.0)
    return image_like(np.where(inside, moved, 0.0).astype(np.float32), grid), inside


def _continued(values: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Values with those of the nearest covered voxel where nothing is covered."""
    from scipy import ndimage

    if covered.all() or not covered.any():
        return np.where(covered, values, 0.0).astype(np.float32)
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def coverage_finding(
    code: str, what: str, percent: float, reporter: Reporter, *, action: str, refuse: bool = True
) -> None:
    """Judge how much of something was measured: doubtful below `LOOK_BELOW`, refused below `REFUSE_BELOW`.

    Args:
        code: of the finding.
        what: the region or volume, as the sentence's subject ("pet.nii.gz: the reference region pons").
        percent: of it that is covered.
        reporter: receives the finding.
        action: what to do when it is too little.
        refuse: below `REFUSE_BELOW`; else it is only doubtful, however little it is.

    Raises:
        BadInputError: less than `REFUSE_BELOW`.
    """
    level: Level = "refuse" if refuse and percent < REFUSE_BELOW else "look" if percent < LOOK_BELOW else "ok"
    limit = REFUSE_BELOW if level == "refuse" else LOOK_BELOW
    message = f"{what} lies to {percent:.0f} % in what was measured."
    if level != "ok":
        message = f"{what} lies to {percent:.0f} % only in what was measured (wanted are {limit:.0f} %)."
    reporter.finding(Finding(code, level, message, "" if level == "ok" else action, round(percent, 2), limit))


def read_covered(path: str | Path, *, reporter: Reporter | None = None) -> tuple[sitk.Image, np.ndarray]:
    """Read a volume in which NaN may mark what was not measured (`reading.read_image`), with its coverage.

    Returns:
        float32 volume, `filled`, and `find_coverage`.
    """
    from modality_synthesis.volumes.reading import read_image

    image = read_image(path, unmeasured=True, reporter=reporter)
    return filled(image), find_coverage(image)
