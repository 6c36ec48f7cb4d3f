"""Figures of the training patients that samples are standardized with. Nobody else's data enters them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import ClinicalVariable
from modality_synthesis.models.clinical import number
from modality_synthesis.preprocessing import Standardization, TargetMapping, TargetStatistics, target_scaling
from modality_synthesis.preprocessing.manufacturers import canonical_manufacturer


@dataclass(frozen=True)
class _Moments:
    mean: float
    variance: float
    minimum: float
    maximum: float


def fit_standardization(
    training: Sequence[Pair], target: str, mapping: TargetMapping, standardization: Standardization
) -> Standardization:
    """The standardization with statistics of the training patients' targets inside the brain.

    Args:
        training: the training patients' pairs, and no others.
        target: the target's modality.
        mapping: the chain's.
        standardization: what the recipe declares.

    Raises:
        BadInputError: a group's targets are constant.
    """
    moments = [(pair.visit, _brain_moments(pair, mapping)) for pair in training]
    groups: dict[str, list[tuple[Visit, _Moments]]] = {}
    if standardization.by == "manufacturer":
        for visit, figures in moments:
            name = canonical_manufacturer(visit.manufacturer(target))
            if name is not None:
                groups.setdefault(name, []).append((visit, figures))
    kept = {
        name: members
        for name, members in sorted(groups.items())
        if len({visit.subject for visit, _ in members}) >= standardization.fewest_subjects
    }
    return standardization.model_copy(
        update={
            "statistics": {name: _combine(members, f"{target} of {name} scanners") for name, members in kept.items()},
            "pooled": _combine(moments, target),
        }
    )


def fit_variables(variables: Sequence[ClinicalVariable], training: Sequence[Visit]) -> tuple[ClinicalVariable, ...]:
    """The declared numbers with mean and standard deviation of the training patients, where the recipe states none.

    Raises:
        BadInputError: no column of that name, no known value, the same value for everybody, or a value out of range.
    """
    return tuple(_fit_variable(variable, training) for variable in variables)


def _fit_variable(variable: ClinicalVariable, training: Sequence[Visit]) -> ClinicalVariable:
    columns = sorted({column for visit in training for column in visit.variables})
    if all(visit.column(variable.name) is None for visit in training):
        raise BadInputError(
            f"The cohort has no column {variable.name!r}, a clinical variable of the recipe. Its columns: "
            f"{', '.join(columns) or 'none'}."
        )
    if variable.kind == "choice" or (variable.mean is not None and variable.std is not None):
        return variable
    known = [(visit, _number_of(visit, variable)) for visit in training]
    members = [(visit, _Moments(value, 0.0, value, value)) for visit, value in known if value is not None]
    if not members:
        raise BadInputError(f"No training patient has a known value of {variable.name!r}.")
    mean, std = _weighted(members)
    if std <= 0:
        raise BadInputError(
            f"{variable.name!r} is {mean:g} for every training patient; a model cannot learn from it. Leave it out."
        )
    return variable.model_copy(update={"mean": _six_digits(mean), "std": _six_digits(std)})


def _number_of(visit: Visit, variable: ClinicalVariable) -> float | None:
    try:
        return number(variable, visit.variable(variable.name))
    except BadInputError as error:
        raise BadInputError(f"{visit.name}: {error}") from None


def _brain_moments(pair: Pair, mapping: TargetMapping) -> _Moments:
    arrays = pair.load()
    scaling = replace(target_scaling(mapping.fixed), minimum=None)
    values = scaling.to_units(arrays["target"], arrays["region"])[
        (arrays["brain"] > 0) & (arrays["region"] > 0)
    ].astype(np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise BadInputError(f"The target volume of {pair.visit.name} has no usable values inside the brain.")
    return _Moments(float(values.mean()), float(values.var()), float(values.min()), float(values.max()))


def _combine(members: Sequence[tuple[Visit, _Moments]], what: str) -> TargetStatistics:
    mean, std = _weighted(members)
    if std <= 0:
        raise BadInputError(f"{what}: the training volumes are constant inside the brain.")
    return TargetStatistics(
        mean=_six_digits(mean),
        std=_six_digits(std),
        minimum=_six_digits(min(figures.minimum for _, figures in members)),
        maximum=_six_digits(max(figures.maximum for _, figures in members)),
        subjects=len({visit.subject for visit, _ in members}),
    )


def _weighted(members: Sequence[tuple[Visit, _Moments]]) -> tuple[float, float]:
    """Mean and standard deviation of a mixture in which every patient has the same weight, however many visits."""
    visits: Mapping[str, int] = Counter(visit.subject for visit, _ in members)
    weights = [1 / visits[visit.subject] for visit, _ in members]
    total = sum(weights)
    mean = sum(weight * figures.mean for weight, (_, figures) in zip(weights, members, strict=True)) / total
    variance = (
        sum(
            weight * (figures.variance + (figures.mean - mean) ** 2)
            for weight, (_, figures) in zip(weights, members, strict=True)
        )
        / total
    )
    return mean, math.sqrt(variance)


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")
