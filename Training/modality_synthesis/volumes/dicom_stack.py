"""From single DICOM slices to a regular grid, or the reason why they form none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.dicom_index import Slice

# Positions are often rounded to 0.1 mm; a missing slice moves its neighbours apart by far more.
_POSITION_MM = 0.1
_POSITION_STEPS = 0.2
_ALIKE = 1e-3


@dataclass(frozen=True)
class Stack:
    """Slices in order, and the grid they form.

    Attributes:
        slices: ordered along the normal.
        spacing: x, y, z, mm.
        origin: LPS of the first slice's first pixel, mm.
        direction: (3, 3), columns are the x, y and z axes.
        shear: how far each slice is shifted along x and y against the one before it, mm; zeros without gantry
            tilt.
    """

    slices: tuple[Slice, ...]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    shear: tuple[float, float]

    @property
    def tilt_degrees(self) -> float:
        """The angle between the stack's axis and the slices' normal."""
        return float(np.degrees(np.arctan2(np.hypot(*self.shear), self.spacing[2])))


def build_stack(planes: Sequence[Slice], name: str) -> Stack:
    """Order the slices of one series.

    Args:
        planes: all have a position and an orientation.
        name: the series' name, for messages.

    Raises:
        BadInputError: slices of different kinds, several at one position, missing slices, irregular
            distances.
    """
    planes = _unique(planes)
    _check_alike(planes, name)
    direction = _direction(planes[0], name)
    positions = np.array([plane.position for plane in planes])
    along = positions @ direction[:, 2]
    order = np.argsort(along, kind="stable")
    planes = [planes[index] for index in order]
    positions, along = positions[order], along[order]
    _check_distances(planes, along, name)

    step = float(along[-1] - along[0]) / (len(planes) - 1)
    width, height = planes[0].spacing or (0.0, 0.0)
    return Stack(
        slices=tuple(planes),
        spacing=(width, height, step),
        origin=(float(positions[0, 0]), float(positions[0, 1]), float(positions[0, 2])),
        direction=direction,
        shear=_shear((positions - positions[0]) @ direction[:, :2], step, name),
    )


def _unique(planes: Sequence[Slice]) -> list[Slice]:
    """One of each: the same object may lie in the folder twice, under two names."""
    return list({(plane.instance, plane.frame): plane for plane in planes}.values())


def _check_alike(planes: Sequence[Slice], name: str) -> None:
    if any(plane.spacing is None for plane in planes):
        raise BadInputError(f"{name}: slices have no PixelSpacing, so that their size in mm is unknown.")
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
            "points or reconstructions). Give a folder with one volume only."
        )
    usual = float(np.median(steps))
    index = np.arange(len(along))
    regular = along[0] + index * (along[-1] - along[0]) / index[-1]
    if np.abs(along - regular).max() <= min(_POSITION_MM, _POSITION_STEPS * usual) + 1e-6:
        return
    gap = int(np.argmax(np.abs(steps - usual)))
    between = f"between slices {planes[gap].number} and {planes[gap + 1].number} ({along[gap]:.1f} mm)"
    missing = round(steps[gap] / usual) - 1
    others = np.delete(steps, np.flatnonzero(np.abs(steps - usual) > 0.5 * usual))
    whole = abs(steps[gap] / usual - round(steps[gap] / usual)) < 0.1 and np.ptp(others) < 0.2 * usual
    if missing >= 1 and whole:
        raise BadInputError(
            f"{name}: {missing} slice{'s are' if missing > 1 else ' is'} missing {between}: the distance "
            f"there is {steps[gap]:.2f} mm instead of {usual:.2f} mm. Export the series completely."
        )
    raise BadInputError(
        f"{name}: the distance between slices varies from {steps.min():.2f} to {steps.max():.2f} mm (usually "
        f"{usual:.2f} mm, {steps[gap]:.2f} mm {between}). A volume needs equal distances: use an evenly "
        "spaced reconstruction."
    )


def _shear(offsets: np.ndarray, step: float, name: str) -> tuple[float, float]:
    """The in-plane shift per slice, from each slice's shift against the first, (slices, 2) mm."""
    per_slice = offsets[-1] / (len(offsets) - 1)
    regular = np.arange(len(offsets))[:, None] * per_slice
    if np.abs(offsets - regular).max() > 2 * _POSITION_MM:
        raise BadInputError(
            f"{name}: its slices are shifted against each other irregularly (up to "
            f"{np.abs(offsets).max():.1f} mm), which is no regular volume. Export the series again."
        )
    # Below the positions' own rounding it is no tilt; sampling would only blur.
    if np.abs(offsets).max() <= 2 * _POSITION_MM:
        return (0.0, 0.0)
    return (float(per_slice[0]), float(per_slice[1]))


def without_tilt(stack: Stack, voxels: np.ndarray) -> tuple[Stack, np.ndarray]:
    """Undo a gantry tilt: shift each slice within its plane (linear) onto a grid with axes at right angles.

    The grid grows to hold all slices; what lies outside a slice takes the volume's lowest value.

    Args:
        stack: with a shear.
        voxels: (z, y, x).
    """
    pixels = np.array(stack.shear) / stack.spacing[:2]
    travel = np.ceil(np.abs(pixels) * (len(voxels) - 1)).astype(int)
    before = np.where(pixels < 0, travel, 0)  # pixels added in front of x and y
    depth, height, width = voxels.shape
    straight = np.full((depth, height + travel[1], width + travel[0]), voxels.min(), dtype=voxels.dtype)
    for index, plane in enumerate(voxels):
        straight[index] = _shifted(plane, before + index * pixels, straight.shape[1:], straight[index, 0, 0])
    origin = np.array(stack.origin) - stack.direction[:, :2] @ (before * np.array(stack.spacing[:2]))
    moved = (float(origin[0]), float(origin[1]), float(origin[2]))
    return replace(stack, origin=moved, shear=(0.0, 0.0)), straight


def _shifted(plane: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], background: float) -> np.ndarray:
    """`plane` (y, x) moved by `shift` (x, y) pixels on a larger canvas."""
    from scipy.ndimage import affine_transform

    return affine_transform(
        plane,
        np.ones(2),
        offset=-shift[::-1],
        output_shape=shape,
        order=1,
        mode="grid-constant",
        cval=float(background),
        output=plane.dtype,
    )
