"""Usual names of clinical variables, and the words for female and male."""

from __future__ import annotations

from modality_synthesis.errors import BadInputError
from modality_synthesis.tables import key

# Each line: names of one variable, of cohorts (ADNI, OASIS, AIBL, UK Biobank exports) and of questionnaires.
_NAMES = (
    ("sex", "gender", "ptgender", "biological sex", "sex at birth"),
    ("age", "age at scan", "age at visit", "age years", "age in years", "age at pet", "age y"),
    ("mmse", "mmse total", "mmse score", "mmscore", "mmse total score", "mini mental state examination"),
    ("education", "education years", "years of education", "educ", "pteducat", "years education"),
    ("adas cog 13", "adas13", "adas cog13 total", "total13", "adas 13"),
    ("apoe4", "apoe e4", "apoe4 count", "apoe4 alleles", "apoe e4 alleles", "apoe ε4"),
    ("moca", "moca total", "moca score"),
    ("cdr", "cdr global", "cdglobal", "global cdr"),
)
_WORDS = {key(name): tuple(key(other) for other in names) for names in _NAMES for name in names}
_SEX = set(_WORDS["sex"])
_FEMALE = {"f", "female", "woman", "women", "w", "girl"}
_MALE = {"m", "male", "man", "men", "boy"}


def names_of(name: str) -> tuple[str, ...]:
    """Keys (`tables.key`) of the names of a variable, its own first."""
    own = key(name)
    return tuple(dict.fromkeys((own, *_WORDS.get(own, ()))))


def is_sex(name: str) -> bool:
    """Whether a variable is a person's sex."""
    return key(name) in _SEX


def canonical_sex(value: str) -> str | None:
    """F or M for the words for them; None for others, codes like 1 and 2 among them: they differ between cohorts."""
    word = key(value)
    return "F" if word in _FEMALE else "M" if word in _MALE else None


def choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Which of a variable's choices a value means.

    Raises:
        BadInputError: none of them, or a code for a sex.
    """
    if value in choices:
        return value
    alike = [one for one in choices if key(one) == key(value)] or [one for one in choices if _equal(one, value)]
    if len(alike) == 1:
        return alike[0]
    if is_sex(name):
        sex = canonical_sex(value)
        alike = [one for one in choices if sex is not None and canonical_sex(one) == sex]
        if len(alike) == 1:
            return alike[0]
        if key(value).isdigit():
            raise BadInputError(
                f"{name}={value}: which number stands for whom differs between cohorts; write {' or '.join(choices)}."
            )
    raise BadInputError(f"{name}={value}: choose one of {', '.join(choices)}.")


def _equal(first: str, second: str) -> bool:
    """Whether both are the same number: 1 and 1.0."""
    try:
        return float(first) == float(second)
    except ValueError:
        return False
