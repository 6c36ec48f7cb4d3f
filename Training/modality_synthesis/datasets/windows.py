"""Where in a volume a sample lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modality_synthesis.datasets.cache import Window
from modality_synthesis.datasets.parameters import Axis, Sampling
from modality_synthesis.errors import BadInputError

# Of a volume (z, y, x): the axis along which the slices of a plane lie.
AXIS: dict[Axis, int] = {"axial": 0, "coronal": 1, "sagittal": 2}


def draw_window(
    brain: np.ndarray, sampling: Sampling, number: int, rng: np.random.Generator, plane: Axis = "axial"
) -> Window:
    """The part of a volume that is the sample `number` of its `per_volume`.

    Slabs are stratified: the slices in question are divided into `per_volume` runs, and each sample is centered in its
    own run. With as many samples as slices, every slice is drawn once.

    Args:
        brain: (z, y, x), above 0 in the brain.
        sampling: slab or patch.
        number: 0 to per_volume - 1.
        rng: the sample's generator.
        plane: of a slab, one of `sampling.planes`.

    Raises:
        BadInputError: the volume is smaller than the sample.
    """
    in_brain = rng.random() < sampling.foreground_share and bool(brain.any())
    if sampling.mode == "slab":
        axis = AXIS[plane]
        others = tuple(other for other in range(3) if other != axis)
        slices = np.flatnonzero(brain.any(axis=others)) if in_brain else np.arange(brain.shape[axis])
        first = number * len(slices) // sampling.per_volume
        last = max((number + 1) * len(slices) // sampling.per_volume, first + 1)
        center = [count // 2 for count in brain.shape]
        center[axis] = int(slices[rng.integers(first, last)])
        size = [*brain.shape]
        size[axis] = sampling.thickness
    else:
        assert sampling.size is not None
        size = list(sampling.size)
        if in_brain:
            inside = np.flatnonzero(brain)
            center = [int(index) for index in np.unravel_index(inside[rng.integers(inside.size)], brain.shape)]
        else:
            center = [int(rng.integers(count)) for count in brain.shape]
    return _around(center, size, brain.shape)


def _around(center: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> Window:
    """The box of a size nearest to a center that lies in the volume."""
    if any(length > count for length, count in zip(size, shape, strict=True)):
        raise BadInputError(
            f"training.sampling asks for {tuple(size)} voxels, but the model's grid has only {tuple(shape)} (z, y, x)."
        )
    starts = [
        min(max(middle - length // 2, 0), count - length)
        for middle, length, count in zip(center, size, shape, strict=True)
    ]
    z, y, x = (slice(start, start + length) for start, length in zip(starts, size, strict=True))
    return z, y, x
