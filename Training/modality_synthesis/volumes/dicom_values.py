"""From a DICOM image's stored numbers to its values: the rescale, and what stands for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.volumes.ct_padding import HIGHEST_HU, LOWEST_HU
from modality_synthesis.volumes.dicom_lut import has_modality_lut
from modality_synthesis.volumes.dicom_numbers import items, number, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Scaling = tuple[float, float]

_PADDING, _PADDING_LIMIT = (0x0028, 0x0120), (0x0028, 0x0121)


def scalings(dataset: Dataset, frames: int) -> Iterator[Scaling]:
    """Slope and intercept of each frame.

    Raises:
        ValueError: one of them is written, but is no number, or the slope is 0.
    """
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), None)
    for frame in range(frames):
        holder = dataset
        for group in (shared, per_frame[frame] if frame < len(per_frame) else None):
            holder = next(iter([] if group is None else items(group, "PixelValueTransformationSequence")), holder)
        slope, intercept = _stated(holder, "RescaleSlope"), _stated(holder, "RescaleIntercept")
        if slope == 0:
            raise ValueError("its Rescale Slope is 0")
        yield (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)


def _stated(holder: Dataset, keyword: str) -> float | None:
    found = number(holder, keyword)
    if found is None and (written := text(holder, keyword)) not in ("", "None"):
        raise ValueError(f"its {keyword} is {written[:16]!r}, which is no number")
    return found


def states_scale(dataset: Dataset, frame: int) -> bool:
    """Whether a header says how a frame's stored numbers become values, be it one to one."""
    holders = [dataset]
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    for group in (*shared[:1], *per_frame[frame : frame + 1]):
        holders += items(group, "PixelValueTransformationSequence")
    return has_modality_lut(dataset) or any(
        number(holder, keyword) is not None for holder in holders for keyword in ("RescaleSlope", "RescaleIntercept")
    )


def without_padding(values: np.ndarray, dataset: Dataset, scaling: Scaling, *, unmeasured: bool) -> np.ndarray:
    """What fills the corners around a round field of view, where nothing was measured, becomes air, or NaN.

    A scanner marks it by a number that no tissue has (-2000, -32768). A padding value that tissue or a clipped air
    could have too stays (`coverage.find_coverage` looks at what it fills).

    Args:
        values: rescaled, float32, any shape; changed.
        dataset: the image's header.
        scaling: slope and intercept that were applied.
        unmeasured: NaN.
    """
    ends = [_padding(dataset, tag) for tag in (_PADDING, _PADDING_LIMIT)]
    if ends[0] is None:
        return values
    first, last = (scaling[0] * (ends[0] if end is None else end) + scaling[1] for end in ends)
    low, high = min(first, last), max(first, last)
    padded = (values >= low - 1e-3 * abs(scaling[0])) & (values <= high + 1e-3 * abs(scaling[0]))
    if not padded.any() or padded.all():
        return values
    if text(dataset, "Modality") == "CT":
        if high < LOWEST_HU or low > HIGHEST_HU:
            values[padded] = np.nan if unmeasured else LOWEST_HU
    elif high < 0 <= float(values[~padded].min()):
        values[padded] = np.nan if unmeasured else 0.0
    return values


def _padding(dataset: Dataset, tag: tuple[int, int]) -> int | None:
    """A padding value in the pixels' own sign, which headers often get wrong."""
    if tag not in dataset:
        return None
    value = dataset[tag].value
    if isinstance(value, bytes) and len(value) == 2:
        value = int.from_bytes(value, "little")
    if not isinstance(value, int):
        return None
    signed = number(dataset, "PixelRepresentation") == 1
    if signed and value > 0x7FFF:
        return value - 0x10000
    return value + 0x10000 if not signed and value < 0 else value
