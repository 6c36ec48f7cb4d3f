"""Clinical variables that go with a disease severity."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Person:
    """One simulated person. Scores are whole numbers in the range of the instrument."""

    severity: float
    diagnosis: str
    age: float
    sex: str
    education: int
    mmse: int
    adas_cog_13: int
    apoe4: int

    def variables(self) -> dict[str, object]:
        """As columns of a cohort table."""
        return asdict(self)


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a severity (about 40 % normal, 30 % mild impairment, 30 % dementia) and the variables that go with it.

    MMSE falls from about 29 to 18 and ADAS-Cog-13 rises from about 9 to 36 over the range, with the overlap between
    groups known from Alzheimer's cohorts; APOE-e4 is more frequent in the affected.
    """
    diagnosis = str(rng.choice(["CN", "MCI", "AD"], p=[0.4, 0.3, 0.3]))
    low, high = {"CN": (0.0, 0.2), "MCI": (0.2, 0.6), "AD": (0.55, 1.0)}[diagnosis]
    severity = float(rng.uniform(low, high))
    carrier = 0.14 + 0.22 * severity
    return Person(
        severity=round(severity, 4),
        diagnosis=diagnosis,
        age=round(float(np.clip(rng.normal(71 + 4 * severity, 7), 50, 95)), 1),
        sex=str(rng.choice(["F", "M"])),
        education=int(np.clip(round(rng.normal(15.5 - severity, 2.7)), 6, 22)),
        mmse=int(np.clip(round(29.2 - 11 * severity**1.3 + rng.normal(0, 1.3)), 4, 30)),
        adas_cog_13=int(np.clip(round(9 + 27 * severity**1.2 + rng.normal(0, 3.5)), 0, 85)),
        apoe4=int(rng.binomial(2, carrier)),
    )
