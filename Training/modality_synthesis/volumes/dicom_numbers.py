"""Numbers and texts of DICOM headers as they are really written: '1.0' for an integer, '2,5' for a fraction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    """The finite numbers of an element; None when it is missing, empty or holds none.

    Decimal commas are read as points: DICOM separates values by backslashes, so that nothing else can be meant.
    """
    try:
        value = dataset.get(keyword)
        values = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "__iter__") else [value]
        if isinstance(value, (str, bytes)):
            values = _split(value)
        found = [_number(item) for item in values]
    except Exception:  # pydicom raises many kinds on odd values
        found = [_number(item) for item in _split(_raw(dataset, keyword))]
    if not found or not all(number is not None and math.isfinite(number) for number in found):
        return None
    return tuple(float(number) for number in found if number is not None)


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first number of an element; None without one."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The first number of an element as an integer; None without one."""
    found = number(dataset, keyword)
    return None if found is None else round(found)


def frame_count(dataset: Dataset) -> int:
    """How many planes a file holds, 1 where it does not say."""
    return max(integer(dataset, "NumberOfFrames") or 1, 1)


def text(dataset: Dataset, keyword: str) -> str:
    """An element's text without blanks around it; empty when it is missing or cannot be decoded."""
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:  # pydicom raises many kinds on odd values
        return _decoded(_raw(dataset, keyword)).strip()


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The texts of an element with several values."""
    value = _decoded(_raw(dataset, keyword)) or text(dataset, keyword)
    return tuple(part.strip() for part in value.split("\\")) if value else ()


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none when it is missing or cannot be understood."""
    try:
        return list(dataset.get(keyword) or [])
    except Exception:  # pydicom raises many kinds on odd values
        return []


def has_decimal_comma(dataset: Dataset, keyword: str) -> bool:
    """Whether an element's numbers are written with commas."""
    return "," in _decoded(_raw(dataset, keyword))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)):
        value = _decoded(value).strip(" \0").replace(",", ".")
    try:
        return float(value)
    except (ValueError, TypeError):
        return None


def _raw(dataset: Dataset, keyword: str) -> Any:
    """The element's value as it stands in the file, or as pydicom has it when it was converted already."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    try:
        element = dataset.get_item(tag) if tag is not None and tag in dataset else None
        return getattr(element, "value", None)
    except Exception:  # pydicom raises many kinds on odd values
        return None


def _split(value: Any) -> list[str]:
    return [part for part in _decoded(value).strip(" \0").split("\\") if part.strip()]


def _decoded(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    return "\\".join(map(str, value)) if hasattr(value, "__iter__") else ""
