"""A cohort table: one row per subject-visit, columns for volumes and clinical variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modality_synthesis.datasets.columns import Columns, find_columns, split_word
from modality_synthesis.datasets.places import volume_place
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.modalities import MODALITIES
from modality_synthesis.models.clinical_words import canonical_sex, is_sex, names_of
from modality_synthesis.progress import Reporter
from modality_synthesis.tables import SESSION, SUBJECT, TableRow, is_unknown, key, read_table, unsafe_name
from modality_synthesis.volumes import scanner_manufacturer, why_absent, with_series

__all__ = ["MODALITIES", "Cohort", "RefusedRow", "Visit", "read_cohort"]

# A table of people with scans of several kinds can name the PET scanner's maker apart from the MRI scanner's.
_MANUFACTURER_COLUMNS = ("pet_manufacturer", "manufacturer")
_WHAT = "cohort table"


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

    def column(self, name: str) -> str | None:
        """The column that holds a variable: of this name whatever its capitals, spaces, hyphens and underscores, or of
        a usual other name of it (`gender` for `sex`, `MMSE_total` for `mmse`).

        Raises:
            BadInputError: several columns could be meant.
        """
        if name in self.variables:
            return name
        by_key = {key(column): column for column in self.variables}
        own, *others = names_of(name)
        if own in by_key:
            return by_key[own]
        found = [by_key[word] for word in others if word in by_key]
        if len(found) > 1:
            raise BadInputError(
                f"{' and '.join(map(repr, found))} could both be the variable {name!r}. Name the right column {name!r}."
            )
        return found[0] if found else None

    def variable(self, name: str) -> str | None:
        """The value in a column (`column`); None when unknown or without such a column."""
        column = self.column(name)
        return None if column is None else self.variables[column]

    def manufacturer(self, target: str) -> str | None:
        """Who made the scanner of the target volume; None when nothing says so.

        The table's column `pet_manufacturer`, or else `manufacturer`, counts first; then the target volume's JSON
        sidecar; then its DICOM header. The source volume's files do not count: a person's MRI scanner and PET scanner
        are two machines, often of two makers.
        """
        named = next(filter(None, map(self.variable, _MANUFACTURER_COLUMNS)), None)
        return named or (scanner_manufacturer(self.volumes[target]) if target in self.volumes else None)


@dataclass(frozen=True)
class RefusedRow:
    """A row that cannot be used because its subject or session cannot name a file.

    Attributes:
        index: its place among the table's rows, from 0.
        line: in the file, from 1.
        visit: what it says.
        reason: why it cannot be used.
    """

    index: int
    line: int
    visit: Visit
    reason: str

    @property
    def text(self) -> str:
        """The reason with the line."""
        return f"line {self.line} of the table: {self.reason}"


@dataclass(frozen=True)
class Cohort:
    """The rows of a table, and where the table is.

    Attributes:
        path: of the table.
        visits: rows that can be used.
        findings: what a user must know of the reading.
        refused: rows that cannot be used, whatever the rest is used for: who reads a table says so and counts them.
    """

    path: Path
    visits: tuple[Visit, ...]
    findings: tuple[Finding, ...] = ()
    refused: tuple[RefusedRow, ...] = ()

    def __iter__(self) -> Iterator[Visit]:
        return iter(self.visits)

    def __len__(self) -> int:
        return len(self.visits)

    def of_subjects(self, subjects: Iterable[str]) -> list[Visit]:
        """The visits of some subjects, in the table's order."""
        wanted = set(subjects)
        return [visit for visit in self.visits if visit.subject in wanted]

    def require_some(self, *modalities: str) -> None:
        """Check that the table has a usable row, and these modalities at all: at least one visit with each.

        Raises:
            BadInputError: names the first unusable row, or the modality.
        """
        if self.refused and not self.visits:
            raise BadInputError(f"{self.path.name}: no row can be used; {self.refused[0].text}.")
        for modality in modalities:
            if not any(modality in visit.volumes for visit in self.visits):
                hints = [finding.text for finding in self.findings if modality in finding.text]
                raise BadInputError(" ".join([f"{self.path.name}: no visit has a {modality} volume.", *hints[:1]]))

    def require(self, *modalities: str) -> None:
        """Check that every visit has these volumes and that the files exist.

        Raises:
            BadInputError: names the first row that lacks one.
        """
        for visit in self.visits:
            for modality in modalities:
                if modality not in visit.volumes:
                    hints = [finding.text for finding in self.findings if modality in finding.text]
                    raise BadInputError(
                        " ".join([f"{self.path.name}: {visit.name} has no {modality} volume.", *hints[:1]])
                    )
                path = visit.volumes[modality]
                if reason := why_absent(path):
                    raise BadInputError(
                        f"{self.path.name}: the {modality} volume of {visit.name} is missing: {path} ({reason})"
                    )

    def files(self, *columns: str) -> list[Path]:
        """The table, the volumes that it names and, from further columns, what is a path there: what is read."""
        folder = self.path.parent
        further = (volume_place(text, folder) for visit in self for name in columns if (text := visit.variable(name)))
        return [self.path, *(path for visit in self for path in visit.volumes.values()), *further]


