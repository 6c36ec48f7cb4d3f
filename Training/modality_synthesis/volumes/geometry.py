"""Where voxels are: comparing, describing and changing grids. World coordinates are LPS, in mm."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import SimpleITK as sitk

Interpolator = Literal["nearest", "linear", "bspline"]

_INTERPOLATORS: dict[str, int] = {
    "nearest": sitk.sitkNearestNeighbor,
    "linear": sitk.sitkLinear,
    "bspline": sitk.sitkBSpline,
}


@dataclass(frozen=True)
class Grid:
    """Where voxels are: mm between them, LPS of the first one, and nine direction cosines row by row."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def from_affine(cls, matrix: np.ndarray) -> Grid:
        """Of a (4, 4) matrix from voxel index to LPS mm whose axes are at right angles."""
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        cosines = matrix[:3, :3] / spacing
        return cls(tuple(spacing.tolist()), tuple(matrix[:3, 3].tolist()), tuple(cosines.ravel().tolist()))

    @property
    def affine(self) -> np.ndarray:
        """The (4, 4) matrix from voxel index (x, y, z) to LPS world coordinates, mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.direction).reshape(3, 3) * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    def put_on(self, image: sitk.Image) -> None:
        """Give a 3-D image this geometry."""
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)


def affine(image: sitk.Image) -> np.ndarray:
    """The (4, 4) matrix from voxel index (x, y, z) to LPS world coordinates, mm."""
    return Grid(image.GetSpacing(), image.GetOrigin(), image.GetDirection()).affine


def transform_matrix(transform: sitk.Transform) -> np.ndarray:
    """The (4, 4) matrix of an affine transform of LPS world points, whatever its type or composition."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    # A long step keeps the difference of two large coordinates exact.
    step = 1024.0
    for axis, point in enumerate(np.eye(3) * step):
        matrix[:3, axis] = (np.array(transform.TransformPoint(point.tolist())) - origin) / step
    matrix[:3, 3] = origin
    return matrix


def matrix_transform(matrix: np.ndarray) -> sitk.AffineTransform:
    """The affine transform of a (4, 4) matrix."""
    return sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())


def largest_displacement(a: np.ndarray, b: np.ndarray, size: tuple[int, ...]) -> float:
    """The furthest that any voxel of a grid of `size` (x, y, z) moves between two affines, mm."""
    # The displacement is linear in the index, so it is largest at a corner.
    corners = np.array([(*corner, 1) for corner in product(*((0, count - 1) for count in size))]).T
    return float(np.linalg.norm(((a - b) @ corners)[:3], axis=0).max())


def same_geometry(a: sitk.Image, b: sitk.Image, tolerance_mm: float = 1e-3) -> bool:
    """Whether two volumes have the same size and no voxel's position differs by more than `tolerance_mm`."""
    return a.GetSize() == b.GetSize() and largest_displacement(affine(a), affine(b), a.GetSize()) <= tolerance_mm


def describe_geometry(image: sitk.Image) -> str:
    """One line for people: `256×256×176 voxels of 1×1×1.2 mm, LPS, oblique by 4°`.

    The three letters say where the voxel axes x, y, z point: Left/Right, Posterior/Anterior,
    Superior/Inferior.
    """
    size = "×".join(str(count) for count in image.GetSize())
    spacing = "×".join(f"{step:.4g}" for step in image.GetSpacing())
    axes = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    cosines = np.abs(np.array(image.GetDirection()).reshape(3, 3)).max(axis=0)
    angle = float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))
    oblique = f", oblique by {angle:.0f}°" if angle >= 0.5 else ""
    return f"{size} voxels of {spacing} mm, {axes}{oblique}"


def resample_like(
    image: sitk.Image,
    reference: sitk.Image,
    *,
    transform: sitk.Transform | None = None,
    interpolator: Interpolator = "linear",
    default: float = 0.0,
) -> sitk.Image:
    """Sample `image` on `reference`'s grid; the pixel type stays `image`'s.

    Args:
        image: 3-D volume.
        reference: gives the grid only.
        transform: from world points of `reference` to world points of `image`; identity when None.
        interpolator: `nearest` for labels, `linear`, or cubic `bspline`.
        default: value outside `image`.
    """
    if transform is None and same_geometry(image, reference, tolerance_mm=1e-6):
        same = sitk.Image(image)
        same.CopyInformation(reference)
        return same
    return sitk.Resample(
        image,
        reference,
        transform or sitk.Transform(),
        _INTERPOLATORS[interpolator],
        default,
        image.GetPixelID(),
    )


def array(image: sitk.Image) -> np.ndarray:
    """A copy of the voxels, (z, y, x)."""
    return sitk.GetArrayFromImage(image)


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """The slices around what is not zero, grown by `margin` voxels within the array; an empty mask's are the whole.

    Args:
        mask: any number of axes.
        margin: on either side of each axis.
    """
    box = []
    for axis, size in enumerate(mask.shape):
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        low, high = (int(hits[0]), int(hits[-1])) if hits.size else (0, size - 1)
        box.append(slice(max(low - margin, 0), min(high + margin + 1, size)))
    return tuple(box)


def image_like(array: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """A volume with `array`'s (z, y, x) voxels on `reference`'s grid.

    float16 and float64 become float32 and bool becomes uint8; other types stay.

    Raises:
        ValueError: the shape is not `reference`'s.
    """
    expected = reference.GetSize()[::-1]
    if array.shape != expected:
        raise ValueError(f"An array of shape {array.shape} does not fit a grid of shape {expected} (z, y, x).")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.CopyInformation(reference)
    return image
