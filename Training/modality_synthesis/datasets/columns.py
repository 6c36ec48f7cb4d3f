"""Which columns of a cohort table are ours, however they are named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.modalities import MODALITIES, modality_of
from modality_synthesis.tables import SESSION, SUBJECT, Table, is_unknown, key
from modality_synthesis.volumes import READABLE

SPLITS = ("train", "validation", "test")
# Used only where people occur several times and nothing better tells their visits apart: it may hold any text.
_VISIT = ("visit", "visit_id", "viscode", "visit_code", "timepoint", "time_point")
_SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train", "tr": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "development": "validation", "tuning": "validation",
    "test": "test", "testing": "test", "tst": "test", "te": "test", "holdout": "test",
}  # fmt: skip
_SPLIT_COLUMNS = ("set", "partition", "subset", "data split", "dataset split", "split name", "train test")
# What people put behind a modality's name where the cells are files ("FDG-PET SUVR path").
_BEHIND = re.compile(r"(path|file|filename|image|nifti|nii|suvr)+$")
# A name this near to one of ours is hardly meant otherwise ("spilt", "sesion", "T1wi").
_NEAR = 0.75


@dataclass(frozen=True)
class Columns:
    """The table's columns by what they mean.

    Attributes:
        subject: who.
        session: when; None without one.
        split: train, validation or test; None without one.
        volumes: modality -> column.
        series: modality -> column that chooses a series in its DICOM folder (`CT_series`).
        variables: all others.
        findings: what was taken for something although it is named otherwise, and what looks like a slip.
    """

    subject: str
    session: str | None
    split: str | None
    volumes: dict[str, str]
    series: dict[str, str]
    variables: tuple[str, ...]
    findings: tuple[Finding, ...] = field(default=())


def split_word(value: str) -> str | None:
    """train, validation or test, for whatever people call it; None for another word."""
    return _SPLIT_WORDS.get(key(value))


def find_columns(table: Table) -> Columns:
    """What each column of a cohort table means.

    Raises:
        BadInputError: nothing says who a row is of.
    """
    findings: list[Finding] = []
    subjects = [column for name in SUBJECT if (column := table.column(name))]
    if not subjects:
        raise BadInputError(
            f"{table.path.name}: the table has no column 'subject' (or 'participant_id'). Its columns: "
            f"{', '.join(repr(name) for name in table.columns[:8])}."
        )
    used = set(subjects)
    volumes = {name: column for name in MODALITIES if (column := table.column(name))}
    used.update(volumes.values())
    series = {name: column for name in MODALITIES if (column := table.column(f"{name}_series"))}
    used.update(series.values())
    session = table.column(*SESSION)
    used.update(filter(None, [session]))
    split = table.column("split")
    used.update(filter(None, [split]))
    for column in table.columns:
        name = _modality(column)
        if name is not None and name not in volumes and column not in used and _holds_files(table, column):
            volumes[name] = column
            used.add(column)
            findings.append(_taken(table, column, name))
    if split is None:
        split = _split_by_meaning(table, used)
        if split is not None:
            used.add(split)
            findings.append(_taken(table, split, "split"))
    if session is None:
        session = _visit_column(table, subjects[0])
        if session is not None:  # it stays a variable too: people group by it
            findings.append(_taken(table, session, "session"))
    rest = tuple(column for column in table.columns if column not in used)
    findings += _slips(table, rest)
    return Columns(subjects[0], session, split, volumes, series, rest, tuple(findings))


def _modality(column: str) -> str | None:
    """The modality that a column's name means, whatever stands behind it: another name, a tracer."""
    return modality_of(column) or modality_of(_BEHIND.sub("", key(column)))


def _split_by_meaning(table: Table, used: set[str]) -> str | None:
    """A column that divides people although it is not called `split`: test patients must not land in training."""
    found = []
    for column in table.columns:
        words = {row.cells[column] for row in table.rows if not is_unknown(row.cells[column])}
        meant = {split_word(word) for word in words}
        if column not in used and words and None not in meant and "train" in meant and len(meant) > 1:
            found.append(column)
    if len(found) > 1:
        raise BadInputError(
            f"{table.path.name}: the columns {', '.join(map(repr, found))} divide people into training and test. "
            "Name the one to use 'split'."
        )
    return found[0] if found else None


def _visit_column(table: Table, subject: str) -> str | None:
    people = [row.cells[subject] for row in table.rows]
    return table.column(*_VISIT) if len(set(people)) < len(people) else None


def _holds_files(table: Table, column: str) -> bool:
    """Whether the known cells name files: a CSF value in a column `tau` does not."""
    cells = [row.cells[column] for row in table.rows if not is_unknown(row.cells[column])]
    endings = (*READABLE, ".dcm")
    return bool(cells) and all(cell.lower().endswith(endings) or "/" in cell or "\\" in cell for cell in cells)


def _taken(table: Table, column: str, meaning: str) -> Finding:
    return Finding(
        "table-columns", "look",
        f"{table.path.name}: the column {column!r} is taken as {meaning!r}.", f"Name it {meaning!r} to be certain.",
    )  # fmt: skip


def _slips(table: Table, columns: Sequence[str]) -> list[Finding]:
    """Columns left over whose names are nearly ours."""
    slips = {column: meant for column in columns if (meant := _nearly(table, column))}
    return [
        Finding(
            "table-columns", "look",
            f"{table.path.name}: the column {column!r} is not used as {meant!r}; it counts as a clinical variable.",
            f"Name it {meant!r} if that is what it holds.",
        )
        for column, meant in slips.items()
    ]  # fmt: skip


def _nearly(table: Table, column: str) -> str | None:
    """The name of ours that a column was probably meant to have."""
    name = key(column)
    if name in {key(word) for word in _SPLIT_COLUMNS}:
        return "split"
    # "CT" is too short to be misspelled; "FDG-PET_sd" is somebody's own column and no slip.
    ours = {key(word): word for word in (*MODALITIES, "subject", "session", "split") if word != "CT"}
    near = [word for word in difflib.get_close_matches(name, ours, n=1, cutoff=_NEAR) if len(name) < len(word) + 2]
    if near:
        return ours[near[0]]
    if not _holds_files(table, column):
        return None
    if name in ("pet", "petsuvr", "suvr", "petpath"):
        return "FDG-PET (or TAU-PET, AMYLOID-PET)"
    if name in ("mri", "mr", "image", "scan", "volume", "path", "file"):
        return "T1w (or T2w, CT)"
    return _modality(column)