def read_cohort(path: str | Path, reporter: Reporter | None = None) -> Cohort:
    """Read a CSV or TSV table, as spreadsheets and scripts write them (`tables.read_table`).

    Columns: `subject` (or BIDS `participant_id`); optional `session` and `split`; one column per modality (T1w, T2w,
    FLAIR, CT, FDG-PET, TAU-PET, AMYLOID-PET) with paths, absolute or relative to the table, and for DICOM folders with
    several series `FOLDER#2` or a column `CT_series`; every other column is a clinical variable (`manufacturer`: of the
    target's scanner). Capitals, spaces, hyphens and underscores in these
    names do not count. Empty, `NA`, `n/a`, `unknown` and the like mean unknown; a column `sex` or `gender` becomes F
    and M where it is written in words. A row whose subject or session cannot name a file is no visit but one of
    `Cohort.refused`.

    Args:
        path: of the table.
        reporter: receives the findings.

    Raises:
        BadInputError: no such file, no subject column, a row without a subject, duplicate rows, or an empty table.
    """
    table = read_table(path, _WHAT, (*SUBJECT, *SESSION, "split", *MODALITIES))
    columns = find_columns(table)
    if not table.rows:
        raise BadInputError(f"{table.path.name}: the table has no rows.")
    rows = [(row, _visit(row, columns, table.path)) for row in table.rows]
    refused = _refused(rows, table.path)
    lines = {row.line for row in refused}
    visits = tuple(visit for row, visit in rows if row.line not in lines)
    findings = (*table.findings, *columns.findings)
    for finding in findings if reporter is not None else ():
        reporter.finding(finding)  # type: ignore[union-attr]
    return Cohort(table.path, visits, findings, tuple(refused))


def _visit(row: TableRow, columns: Columns, path: Path) -> Visit:
    known = {column: None if is_unknown(cell) else cell for column, cell in row.cells.items()}
    subject = known[columns.subject]
    if subject is None:
        raise BadInputError(
            f"{path.name}, line {row.line}: the row has no subject (the column {columns.subject!r} is "
            f"{'empty' if not row.cells[columns.subject] else repr(row.cells[columns.subject])})."
        )
    return Visit(
        subject=subject,
        session=(known[columns.session] if columns.session else None) or "",
        split=_split(known[columns.split]) if columns.split else None,
        volumes={
            modality: with_series(volume_place(cell, path.parent), known.get(columns.series.get(modality, "")))
            for modality, column in columns.volumes.items()
            if (cell := known[column]) is not None
        },
        variables={column: _value(column, known[column]) for column in columns.variables},
    )


def _value(column: str, cell: str | None) -> str | None:
    return canonical_sex(cell) or cell if cell is not None and is_sex(column) else cell


def _split(value: str | None) -> str | None:
    """Ours where it is understood; another word stays, for who needs the splits to refuse it (`split_cohort`)."""
    return None if value is None else split_word(value) or value


def _refused(rows: list[tuple[TableRow, Visit]], path: Path) -> list[RefusedRow]:
    """Rows whose names cannot be files', or would be another row's file where capitals do not count.

    Raises:
        BadInputError: two rows are of one visit.
    """
    refused: list[RefusedRow] = []
    seen: dict[str, tuple[int, Visit]] = {}
    for index, (row, visit) in enumerate(rows):
        reason = _unsafe(visit)
        line, other = seen.setdefault(key_of_file(visit), (row.line, visit))
        if reason is None and line != row.line:
            if other.name == visit.name:
                raise BadInputError(_repeated(path, line, other, row.line, visit))
            reason = (
                f"{visit.name!r} differs from {other.name!r} (line {line}) in capitals only: their files would be one"
            )
        if reason is not None:
            refused.append(RefusedRow(index, row.line, visit, reason))
    return refused


def key_of_file(visit: Visit) -> str:
    """What visits' files are told apart by on systems that do not count capitals."""
    return visit.name.casefold()


def _unsafe(visit: Visit) -> str | None:
    parts: Mapping[str, str] = {"subject": visit.subject, "session": visit.session}
    for what, text in parts.items():
        if text and (reason := unsafe_name(f"{text}_" if what == "subject" and visit.session else text)):
            return f"the {what} {text!r} cannot name a file: {reason}"
    return None if (reason := unsafe_name(visit.name)) is None else f"{visit.name!r} cannot name a file: {reason}"


def _repeated(path: Path, line: int, other: Visit, second: int, visit: Visit) -> str:
    if (other.subject, other.session) != (visit.subject, visit.session):
        return (
            f"{path.name}, lines {line} and {second}: two visits would both be named {visit.name!r}. "
            "Rename a subject or session."
        )
    return (
        f"{path.name}: {visit.name} occurs twice (lines {line} and {second}). Add a column 'session' to tell visits "
        "apart."
    )
