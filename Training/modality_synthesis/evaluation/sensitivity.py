"""How much each clinical variable changes a synthetic volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sensitivity:
    """What one variable does, all else equal.

    Attributes:
        variable: its name.
        change: mean over the region of the volume with the higher value less that with the lower one; signed.
        absolute: mean over the brain of the absolute difference.
        unknown: mean over the brain of the absolute difference between the given value and an unknown one.
    """

    variable: str
    change: float
    absolute: float
    unknown: float


def sensitivity(
    predict: Callable[[list[float]], np.ndarray],
    values: Sequence[float],
    names: Sequence[str],
    brain: np.ndarray,
    region: np.ndarray,
    *,
    step: float = 1.0,
) -> list[Sensitivity]:
    """Vary each variable by itself around a person's values, with the same noise.

    Args:
        predict: standardized values -> synthetic volume (z, y, x); the same seed at every call.
        values: the person's standardized values; NaN is unknown and varied around the mean.
        names: of the variables.
        brain: where absolute differences are averaged.
        region: where the signed difference is averaged, the MetaROIs for example.
        step: how far to either side, in standard deviations of the training subjects.

    Returns:
        One entry per variable, the most influential first.
    """
    inside, focus = brain > 0, region > 0
    given = predict(list(values))
    found = []
    for index, name in enumerate(names):
        center = 0.0 if np.isnan(values[index]) else values[index]
        low, high, unknown = (
            predict([*values[:index], value, *values[index + 1 :]])
            for value in (center - step, center + step, float("nan"))
        )
        found.append(
            Sensitivity(
                name,
                change=float((high - low)[focus].mean()),
                absolute=float(np.abs(high - low)[inside].mean()),
                unknown=float(np.abs(given - unknown)[inside].mean()),
            )
        )
    return sorted(found, key=lambda one: one.absolute, reverse=True)
