"""Rows to CSV files, alike everywhere: a header, five significant digits, empty cells for what is not known."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from modality_synthesis.volumes import atomic_output


def write_rows(path: Path, rows: Iterable[Any], digits: int = 5) -> None:
    """Write dataclasses or mappings that share their keys; nothing is written without rows.

    Args:
        path: of the CSV file.
        rows: in the file's order; the first one's keys are the header.
        digits: significant ones of fractions.
    """
    records: list[Mapping[str, Any]] = [asdict(row) if is_dataclass(row) else row for row in rows]  # type: ignore[arg-type]
    if not records:
        return
    with atomic_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value, digits) for key, value in record.items()} for record in records)


def _cell(value: Any, digits: int) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}g}" if not math.isnan(value) else ""
    return value
