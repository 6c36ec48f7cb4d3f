"""What is normal, region by region, from a table of healthy people."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.tables import Table, as_number, is_unknown, read_table
from modality_synthesis.volumes.coverage import LOOK_BELOW

# With fewer people a standard deviation is a guess.
FEWEST_PEOPLE = 5
# What the mean SUVR is called: today, and in older tables.
VALUE_COLUMNS = ("suvr", "mean")
Key = tuple[str, str]
_NAMES, _NUMBERS = ("subject", "region", "hemisphere"), ("sd", "covered_percent")


@dataclass(frozen=True)
class Normal:
    """Mean and standard deviation of healthy people in one region."""

    mean: float
    sd: float

    def z(self, value: float) -> float:
        """Standard deviations above the mean."""
        return (value - self.mean) / self.sd


def read_normal_cohort(path: str | Path) -> dict[Key, Normal]:
    """Read a CSV or TSV table (`tables.read_table`), keyed by (region, hemisphere).

    Two forms are understood: one row per region with the columns `region`, `suvr`, `sd` and optionally `hemisphere`; or
    one row per person and region with the columns `subject`, `region`, `suvr` and optionally `hemisphere` (the regional
    table that `evaluate` writes, or SUVR tables one below the other with a column `subject` added). Older tables call
    the column `mean`. A person's region that was measured to less than 90 % (`covered_percent`) does not count.

    Raises:
        BadInputError: unreadable, lacking columns, or too few people.
    """
    known = (*VALUE_COLUMNS, *_NUMBERS, *_NAMES)
    table = read_table(path, "table of a normal cohort", known)
    own = {name: column for name in known if (column := table.column(name))}
    rows = [_Row({name: row.cells[column] for name, column in own.items()}, row.line, table) for row in table.rows]
    if table.column("predictor"):
        raise BadInputError(
            f"{table.path.name} holds what several predictors made, no healthy people's measurements. Of an "
            "evaluation, measured_regions.csv is the table of what was measured."
        )
    value = next((name for name in VALUE_COLUMNS if name in own), None)
    if value is not None and {"region", "subject"} <= set(own):
        return _from_people(rows, value, table.path.name)
    if value is not None and {"region", "sd"} <= set(own):
        figures = [(row, row.number(value), row.number("sd")) for row in rows]
        flat = next((row for row, _, sd in figures if sd is not None and sd <= 0), None)
        if flat is not None:
            raise BadInputError(f"{table.path.name}, line {flat.line}: the standard deviation is not above 0.")
        return {row.key: Normal(mean, sd) for row, mean, sd in figures if mean is not None and sd is not None}
    path = table.path
    raise BadInputError(
        f"{path.name}: a normal cohort has the columns region, suvr and sd, or subject, region and suvr."
    )


@dataclass(frozen=True)
class _Row:
    """A row's cells by our names for the columns."""

    cells: dict[str, str]
    line: int
    table: Table

    @property
    def key(self) -> Key:
        hemisphere = self.cells.get("hemisphere", "").lower()
        return self.cells["region"], "both" if is_unknown(hemisphere) else hemisphere

    def number(self, column: str) -> float | None:
        """The cell's number; None when unknown."""
        text = self.cells[column]
        value = as_number(text, comma_is_decimal=self.table.separator == ";")
        if value is None and not is_unknown(text):
            raise BadInputError(f"{self.table.path.name}, line {self.line}: {column} is {text!r}, no number.")
        return value


def _from_people(rows: list[_Row], column: str, name: str) -> dict[Key, Normal]:
    values: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        value = row.number(column)
        covered = row.number("covered_percent") if "covered_percent" in row.cells else None
        if value is not None and (covered is None or covered >= LOOK_BELOW):
            values[row.key][row.cells["subject"]].append(value)
    result = {}
    for key, people in values.items():
        means = np.array([np.mean(visits) for visits in people.values()])
        if means.size >= FEWEST_PEOPLE and means.std() > 0:
            result[key] = Normal(float(means.mean()), float(means.std(ddof=1)))
    if not result:
        raise BadInputError(f"{name}: a normal cohort needs at least {FEWEST_PEOPLE} people per region.")
    return result
