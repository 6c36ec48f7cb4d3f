"""What is normal, region by region, from a table of healthy people."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.coverage import LOOK_BELOW

# With fewer people a standard deviation is a guess.
FEWEST_PEOPLE = 5
# What the mean SUVR is called: today, and in older tables.
VALUE_COLUMNS = ("suvr", "mean")
Key = tuple[str, str]


@dataclass(frozen=True)
class Normal:
    """Mean and standard deviation of healthy people in one region."""

    mean: float
    sd: float

    def z(self, value: float) -> float:
        """Standard deviations above the mean."""
        return (value - self.mean) / self.sd


def read_normal_cohort(path: str | Path) -> dict[Key, Normal]:
    """Read a CSV table, keyed by (region, hemisphere).

    Two forms are understood: one row per region with the columns `region`, `suvr`, `sd` and optionally `hemisphere`; or
    one row per person and region with the columns `subject`, `region`, `suvr` and optionally `hemisphere` (the regional
    table that `evaluate` writes, or SUVR tables one below the other with a column `subject` added). Older tables call
    the column `mean`. A person's region that was measured to less than 90 % (`covered_percent`) does not count.

    Raises:
        BadInputError: unreadable, lacking columns, or too few people.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"The table of the normal cohort {path.name} cannot be read: {error}") from None
    columns = set(rows[0]) if rows else set()
    value = next((name for name in VALUE_COLUMNS if name in columns), None)
    try:
        if value is not None and {"region", "subject"} <= columns:
            return _from_people(rows, value, path.name)
        if value is not None and {"region", "sd"} <= columns:
            return {_key(row): Normal(float(row[value]), float(row["sd"])) for row in rows if row["sd"] and row[value]}
    except ValueError as error:
        raise BadInputError(f"{path.name}: {error}.") from None
    raise BadInputError(
        f"{path.name}: a normal cohort has the columns region, suvr and sd, or subject, region and suvr."
    )


def _key(row: dict[str, str]) -> Key:
    return row["region"], row.get("hemisphere") or "both"


def _from_people(rows: list[dict[str, str]], value: str, name: str) -> dict[Key, Normal]:
    values: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row[value] and float(row.get("covered_percent") or 100) >= LOOK_BELOW:
            values[_key(row)][row["subject"]].append(float(row[value]))
    result = {}
    for key, people in values.items():
        means = np.array([np.mean(visits) for visits in people.values()])
        if means.size >= FEWEST_PEOPLE and means.std() > 0:
            result[key] = Normal(float(means.mean()), float(means.std(ddof=1)))
    if not result:
        raise BadInputError(f"{name}: a normal cohort needs at least {FEWEST_PEOPLE} people per region.")
    return result
