"""Who is healthy and who is ill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modality_synthesis.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from modality_synthesis.datasets.cohort import Visit


@dataclass(frozen=True)
class Classes:
    """Who is healthy and who is ill, by a column of the cohort table."""

    column: str = "diagnosis"
    healthy: str = "CN"
    patients: str = "AD"

    @classmethod
    def parse(cls, text: str) -> Classes:
        """`diagnosis=CN,AD`: the column, its value for healthy people, its value for patients.

        Raises:
            UsageError: written otherwise.
        """
        column, _, values = text.partition("=")
        parts = [value.strip() for value in values.split(",")]
        if not column.strip() or len(parts) != 2 or not all(parts):
            raise UsageError(
                f"Classes are written COLUMN=HEALTHY,PATIENTS (diagnosis=CN,AD, for example), not {text!r}."
            )
        return cls(column.strip(), *parts)

    def label(self, visit: Visit) -> int | None:
        """0 healthy, 1 patient, None neither."""
        return {self.healthy: 0, self.patients: 1}.get(visit.variable(self.column) or "")

    def check(self, visits: Iterable[Visit], table: str) -> None:
        """Check that a table knows the column and both values.

        Raises:
            BadInputError: it does not.
        """
        values = {visit.variable(self.column) for visit in visits} - {None}
        if not values:
            raise BadInputError(
                f"{table} has no column {self.column!r}. Say which with --classes COLUMN=HEALTHY,PATIENTS."
            )
        for wanted in (self.healthy, self.patients):
            if wanted not in values:
                known = ", ".join(sorted(str(value) for value in values)[:8])
                raise BadInputError(f"{table}: nobody has {self.column}={wanted}. The column holds {known}.")
