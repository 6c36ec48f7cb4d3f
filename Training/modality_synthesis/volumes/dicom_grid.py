"""A stack of DICOM slices on a regular grid: gantry tilt undone, uneven distances evened out."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.volumes.dicom_stack import Stack


def on_grid(stack: Stack, voxels: np.ndarray, *, outside: float) -> sitk.Image:
    """The volume that a stack's slices form.

    A tilted stack is straightened by shifting each slice within its plane (linear); the grid grows to hold all slices,
    and what lies outside a slice has the value `outside`. Between slices at uneven distances planes are
    interpolated linearly. A regular stack keeps its values.

    Args:
        stack: ordered slices.
        voxels: their pixels, (slice, row, column).
        outside: what lies beside the slices.

    Returns:
        Axes at right angles, equal distances between planes, LPS world in mm.
    """
    origin = np.array(stack.origin)
    if any(stack.shear):
        voxels, before = _straightened(stack, voxels, outside)
        origin = origin - stack.direction[:, :2] @ (before * np.array(stack.spacing[:2]))
    if not stack.is_even:
        voxels = _evenly_spaced(stack, voxels)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(stack.spacing)
    image.SetOrigin(origin.tolist())
    image.SetDirection(stack.direction.ravel().tolist())
    return image


def _straightened(stack: Stack, voxels: np.ndarray, outside: float) -> tuple[np.ndarray, np.ndarray]:
    """Every slice where it lies on one larger canvas, and the pixels (x, y) added in front."""
    shifts = np.outer(stack.heights, np.array(stack.shear) / stack.spacing[:2])  # (slice, x y), pixels
    travel = np.ceil(np.abs(shifts[-1])).astype(int)
    before = np.where(shifts[-1] < 0, travel, 0)
    depth, height, width = voxels.shape
    straight = np.full((depth, height + travel[1], width + travel[0]), outside, dtype=voxels.dtype)
    for index, plane in enumerate(voxels):
        straight[index] = _shifted(plane, before + shifts[index], straight.shape[1:], outside)
    return straight, before


def _shifted(plane: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], background: float) -> np.ndarray:
    """`plane` (y, x) moved by `shift` (x, y) pixels on a larger canvas; NaN is mixed into no value."""
    known = np.isfinite(plane)
    if np.isfinite(background) and known.all():
        return _moved(plane, shift, shape, background)
    share = _moved(known.astype(np.float32), shift, shape, 0.0)
    moved = _moved(np.where(known, plane, 0).astype(plane.dtype), shift, shape, 0.0)
    inside = share > 0.5
    return np.where(inside, moved / np.where(inside, share, 1.0), background).astype(plane.dtype)


def _moved(plane: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], background: float) -> np.ndarray:
    from scipy.ndimage import affine_transform

    return affine_transform(
        plane,
        np.ones(2),
        offset=-shift[::-1],
        output_shape=shape,
        order=1,
        mode="grid-constant",
        cval=background,
        output=plane.dtype,
    )


def _evenly_spaced(stack: Stack, voxels: np.ndarray) -> np.ndarray:
    """Planes at equal distances, each between the two slices around it."""
    heights = np.array(stack.heights)
    wanted = np.linspace(0.0, heights[-1], stack.depth)
    lower = np.clip(np.searchsorted(heights, wanted, side="right") - 1, 0, len(heights) - 2)
    share = (wanted - heights[lower]) / (heights[lower + 1] - heights[lower])
    even = np.empty((stack.depth, *voxels.shape[1:]), dtype=voxels.dtype)
    for index, (below, weight) in enumerate(zip(lower, share, strict=True)):
        even[index] = (1.0 - weight) * voxels[below] + weight * voxels[below + 1]
    return even
