"""What a check found: one form for gates, doubts and quality figures, from the reader to the report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "look", "refuse"]


@dataclass(frozen=True)
class Finding:
    """One statement about an input or a result.

    Attributes:
        code: what was looked at, in lower case with hyphens (`orientation`, `coverage`); stable, for programs.
        level: `ok`, `look` (a person must look before using it) or `refuse`.
        message: what is so and why that matters, with the file's name and no patient data beyond it.
        action: what to do about it; empty when nothing is to be done.
        value: the figure that decided, in the unit the message names; None without one.
        limit: the threshold that `value` was held against.
    """

    code: str
    level: Level
    message: str
    action: str = ""
    value: float | None = None
    limit: float | None = None

    @property
    def text(self) -> str:
        """Message and action in one line, as people see it."""
        return f"{self.message} {self.action}".strip()

    def as_dict(self) -> dict[str, object]:
        """Plain values, for sidecars and JSON lines."""
        return dataclasses.asdict(self)
