"""The sentence that a report begins with: does the model beat the best of the simple predictors, and by how much?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.evaluation.document import number, rounded
from modality_synthesis.evaluation.statistics import FEWEST_FOR_INTERVAL, Interval, bootstrap_interval

if TYPE_CHECKING:
    from modality_synthesis.evaluation.study import Evaluation

METRIC = "MAE"


@dataclass(frozen=True)
class Verdict:
    """One contender against the best baseline, paired over patients.

    Attributes:
        contender: what is judged.
        baseline: with the least mean error; empty when none was scored.
        metric: of the error.
        units: of the error.
        difference: mean over patients of contender - baseline, with its 95 % interval: below 0 the contender is better;
            both ends are NaN with fewer than `FEWEST_FOR_INTERVAL` patients. None without a baseline.
    """

    contender: str
    baseline: str
    metric: str
    units: str
    difference: Interval | None

    @property
    def outcome(self) -> str:
        """`beats`, `loses to`, `undecided` where the patients do not decide it, or `not judged` without a baseline."""
        found = self.difference
        if found is None or not math.isfinite(found.value):
            return "not judged"
        if found.high < 0:
            return "beats"
        return "loses to" if found.low > 0 else "undecided"

    @property
    def text(self) -> str:
        """The sentence."""
        found = self.difference
        if found is None or not math.isfinite(found.value):
            return f"{self.contender} was judged without a baseline: nothing says whether it beats a simple predictor."
        other, unit = self.baseline.replace(" x ", " × "), f"{self.units} {self.metric}"
        patients = f"{found.count} patient{'' if found.count == 1 else 's'}"
        if not math.isfinite(found.low):
            word = "loses to" if found.value > 0 else "beats"
            return (
                f"{self.contender} {word} {other} by {number(abs(found.value), 2)} {unit} in {patients}, too few for "
                f"an interval (at least {FEWEST_FOR_INTERVAL}): this says nothing about others."
            )
        if self.outcome == "undecided":
            value, low, high = _alike(found.value, found.low, found.high)
            return (
                f"{self.contender} cannot be told from {other}: {unit} differs by {value} (95 % interval {low} to "
                f"{high}, {patients})."
            )
        size, low, high = _alike(abs(found.value), *sorted((abs(found.low), abs(found.high))))
        return f"{self.contender} {self.outcome} {other} by {size} {unit} (95 % interval {low} to {high}, {patients})."

    def as_dict(self) -> dict[str, object]:
        """Plain values, the sentence among them, for JSON."""
        found = self.difference
        return {
            "contender": self.contender,
            "baseline": self.baseline,
            "metric": self.metric,
            "units": self.units,
            "outcome": self.outcome,
            "difference": None if found is None else found.value,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "patients": 0 if found is None else found.count,
            "text": self.text,
        }


def _alike(value: float, low: float, high: float) -> list[str]:
    """A figure and the ends of its interval, as precise as the interval's width tells."""
    return [rounded(one, high - low) if high > low else number(one, 2) for one in (value, low, high)]


def verdicts(evaluation: Evaluation) -> list[Verdict]:
    """Each contender against the baseline with the least mean error over the same patients."""
    errors = {name: evaluation.patient_scores(name)[METRIC] for name in evaluation.scores}
    means = {name: float(np.nanmean(errors[name])) for name in evaluation.baselines if np.isfinite(errors[name]).any()}
    best = min(means, key=lambda name: means[name], default="")
    return [
        Verdict(name, best, METRIC, evaluation.units, bootstrap_interval(errors[name] - errors[best]) if best else None)
        for name in evaluation.contenders
    ]
