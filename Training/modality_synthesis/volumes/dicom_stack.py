"""From single DICOM slices to an ordered stack, or the reason why they form no volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.dicom_copies import without_copies
from modality_synthesis.volumes.dicom_index import Slice

# Positions are often rounded to 0.1 mm; a missing slice moves its neighbours apart by far more.
_POSITION_MM = 0.1
_POSITION_STEPS = 0.2
_ALIKE = 1e-3
# Head CT is often scanned in two blocks, thin slices at the skull base and thicker ones above. Between slices further
# apart than this, interpolation would invent whole structures.
_WIDEST_MM = 10.0
# The finest distance that at least this share of the steps has sets the grid; a single close pair does not.
_FINEST_SHARE = 0.1
# So many wide steps in a row are how the scan was planned, not slices that got lost.
_BLOCK_STEPS = 3


@dataclass(frozen=True)
class Stack:
    """Slices in order, and the grid they are brought onto.

    Attributes:
        slices: ordered along the normal.
        heights: how far each slice lies above the first one along the normal, mm.
        spacing: x, y, z of the grid, mm.
        origin: LPS of the first slice's first pixel, mm.
        direction: (3, 3), columns are the x, y and z axes.
        shear: how far slices are shifted along x and y for each mm along the normal; zeros without gantry tilt.
    """

    slices: tuple[Slice, ...]
    heights: tuple[float, ...]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    shear: tuple[float, float]

    @property
    def depth(self) -> int:
        """How many planes the grid has: as many as there are slices when these lie at equal distances."""
        return round(self.heights[-1] / self.spacing[2]) + 1

    @property
    def is_even(self) -> bool:
        """Whether the slices lie at equal distances, within the rounding of their positions."""
        return _even(np.array(self.heights))

    @property
    def distances(self) -> np.ndarray:
        """From each slice to the next, mm."""
        return np.diff(self.heights)

    @property
    def tilt_degrees(self) -> float:
        """The angle between the stack's axis and the slices' normal."""
        return float(np.degrees(np.arctan(np.hypot(*self.shear))))


def build_stack(planes: Sequence[Slice], name: str) -> Stack:
    """Order the slices of one series.

    Args:
        planes: all have a position and an orientation.
        name: the series' name, for messages.

    Raises:
        BadInputError: slices of different kinds, several at one position, missing slices, slices that are too far
            apart or shifted irregularly.
    """
    planes = without_copies(planes)
    _check_alike(planes, name)
    direction = _direction(planes[0], name)
    positions = np.array([plane.position for plane in planes])
    along = positions @ direction[:, 2]
    order = np.argsort(along, kind="stable")
    planes = [planes[index] for index in order]
    positions, along = positions[order], along[order]
    _check_distances(planes, along, name)

    heights = along - along[0]
    width, height = planes[0].spacing or (0.0, 0.0)
    return Stack(
        slices=tuple(planes),
        heights=tuple(heights.tolist()),
        spacing=(width, height, _step(heights)),
        origin=(float(positions[0, 0]), float(positions[0, 1]), float(positions[0, 2])),
        direction=direction,
        shear=_shear((positions - positions[0]) @ direction[:, :2], heights, name),
    )


def _check_alike(planes: Sequence[Slice], name: str) -> None:
    if any(plane.spacing is None for plane in planes):
        raise BadInputError(
            f"{name}: slices have no PixelSpacing, so that their size in mm is unknown (an ImagerPixelSpacing is the "
            "detector's, not the patient's). Export the series from the scanner or PACS again."
        )
    for what, values in (
        ("orientations", [plane.orientation for plane in planes]),
        ("image sizes", [plane.size for plane in planes]),
        ("pixel sizes", [plane.spacing for plane in planes]),
    ):
        counts = _count_kinds(np.array(values))
        if len(counts) > 1:
            raise BadInputError(
                f"{name} mixes slices of {len(counts)} {what} ({', '.join(map(str, counts))} slices), which "
                "is no single volume. Give a folder with one of them only."
            )


def _count_kinds(values: np.ndarray) -> list[int]:
    """How many rows are alike, for each kind of row."""
    counts = []
    while len(values):
        alike = np.abs(values - values[0]).max(axis=1) <= _ALIKE
        counts.append(int(alike.sum()))
        values = values[~alike]
    return counts


def _direction(plane: Slice, name: str) -> np.ndarray:
    row, column = np.array(plane.orientation).reshape(2, 3)
    lengths = np.array([row @ row, column @ column])
    if np.abs(lengths - 1).max() > 10 * _ALIKE or abs(row @ column) > _ALIKE:
        raise BadInputError(f"{name}: its slices' rows and columns are not at right angles. Export the series again.")
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.stack([row, np.cross(normal, row), normal], axis=1)


def _check_distances(planes: Sequence[Slice], along: np.ndarray, name: str) -> None:
    steps = np.diff(along)
    repeated = int((steps < 0.01).sum())
    if repeated:
        raise BadInputError(
            f"{name}: {repeated} of {len(planes)} slices lie where another one lies (several echoes, time "
            "points or reconstructions, of different content). Give a folder with one volume only."
        )
    if _even(along - along[0]):
        return
    usual = float(np.median(steps))
    gap = int(np.argmax(np.abs(steps - usual)))
    between = f"between slices {planes[gap].number} and {planes[gap + 1].number} ({along[gap]:.1f} mm)"
    missing = round(steps[gap] / usual) - 1
    odd = np.abs(steps - usual) > 0.5 * usual
    whole = abs(steps[gap] / usual - round(steps[gap] / usual)) < 0.1 and np.ptp(steps[~odd]) < 0.2 * usual
    if missing >= 1 and whole and _longest_run(odd) < _BLOCK_STEPS:
        raise BadInputError(
            f"{name}: {missing} slice{'s are' if missing > 1 else ' is'} missing {between}: the distance "
            f"there is {steps[gap]:.2f} mm instead of {usual:.2f} mm. Export the series completely."
        )
    if steps.max() > _WIDEST_MM:
        raise BadInputError(
            f"{name}: the distance between slices varies from {steps.min():.2f} to {steps.max():.2f} mm (usually "
            f"{usual:.2f} mm, {steps[gap]:.2f} mm {between}). Over more than {_WIDEST_MM:g} mm nothing can be "
            "interpolated: use an evenly spaced reconstruction."
        )


def _longest_run(flags: np.ndarray) -> int:
    return max((len(run) for run in "".join("x" if flag else " " for flag in flags).split()), default=0)


def _even(heights: np.ndarray) -> bool:
    regular = np.linspace(0.0, heights[-1], len(heights))
    usual = float(np.median(np.diff(heights)))
    return bool(np.abs(heights - regular).max() <= min(_POSITION_MM, _POSITION_STEPS * usual) + 1e-6)


def _step(heights: np.ndarray) -> float:
    """The grid's distance between planes, mm: a whole number of steps from the first slice to the last."""
    if _even(heights):
        return float(heights[-1]) / (len(heights) - 1)
    finest = float(np.quantile(np.diff(heights), _FINEST_SHARE))
    return float(heights[-1]) / round(heights[-1] / finest)


def _shear(offsets: np.ndarray, heights: np.ndarray, name: str) -> tuple[float, float]:
    """The in-plane shift per mm of height, from each slice's shift against the first, (slices, 2) mm."""
    per_mm = offsets[-1] / heights[-1]
    if np.abs(offsets - heights[:, None] * per_mm).max() > 2 * _POSITION_MM:
        raise BadInputError(
            f"{name}: its slices are shifted against each other irregularly (up to "
            f"{np.abs(offsets).max():.1f} mm), which is no regular volume. Export the series again."
        )
    # Below the positions' own rounding it is no tilt; sampling would only blur.
    if np.abs(offsets).max() <= 2 * _POSITION_MM:
        return (0.0, 0.0)
    return (float(per_mm[0]), float(per_mm[1]))
