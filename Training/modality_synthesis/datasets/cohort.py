"""A cohort table: one row per subject-visit, columns for volumes and clinical variables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import data_path, scanner_manufacturer, with_series

MODALITIES = ("T1w", "T2w", "CT", "FDG-PET", "TAU-PET", "AMYLOID-PET")
_UNKNOWN = {"", "na", "n/a", "nan", "none", "unknown", "."}
# A table of people with scans of several kinds can name the PET scanner's maker apart from the MRI scanner's.
_MANUFACTURER_COLUMNS = ("pet_manufacturer", "manufacturer")
_SUBJECT_COLUMNS = ("subject", "participant_id", "sub", "id")


@dataclass(frozen=True)
class Visit:
    """One row: who, when, which volumes, what else is known (None is unknown)."""

    subject: str
    session: str = ""
    split: str | None = None
    volumes: dict[str, Path] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Subject and session, fit for a file name."""
        return f"{self.subject}_{self.session}" if self.session else self.subject

    def variable(self, name: str) -> str | None:
        """The value in a column, whatever capitals its name has; None when unknown or without such a column."""
        if name in self.variables:
            return self.variables[name]
        return next((value for key, value in self.variables.items() if key.lower() == name.lower()), None)

    def manufacturer(self, target: str) -> str | None:
        """Who made the scanner of the target volume; None when nothing says so.

        The table's column `pet_manufacturer`, or else `manufacturer`, counts first; then the target volume's JSON
        sidecar; then its DICOM header. The source volume's files do not count: a person's MRI scanner and PET scanner
        are two machines, often of two makers.
        """
        named = next(filter(None, map(self.variable, _MANUFACTURER_COLUMNS)), None)
        return named or (scanner_manufacturer(self.volumes[target]) if target in self.volumes else None)


@dataclass(frozen=True)
class Cohort:
    """The rows of a table, and where the table is."""

    path: Path
    visits: tuple[Visit, ...]

    def __iter__(self) -> Iterator[Visit]:
        return iter(self.visits)

    def __len__(self) -> int:
        return len(self.visits)

    def of_subjects(self, subjects: Iterable[str]) -> list[Visit]:
        """The visits of some subjects, in the table's order."""
        wanted = set(subjects)
        return [visit for visit in self.visits if visit.subject in wanted]

    def require(self, *modalities: str) -> None:
        """Check that every visit has these volumes and that the files exist.

        Raises:
            BadInputError: names the first row that lacks one.
        """
        for visit in self.visits:
            for modality in modalities:
                if modality not in visit.volumes:
                    raise BadInputError(f"{self.path.name}: {visit.name} has no {modality} volume.")
                if not data_path(visit.volumes[modality]).exists():
                    raise BadInputError(
                        f"{self.path.name}: the {modality} volume of {visit.name} is missing: {visit.volumes[modality]}"
                    )


def read_cohort(path: str | Path) -> Cohort:
    """Read a CSV or TSV table.

    Columns: `subject` (or BIDS `participant_id`); optional `session` and `split`; one column per modality
    (T1w, T2w, CT, FDG-PET, TAU-PET, AMYLOID-PET) with paths, absolute or relative to the table (`FOLDER#2`, or a column
    `CT_series`, chooses a series of a DICOM folder); every other column is a clinical variable (`manufacturer`: of the
    target's scanner). Empty, `NA`, `n/a` and `unknown` mean unknown.

    Raises:
        BadInputError: no such file, no subject column, duplicate rows, or an empty table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The cohort table {path} cannot be read: {error}") from None
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in header else ";" if ";" in header else ",")
    columns = rows.fieldnames or []
    subject_column = next((name for name in columns if name.strip().lower() in _SUBJECT_COLUMNS), None)
    if subject_column is None:
        raise BadInputError(f"{path.name}: the table has no column 'subject' (or 'participant_id').")
    visits = [_visit(row, subject_column, path.parent) for row in rows if any((value or "") for value in row.values())]
    if not visits:
        raise BadInputError(f"{path.name}: the table has no rows.")
    names = [visit.name for visit in visits]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated:
        raise BadInputError(f"{path.name}: {repeated} occurs twice. Add a column 'session' to tell visits apart.")
    return Cohort(path=path, visits=tuple(visits))


def _visit(row: dict[str, str | None], subject_column: str, folder: Path) -> Visit:
    values = {(key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str)}
    known = {key: value for key, value in values.items() if value.lower() not in _UNKNOWN}
    volumes = {
        name: with_series(folder / known[name], known.get(f"{name}_series")) for name in MODALITIES if name in known
    }
    reserved = {subject_column, "session", "split", *MODALITIES, *(f"{name}_series" for name in MODALITIES)}
    return Visit(
        subject=known.get(subject_column, ""),
        session=known.get("session", ""),
        split=known.get("split"),
        volumes=volumes,
        variables={key: known.get(key) for key in values if key not in reserved},
    )
