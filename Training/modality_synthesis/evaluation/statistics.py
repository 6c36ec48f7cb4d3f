"""Statistics over patients: intervals, tests between models, agreement and subgroups.

The unit is always the patient. Visits of one patient are averaged first; slices and voxels are never counted as if they
were people.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

DRAWS, LEVEL = 2000, 0.95
# Smaller groups give intervals that mean nothing.
FEWEST_IN_GROUP = 2
# Of fewer people an interval says more about chance than about the method: none is given.
FEWEST_FOR_INTERVAL = 5


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval; both ends are NaN where the sample is too small."""

    value: float
    low: float
    high: float
    count: int


def bootstrap_interval(
    values: np.ndarray,
    *,
    level: float = LEVEL,
    seed: int = 0,
    draws: int = DRAWS,
    statistic: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Interval:
    """Percentile bootstrap interval (Efron 1979), none under five patients; `values` holds one figure per patient.

    Args:
        values: figures; NaN is left out.
        level: of confidence.
        seed: same seed, same interval.
        draws: resamplings.
        statistic: of the samples along the last axis; default the mean.
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    figure = statistic or (lambda sample: sample.mean(axis=-1))
    if known.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    value = float(figure(known))
    if known.size < FEWEST_FOR_INTERVAL:
        return Interval(value, float("nan"), float("nan"), known.size)
    rng = np.random.default_rng(seed)
    found = figure(known[rng.integers(0, known.size, (draws, known.size))])
    low, high = np.percentile(found, [50 * (1 - level), 100 - 50 * (1 - level)])
    return Interval(value, float(low), float(high), known.size)


def per_patient(values: Sequence[float], patients: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The mean over each patient's visits, in order of first appearance; NaN visits are left out."""
    order = list(dict.fromkeys(patients))
    table = {patient: [v for v, p in zip(values, patients, strict=True) if p == patient] for patient in order}
    means = [np.mean([v for v in found if np.isfinite(v)] or [np.nan]) for found in table.values()]
    return order, np.array(means, dtype=float)


def patient_groups(groups: Mapping[str, Sequence[str | None]], patients: Sequence[str]) -> dict[str, list[str | None]]:
    """Variable -> each patient's group, that of the first visit; the patients in the order of `per_patient`.

    Args:
        groups: variable -> each visit's group.
        patients: each visit's patient.
    """
    first = [list(patients).index(patient) for patient in dict.fromkeys(patients)]
    return {variable: [values[index] for index in first] for variable, values in groups.items()}


@dataclass(frozen=True)
class IndependentTest:
    """Two groups of different people: Student's t-test, as papers report it, and Welch's (unequal spreads).

    Attributes:
        difference: of the means.
        t: Student's statistic.
        p: two-sided.
        welch_p: of Welch's test.
        low: of the difference's interval.
        high: of it.
    """

    difference: float
    t: float
    p: float
    welch_p: float
    low: float
    high: float


def independent_test(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> IndependentTest:
    """Compare two independent groups; the interval of the difference is Student's.

    For methods that saw the same patients this is the wrong test (`paired_tests` is right); it is here to set results
    beside papers that used it. NaN is left out; all figures are NaN with fewer than two people in a group.
    """
    a, b = (values[np.isfinite(values)] for values in (np.asarray(one, dtype=float) for one in (first, second)))
    if min(a.size, b.size) < FEWEST_IN_GROUP:
        return IndependentTest(*[float("nan")] * 6)
    if a.std() == b.std() == 0:  # the statistic is 0 / 0, or infinite
        gap, same = float(a.mean() - b.mean()), a.mean() == b.mean()
        return IndependentTest(gap, float("nan"), float(same), float(same), gap, gap)
    result = stats.ttest_ind(a, b)
    low, high = result.confidence_interval(level) if min(a.size, b.size) >= FEWEST_FOR_INTERVAL else [float("nan")] * 2
    return IndependentTest(
        float(a.mean() - b.mean()), float(result.statistic), float(result.pvalue),
        float(stats.ttest_ind(a, b, equal_var=False).pvalue), float(low), float(high),
    )  # fmt: skip


@dataclass(frozen=True)
class PairedTest:
    """Two predictors on the same patients.

    Attributes:
        metric: what was measured.
        first: predictor.
        second: predictor.
        difference: mean of first - second, with its bootstrap interval.
        wilcoxon_p: two-sided Wilcoxon signed-rank test (exact for small samples without ties).
        t_p: two-sided paired t-test.
        wilcoxon_p_holm: after Holm's correction over the family of tests.
        t_p_holm: the same for the t-test.
        smallest_possible_p: what the Wilcoxon test could reach with that many patients.
        independent: the independent t-test, as published (Li 2022): it ignores that both predictors saw the same
            patients, and is not corrected. Only to set results beside papers that used it.
    """

    metric: str
    first: str
    second: str
    difference: Interval
    wilcoxon_p: float
    t_p: float
    wilcoxon_p_holm: float = float("nan")
    t_p_holm: float = float("nan")
    smallest_possible_p: float = float("nan")
    independent: IndependentTest | None = None


def paired_tests(
    scores: Mapping[str, Mapping[str, np.ndarray]],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    seed: int = 0,
) -> list[PairedTest]:
    """Compare predictors pair by pair on every metric; one Holm family over all of them.

    Args:
        scores: predictor -> metric -> one figure per patient, in the same order everywhere.
        pairs: which to compare; default all.
        seed: of the bootstrap.
    """
    chosen = list(itertools.combinations(scores, 2)) if pairs is None else list(pairs)
    if not chosen:
        return []
    metrics = list(next(iter(scores.values())))
    tests = [
        _paired(metric, first, second, scores[first][metric], scores[second][metric], seed)
        for first, second in chosen
        for metric in metrics
    ]
    wilcoxon = holm([test.wilcoxon_p for test in tests])
    student = holm([test.t_p for test in tests])
    return [
        replace(
            test, wilcoxon_p_holm=float(w), t_p_holm=float(t),
            independent=independent_test(scores[test.first][test.metric], scores[test.second][test.metric]),
        )
        for test, w, t in zip(tests, wilcoxon, student, strict=True)
    ]  # fmt: skip


def _paired(metric: str, first: str, second: str, a: np.ndarray, b: np.ndarray, seed: int) -> PairedTest:
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[np.isfinite(difference)]
    interval = bootstrap_interval(difference, seed=seed)
    if difference.size < FEWEST_IN_GROUP:
        return PairedTest(metric, first, second, interval, float("nan"), float("nan"))
    if not difference.any():
        return PairedTest(metric, first, second, interval, 1.0, 1.0)
    wilcoxon = float(stats.wilcoxon(difference).pvalue)
    student = float(stats.ttest_1samp(difference, 0.0).pvalue) if difference.std() > 0 else 0.0
    return PairedTest(
        metric, first, second, interval, wilcoxon, student, smallest_possible_p=min(1.0, 2.0 ** (1 - difference.size))
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction (1979); NaN stays NaN and does not count."""
    values = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


@dataclass(frozen=True)
class Agreement:
    """Synthetic against measured figures of the same patients, a region's mean SUVR for example.

    Attributes:
        count: patients.
        bias: mean of synthetic - measured (Bland 1986), with its t interval.
        limits: limits of agreement, bias +- 1.96 standard deviations.
        proportional_slope: of the difference on the mean of both; its p-value says whether the bias grows with it.
        proportional_p: two-sided.
        icc: intraclass correlation ICC(2,1), absolute agreement, single measures (Shrout 1979), with its interval
            (McGraw 1996).
        slope: least-squares slope of synthetic on measured; below 1 the synthesis regresses to the mean.
        intercept: of that line.
        slope_interval: t interval of the slope.
        r: Pearson correlation.
        mae: mean absolute difference.
    """

    count: int
    bias: Interval
    limits: tuple[float, float]
    proportional_slope: float
    proportional_p: float
    icc: Interval
    slope: float
    intercept: float
    slope_interval: tuple[float, float]
    r: float
    mae: float


FEWEST_FOR_AGREEMENT = 3


def agreement(synthetic: np.ndarray, measured: np.ndarray, level: float = LEVEL) -> Agreement | None:
    """Bland-Altman, ICC(2,1) and regression to the mean; None with fewer than 3 patients.

    Args:
        synthetic: one figure per patient.
        measured: the same patients.
        level: of the intervals.
    """
    a, b = (np.asarray(values, dtype=float) for values in (synthetic, measured))
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if a.size < FEWEST_FOR_AGREEMENT:
        return None
    difference, middle = a - b, (a + b) / 2
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2, a.size - 1)) * spread / np.sqrt(a.size)
    if a.size < FEWEST_FOR_INTERVAL:
        half = float("nan")
    line, trend = _line(b, a, level), _line(middle, difference, level)
    return Agreement(
        count=a.size,
        bias=Interval(bias, bias - half, bias + half, a.size),
        limits=(bias - 1.96 * spread, bias + 1.96 * spread),
        proportional_slope=trend[0],
        proportional_p=trend[4],
        icc=icc_2_1(np.column_stack([a, b]), level),
        slope=line[0],
        intercept=line[1],
        slope_interval=(line[2], line[3]),
        r=line[5],
        mae=float(np.abs(difference).mean()),
    )


def _line(x: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float, float, float, float, float]:
    """Slope, intercept, the slope's interval, its p-value, and r."""
    if x.std() == 0:
        return (float("nan"),) * 6
    found = stats.linregress(x, y)
    half = float(stats.t.ppf(0.5 + level / 2, x.size - 2)) * float(found.stderr)
    if x.size < FEWEST_FOR_INTERVAL:
        half = float("nan")
    slope = float(found.slope)
    return slope, float(found.intercept), slope - half, slope + half, float(found.pvalue), float(found.rvalue)


def icc_2_1(table: np.ndarray, level: float = LEVEL) -> Interval:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement (Shrout 1979).

    Args:
        table: (patients, raters).
        level: of the interval (McGraw 1996, table 7).
    """
    count, raters = table.shape
    grand = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    between = raters * ((rows - grand) ** 2).sum() / (count - 1)
    across = count * ((columns - grand) ** 2).sum() / (raters - 1)
    residual = ((table - rows[:, None] - columns[None] + grand) ** 2).sum() / ((count - 1) * (raters - 1))
    spread = between + (raters - 1) * residual + raters * (across - residual) / count
    if spread <= 0:
        return Interval(float("nan"), float("nan"), float("nan"), count)
    icc = float((between - residual) / spread)
    if residual <= 1e-12 * between or count < FEWEST_FOR_INTERVAL:
        return Interval(icc, float("nan"), float("nan"), count)
    a = raters * icc / (count * (1 - icc)) if icc < 1 else float("inf")
    b = 1 + raters * icc * (count - 1) / (count * (1 - icc)) if icc < 1 else float("inf")
    freedom = (a * across + b * residual) ** 2 / (
        (a * across) ** 2 / (raters - 1) + (b * residual) ** 2 / ((count - 1) * (raters - 1))
    )
    upper = stats.f.ppf(0.5 + level / 2, count - 1, freedom)
    lower = stats.f.ppf(0.5 + level / 2, freedom, count - 1)
    shared = raters * across + (raters * count - raters - count) * residual
    low = count * (between - upper * residual) / (upper * shared + count * between)
    high = count * (lower * between - residual) / (shared + count * lower * between)
    return Interval(icc, float(low), float(high), count)


@dataclass(frozen=True)
class GroupRow:
    """A metric in one subgroup, and how far it is from everybody else's.

    Attributes:
        variable: sex, for example.
        group: F, for example.
        metric: what.
        value: mean over the group's patients with its bootstrap interval.
        gap: the group's mean minus that of all other patients.
        p: two-sided Mann-Whitney test of the group against the others.
        p_holm: corrected over the table.
    """

    variable: str
    group: str
    metric: str
    value: Interval
    gap: float
    p: float
    p_holm: float = float("nan")


def subgroups(
    scores: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str | None]], *, seed: int = 0
) -> list[GroupRow]:
    """A fairness table: each metric in each group of each variable.

    Args:
        scores: metric -> one figure per patient.
        groups: variable -> each patient's group; None is unknown and left out.
        seed: of the bootstrap.
    """
    rows = [
        _group_row(variable, group, metric, np.asarray(values, dtype=float), members, seed)
        for variable, members in groups.items()
        for group in sorted({member for member in members if member is not None})
        for metric, values in scores.items()
    ]
    adjusted = holm([row.p for row in rows])
    return [
        GroupRow(row.variable, row.group, row.metric, row.value, row.gap, row.p, float(p))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _group_row(
    variable: str, group: str, metric: str, values: np.ndarray, members: Sequence[str | None], seed: int
) -> GroupRow:
    inside = values[[member == group for member in members]]
    others = values[[member is not None and member != group for member in members]]
    inside, others = inside[np.isfinite(inside)], others[np.isfinite(others)]
    enough = min(inside.size, others.size) >= FEWEST_IN_GROUP
    p = float(stats.mannwhitneyu(inside, others).pvalue) if enough else float("nan")
    gap = float(inside.mean() - others.mean()) if inside.size and others.size else float("nan")
    return GroupRow(variable, group, metric, bootstrap_interval(inside, seed=seed), gap, p)


def grouping(values: Sequence[str | None], most: int = 6) -> list[str | None] | None:
    """Groups of a column: its own values where there are few, halves at the median where they are numbers.

    Returns:
        Each patient's group, or None when the column says nothing (one value, or a text of its own for each patient).
    """
    known = [value for value in values if value is not None]
    if len(set(known)) < 2:
        return None
    numbers = _numbers(known)
    if numbers is not None and len(set(known)) > most:
        middle = float(np.median(numbers))
        return [
            None if v is None else f"up to {middle:g}" if float(v) <= middle else f"above {middle:g}" for v in values
        ]
    return list(values) if len(set(known)) <= min(most, len(known) - 1) else None


def _numbers(values: Sequence[str]) -> list[float] | None:
    try:
        return [float(value) for value in values]
    except ValueError:
        return None
