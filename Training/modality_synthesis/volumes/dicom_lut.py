"""The Modality LUT: a table that says what stored numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.volumes.dicom_numbers import items

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def has_modality_lut(dataset: Dataset) -> bool:
    """Whether a table says what the stored numbers mean."""
    return bool(items(dataset, "ModalityLUTSequence"))


def apply_modality_lut(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """What the Modality LUT makes of stored numbers, float32; numbers beyond the table take its first or last entry.

    Raises:
        ValueError: the table is incomplete.
    """
    item = dataset.ModalityLUTSequence[0]
    count, first, bits = (int(part) for part in item.LUTDescriptor)
    count = count or 0x10000  # 16 bits cannot say it
    if int(dataset.get("PixelRepresentation") or 0) == 1:
        first = first - 0x10000 if first > 0x7FFF else first
    elif first < 0:
        first += 0x10000
    table = _entries(item["LUTData"].value, count, bits, big_endian=not dataset.original_encoding[1])
    return table[np.clip(stored.astype(np.int64) - first, 0, count - 1)]


def _entries(data: Any, count: int, bits: int, *, big_endian: bool) -> np.ndarray:
    """The table's entries, float32.

    Entries of 8 bits come one in each 16-bit word, or two, the first in the lower byte (PS3.3 C.11.1.1): the number of
    words tells which.

    Args:
        data: of OW, bytes in the file's order; of US or SS, the words.
        count: of entries.
        bits: of each.
        big_endian: the order of the file's bytes.
    """
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2").astype(np.uint16)
    else:
        words = (np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF).astype(np.uint16)
    if bits <= 8 and words.size < count:
        words = words.astype("<u2").view(np.uint8)
    if words.size < count:
        raise ValueError(f"its Modality LUT announces {count} entries and holds {words.size}")
    return words[:count].astype(np.float32)
