"""From a DICOM image's stored numbers to its values: rescale, Modality LUT, padding, Philips' private scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.volumes.dicom_numbers import items, number, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Scaling = tuple[float, float]

# Beyond what a CT's 12 bits hold lies nothing that was measured.
_CT_RANGE = (-1024.0, 3071.0)
_PADDING, _PADDING_LIMIT = (0x0028, 0x0120), (0x0028, 0x0121)
_PHILIPS_BLOCK, _PHILIPS_SLOPE = "Philips MR Imaging DD 001", (0x2005, 0x0E)


def scalings(dataset: Dataset, frames: int) -> Iterator[Scaling]:
    """Slope and intercept of each frame."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), None)
    for frame in range(frames):
        holder = dataset
        for group in (shared, per_frame[frame] if frame < len(per_frame) else None):
            holder = next(iter([] if group is None else items(group, "PixelValueTransformationSequence")), holder)
        slope, intercept = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept")
        yield (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)


def states_scale(dataset: Dataset) -> bool:
    """Whether a header says how stored numbers become values, be it one to one."""
    holders = [dataset]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(dataset, keyword)[:1]:
            holders += items(group, "PixelValueTransformationSequence")
    return has_modality_lut(dataset) or any(
        number(holder, keyword) is not None for holder in holders for keyword in ("RescaleSlope", "RescaleIntercept")
    )


def has_modality_lut(dataset: Dataset) -> bool:
    """Whether a table says what the stored numbers mean."""
    return bool(items(dataset, "ModalityLUTSequence"))


def apply_modality_lut(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """What the Modality LUT makes of stored numbers, float32."""
    from pydicom.pixels import apply_modality_lut as apply

    return apply(stored, dataset).astype(np.float32)


def without_padding(values: np.ndarray, dataset: Dataset, scaling: Scaling) -> np.ndarray:
    """What fills the corners around a round field of view, where nothing was measured, becomes air.

    A scanner marks it by a number that no tissue has (-2000, -32768). A padding value that tissue could have too stays.

    Args:
        values: rescaled, float32, any shape; changed.
        dataset: the image's header.
        scaling: slope and intercept that were applied.
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
        if high < _CT_RANGE[0] or low > _CT_RANGE[1]:
            values[padded] = _CT_RANGE[0]
    elif high < 0 <= float(values[~padded].min()):
        values[padded] = 0.0
    return values


def philips_factor(dataset: Dataset, scaling: Scaling) -> float | None:
    """What makes the rescaled values of a Philips MR comparable between slices; None for other scanners.

    Philips stores its own slope SS beside the public one, RS: the signal is (stored * RS + RI) / (RS * SS) (Chenevert
    2014, Transl Oncol 7:65). RS alone is made for the display, and PACS overwrite it.
    """
    if "philips" not in text(dataset, "Manufacturer").lower() or text(dataset, "Modality") != "MR":
        return None
    try:
        slope = float(dataset.private_block(_PHILIPS_SLOPE[0], _PHILIPS_BLOCK)[_PHILIPS_SLOPE[1]].value)
    except (KeyError, TypeError, ValueError):
        return None
    return 1.0 / (scaling[0] * slope) if np.isfinite(slope) and slope * scaling[0] != 0 else None


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
