"""Training, validation and test subjects; a patient is never in two of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.datasets.columns import SPLITS
from modality_synthesis.datasets.parameters import check_fold
from modality_synthesis.errors import BadInputError
from modality_synthesis.tables.words import person_key


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
        owners = {person_key(subject): (subject, number) for number, part in enumerate(parts) for subject in part}
        for number, part in enumerate(parts):
            for subject in part:
                other, place = owners[person_key(subject)]
                if place != number:
                    raise BadInputError(_two_spellings(*sorted((subject, other))))

    def only(self, subjects: Iterable[str]) -> Split:
        """Without the subjects that are not among these; nobody changes sides."""
        kept = set(subjects)
        return Split(**{name: tuple(one for one in part if one in kept) for name, part in asdict(self).items()})

    def as_dict(self) -> dict[str, list[str]]:
        """For writing to disk."""
        return {name: list(subjects) for name, subjects in asdict(self).items()}


def split_cohort(
    cohort: Cohort,
    *,
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.2,
    needed: Sequence[str] = ("train", "validation"),
) -> Split:
    """The table's own `split` column when it has one, else a random division of the patients.

    Args:
        cohort: whose patients.
        seed: of the random division.
        validation: share of the patients.
        test: share of the patients.
        needed: parts that the column must have; a training needs two, an evaluation none.

    Raises:
        BadInputError: an unknown split name, a patient in two splits, or a part that is empty.
    """
    if any(visit.split for visit in cohort):
        return _from_column(cohort, needed)
    subjects = sorted({visit.subject for visit in cohort})
    check_spellings(subjects)
    if len(subjects) < 3:
        raise BadInputError(
            f"{cohort.path.name}: {len(subjects)} subject(s) and no column 'split'; a random split needs at least 3 "
            "subjects. To evaluate everybody in the table, whom the model must not have seen: --split all."
        )
    order = np.random.default_rng(seed).permutation(subjects).tolist()
    tests = max(round(test * len(order)), 1) if test > 0 else 0
    validations = max(round(validation * len(order)), 1)
    return Split(
        train=tuple(sorted(order[tests + validations :])),
        validation=tuple(sorted(order[tests : tests + validations])),
        test=tuple(sorted(order[:tests])),
    )


def fold(subjects: Sequence[str], number: int, folds: int, *, seed: int = 0, validation: float = 0.1) -> Split:
    """One part of a k-fold cross-validation over patients.

    The patients are shuffled and cut into `folds` groups of nearly equal size. Fold i tests group i, so that over all
    folds every patient is tested exactly once; the validation patients are the first of the group that follows.

    Args:
        subjects: patients; their order does not matter, repetitions (visits) count once.
        number: of the fold, 1 to `folds`.
        folds: in all, at least 2.
        seed: of the shuffling; the same for all folds of a cross-validation.
        validation: share of all patients that validate.

    Raises:
        UsageError: no such fold.
        BadInputError: too few patients for it.
    """
    check_fold(number, folds)
    patients = sorted(set(subjects))
    check_spellings(patients)
    # Besides the tested ones somebody must train, and somebody validate.
    fewest = max(folds, 4 if folds == 2 else 3)
    if len(patients) < fewest:
        raise BadInputError(f"{folds} folds need at least {fewest} patients; the table has {len(patients)}.")
    order = np.random.default_rng(seed).permutation(patients)
    groups = [group.tolist() for group in np.array_split(order, folds)]
    others = [patient for later in range(number, number + folds - 1) for patient in groups[later % folds]]
    count = min(max(round(validation * len(patients)), 1), len(others) - 1)
    return Split(
        train=tuple(sorted(others[count:])),
        validation=tuple(sorted(others[:count])),
        test=tuple(sorted(groups[number - 1])),
    )


def folds_in_column(cohort: Cohort, column: str) -> dict[str, str | None]:
    """Each subject's fold, as a column of the table has it; None for people in no fold.

    Raises:
        BadInputError: a person is in two folds, under one name or two that are alike.
    """
    found: dict[str, str | None] = {}
    seen: dict[str, tuple[str | None, str]] = {}
    for visit in cohort:
        found[visit.subject] = own = visit.variable(column)
        other, first = seen.setdefault(person_key(visit.subject), (own, visit.name))
        if other != own:
            raise BadInputError(
                f"{cohort.path.name}: {visit.name} has {column}={own} and {first} has {other}; a patient may be "
                "in one fold only."
            )
    return found


def check_spellings(subjects: Sequence[str]) -> None:
    """Check that nobody has two names: `sub-01` and `01` drawn into two parts would be one patient in both.

    Raises:
        BadInputError: two subjects are probably one person.
    """
    seen: dict[str, str] = {}
    for subject in subjects:
        other = seen.setdefault(person_key(subject), subject)
        if other != subject:
            raise BadInputError(_two_spellings(other, subject))


def _two_spellings(first: str, second: str) -> str:
    return (
        f"The subjects {first!r} and {second!r} are probably one person, and would be in two splits. Write them alike, "
        "or give different people names that differ in more than capitals, 'sub-' and zeros."
    )


def _from_column(cohort: Cohort, needed: Sequence[str]) -> Split:
    parts: dict[str, dict[str, None]] = {name: {} for name in SPLITS}
    for visit in cohort:
        if visit.split not in SPLITS:
            given = "no split" if visit.split is None else f"the split {visit.split!r}"
            raise BadInputError(f"{cohort.path.name}: {visit.name} has {given}; use one of {', '.join(SPLITS)}.")
        parts[visit.split][visit.subject] = None
    split = Split(**{name: tuple(subjects) for name, subjects in parts.items()})
    for name in needed:
        if not parts[name]:
            raise BadInputError(f"{cohort.path.name}: no subject has the split '{name}'.")
    return split


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
