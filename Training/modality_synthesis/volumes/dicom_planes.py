"""A volume as DICOM's image planes: right-handed, rows and columns as radiologists look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

# Where x, y and z point to, by the axis across the planes. Rows run to the left or to the back, columns to the back or
# down; each of the three is right-handed, so that the planes follow their normal.
_AS_SHOWN = {"S": "LPS", "I": "LPS", "A": "LIP", "P": "LIP", "L": "PIR", "R": "PIR"}


@dataclass(frozen=True)
class Planes:
    """Parallel planes at equal distances, ordered along their normal (row direction x column direction).

    Attributes:
        voxels: (plane, row, column).
        positions: LPS of each plane's first pixel, mm, (plane, 3).
        orientation: direction cosines of a row, then of a column: six values.
        spacing: mm between rows, between columns, between planes.
    """

    voxels: np.ndarray
    positions: np.ndarray
    orientation: tuple[float, ...]
    spacing: tuple[float, float, float]

    def __len__(self) -> int:
        return len(self.voxels)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each plane's voxels and position."""
        return zip(self.voxels, self.positions, strict=True)


def planes_of(image: sitk.Image) -> Planes:
    """The planes of a volume.

    Axes are exchanged and reversed, never resampled: the planes stay those of the volume's third axis, and every voxel
    keeps its value and its place.

    Args:
        image: 3-D, axes at right angles, of either handedness.
    """
    across = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())[2]
    shown = sitk.DICOMOrient(image, _AS_SHOWN[across])
    # The letters name each axis' main direction; far from the body's axes they do not settle the handedness.
    if np.linalg.det(_direction(shown)) < 0:
        shown = sitk.Flip(shown, (False, False, True))
    direction = _direction(shown)
    width, height, step = shown.GetSpacing()
    positions = np.array([shown.TransformIndexToPhysicalPoint((0, 0, index)) for index in range(shown.GetSize()[2])])
    return Planes(
        voxels=sitk.GetArrayFromImage(shown),
        positions=positions,
        orientation=(*direction[:, 0].tolist(), *direction[:, 1].tolist()),
        spacing=(height, width, step),
    )


def _direction(image: sitk.Image) -> np.ndarray:
    return np.array(image.GetDirection()).reshape(3, 3)
