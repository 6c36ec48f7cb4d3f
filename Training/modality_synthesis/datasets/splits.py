"""Training, validation and test subjects; a patient is never in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.errors import BadInputError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Subjects (patients, not visits) of each part."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = [set(self.train), set(self.validation), set(self.test)]
        shared = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        if shared:
            raise BadInputError(f"Subject {sorted(shared)[0]} is in two splits; a patient may be in one only.")

    def as_dict(self) -> dict[str, list[str]]:
        """For writing to disk."""
        return {name: list(subjects) for name, subjects in asdict(self).items()}


def split_cohort(cohort: Cohort, *, seed: int = 0, validation: float = 0.1, test: float = 0.2) -> Split:
    """The table's own `split` column when it has one, else a random division of the patients.

    Raises:
        BadInputError: an unknown split name, a patient in two splits, or a part that is empty.
    """
    if any(visit.split for visit in cohort):
        return _from_column(cohort)
    subjects = sorted({visit.subject for visit in cohort})
    if len(subjects) < 3:
        raise BadInputError(f"{cohort.path.name}: a random split needs at least 3 subjects.")
    order = np.random.default_rng(seed).permutation(subjects).tolist()
    tests = max(round(test * len(order)), 1) if test > 0 else 0
    validations = max(round(validation * len(order)), 1)
    return Split(
        train=tuple(sorted(order[tests + validations :])),
        validation=tuple(sorted(order[tests : tests + validations])),
        test=tuple(sorted(order[:tests])),
    )


def _from_column(cohort: Cohort) -> Split:
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for visit in cohort:
        if visit.split not in SPLITS:
            raise BadInputError(
                f"{cohort.path.name}: {visit.name} has the split {visit.split!r}; use one of {', '.join(SPLITS)}."
            )
        if visit.subject not in parts[visit.split]:
            parts[visit.split].append(visit.subject)
    for name in ("train", "validation"):
        if not parts[name]:
            raise BadInputError(f"{cohort.path.name}: no subject has the split '{name}'.")
    return Split(**{name: tuple(subjects) for name, subjects in parts.items()})


def subjects_of(split: Split, name: str) -> Sequence[str]:
    """The subjects of the part called `name`; `all` is everybody.

    Raises:
        BadInputError: unknown name.
    """
    if name == "all":
        return (*split.train, *split.validation, *split.test)
    if name not in SPLITS:
        raise BadInputError(f"Unknown split {name!r}; use one of {', '.join(SPLITS)} or all.")
    return getattr(split, name)
