"""Does a model serve everybody alike? A metric by subgroup, and the gaps between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modality_synthesis.evaluation.statistics import FEWEST_FOR_INTERVAL, bootstrap_interval

# Fewer people than this say nothing about their group.
FEWEST_PEOPLE = 3


@dataclass(frozen=True)
class Subgroup:
    """A metric's mean in one group, with its 95 % bootstrap interval."""

    group: str
    people: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Fairness:
    """One variable's table.

    Attributes:
        variable: sex, age group, ...
        rows: by group, in alphabetical order.
        gap: largest less smallest mean.
        low: lower end of the gap's 95 % bootstrap interval. A gap is never negative, so that this end lies above 0 even
            where the groups are alike; `p_value` answers that question.
        high: upper end.
        p_value: share of random regroupings of the same people with at least this gap.
    """

    variable: str
    rows: tuple[Subgroup, ...]
    gap: float
    low: float
    high: float
    p_value: float


def fairness(
    variable: str, groups: Sequence[str | None], values: Sequence[float], *, seed: int = 0, draws: int = 2000
) -> Fairness:
    """Compare a metric between groups.

    Args:
        variable: its name.
        groups: each patient's group; None is unknown and left out.
        values: each patient's figure.
        seed: of bootstrap and regrouping.
        draws: of each.

    Raises:
        ValueError: fewer than two groups of at least three people.
    """
    figures = np.asarray(values, dtype=float)
    names = np.array([group or "" for group in groups])
    kept = [name for name in sorted(set(names) - {""}) if (names == name).sum() >= FEWEST_PEOPLE]
    if len(kept) < 2:
        raise ValueError(f"{variable}: a comparison needs two groups of at least {FEWEST_PEOPLE} people")
    inside = np.isin(names, kept)
    figures, names = figures[inside], names[inside]
    members = [np.flatnonzero(names == name) for name in kept]
    rng = np.random.default_rng(seed)
    drawn = [_gap([rng.choice(figures[one], one.size) for one in members]) for _ in range(draws)]
    gap = _gap([figures[one] for one in members])
    regrouped = []
    for _ in range(draws):
        shuffled = rng.permutation(figures)
        regrouped.append(_gap([shuffled[one] for one in members]))
    rows = []
    for name, one in zip(kept, members, strict=True):
        found = bootstrap_interval(figures[one], seed=seed, draws=draws)
        rows.append(Subgroup(name, one.size, found.value, found.low, found.high))
    low, high = np.percentile(drawn, [2.5, 97.5])
    if min(one.size for one in members) < FEWEST_FOR_INTERVAL:
        low = high = float("nan")
    at_least = (np.sum(np.asarray(regrouped) >= gap - 1e-12) + 1) / (draws + 1)
    return Fairness(variable, tuple(rows), gap, float(low), float(high), float(at_least))


def age_group(age: float | None, edges: Sequence[float] = (65, 75)) -> str | None:
    """`below 65`, `65 to 74`, `75 and above`; None when the age is unknown."""
    if age is None or age != age:
        return None
    if age < edges[0]:
        return f"below {edges[0]:g}"
    for low, high in itertools.pairwise(edges):
        if age < high:
            return f"{low:g} to {high - 1:g}"
    return f"{edges[-1]:g} and above"


def _gap(groups: list[np.ndarray]) -> float:
    means = [group.mean() for group in groups]
    return float(max(means) - min(means))
