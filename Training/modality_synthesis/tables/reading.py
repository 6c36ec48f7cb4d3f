"""One reader for every table: separators, quotes, comments, blank lines and decimal commas as programs write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.tables.text import read_text
from modality_synthesis.tables.words import as_number, is_unknown, key, tidy, tidy_cell

_SEPARATORS = "\t;,|"


@dataclass(frozen=True)
class TableRow:
    """One row: its line in the file (the first is 1), and every column's cell, without spaces around it."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table as read.

    Attributes:
        path: of the file.
        columns: their names as written, without spaces around them; no two mean the same.
        rows: without comments and blank lines; each has all the columns.
        separator: between the cells.
        findings: what a user must know of the reading.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    separator: str
    findings: tuple[Finding, ...] = ()

    def column(self, *names: str) -> str | None:
        """The first of the names that is a column, whatever its capitals, spaces, hyphens and underscores."""
        by_key = {key(column): column for column in self.columns}
        return next((by_key[key(name)] for name in names if key(name) in by_key), None)

    @property
    def records(self) -> list[dict[str, str]]:
        """The rows' cells."""
        return [row.cells for row in self.rows]


def read_table(path: str | Path, what: str, expected: Sequence[str] = ()) -> Table:
    """Read a CSV or TSV file.

    Understood: UTF-8, UTF-16, Windows-1252; any line ends; cells separated by commas, semicolons, tabs or bars (found
    in the header, or in Excel's line `sep=;`); quoted cells with separators and line ends in them; lines that begin
    with `#`; blank rows; a column of row numbers without a name (pandas, R); decimal commas in columns of numbers.

    Args:
        path: of the file.
        what: it is, for messages: "cohort table".
        expected: names of columns, by which the separator is recognized.

    Raises:
        BadInputError: no readable text, a row longer or shorter than the header, a column without a name, or two
            columns that mean the same.
    """
    path = Path(path)
    text = read_text(path, what)
    separator, text, skipped = _hint(text)
    lines = _Lines(text, skipped)
    header_line, header = _header(lines, path, what)
    ours = {key(name) for name in expected}
    separator = separator or _separator(header, ours)
    try:
        columns = [tidy(name) for name in _cells(header, separator)]
    except csv.Error as error:
        raise BadInputError(f"{path.name}, line {header_line}: {_reason(error)}.") from None
    parsed = [(line, cells) for line, cells in lines.records(separator, path) if any(cells)]
    kept = _named_columns(columns, parsed, path, header_line)
    _check_widths(parsed, len(columns), path, separator)
    again = next((line for line, cells in parsed if list(map(key, cells)) == list(map(key, columns))), None)
    if again is not None and len(columns) > 1:
        raise BadInputError(f"{path.name}, line {again}: the header once more. Give one table, with one header.")
    _check_names([columns[index] for index in kept], ours, path)
    rows = [TableRow(line, {columns[index]: cells[index] for index in kept}) for line, cells in parsed]
    _point_decimals([columns[index] for index in kept], rows, separator)
    return Table(path, tuple(columns[index] for index in kept), tuple(rows), separator, lines.findings(path))


def _hint(text: str) -> tuple[str | None, str, int]:
    """Excel's first line `sep=;`: the separator, the text after it and the lines that took."""
    first, _, rest = text.partition("\n")
    match = re.fullmatch(r'\s*"?sep=(\\t|.)?"?[,;|\s]*', first, re.IGNORECASE)
    if match is None:
        return None, text, 0
    return (match[1] or "\t").replace("\\t", "\t"), rest, 1


class _Lines:
    """The lines of a text as records, with the line each record begins in; comments are left out between records."""

    def __init__(self, text: str, skipped: int) -> None:
        self._lines = iter(io.StringIO(text, newline="\n"))
        self._between = True
        self.number = self.start = skipped
        self.comments: list[int] = []
        self._seen_header = False
        self._unclosed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if self._between and _is_comment(line):
                if self._seen_header:
                    self.comments.append(self.number)
                continue
            self.start = self.number if self._between else self.start
            self._between = False
            return line
        self._unclosed = not self._between
        raise StopIteration

    def header(self) -> tuple[int, str]:
        """The first line that is neither blank nor a comment; the line's number and text; 0 without one."""
        for line in self:
            if line.strip(" \t\n,;|"):
                number = self.number
                while line.count('"') % 2 and (more := next(self._lines, "")):  # a quoted line end in a name
                    line, self.number = line + more, self.number + 1
                self._between = self._seen_header = True
                return number, line
            self._between = True
        return 0, ""

    def records(self, separator: str, path: Path) -> Iterator[tuple[int, list[str]]]:
        """The first line's number and the cells of each record."""
        reader = csv.reader(self, delimiter=separator, skipinitialspace=separator != " ")
        while True:
            self._between = True
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise BadInputError(f"{path.name}, line {self.start}: {_reason(error)}.") from None
            if self._unclosed:
                raise BadInputError(f"{path.name}, line {self.start}: a quotation mark is opened and never closed.")
            yield self.start, [tidy_cell(cell) for cell in cells]

    def findings(self, path: Path) -> tuple[Finding, ...]:
        """Rows that were left out as comments."""
        if not self.comments:
            return ()
        where = ", ".join(map(str, self.comments[:5])) + (" ..." if len(self.comments) > 5 else "")
        return (
            Finding(
                "table-comments", "look",
                f"{path.name}: {len(self.comments)} line(s) below the header begin with # and are left out as comments "
                f"(line {where}).",
                value=float(len(self.comments)),
            ),
        )  # fmt: skip


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not is_unknown(line.split(",")[0].split(";")[0].split("\t")[0])


def _reason(error: csv.Error) -> str:
    if "field larger" in str(error):
        return "a cell is longer than 131072 characters; is a quotation mark not closed?"
    return "the quotation marks make no sense" if "new-line" in str(error) else str(error)


def _header(lines: _Lines, path: Path, what: str) -> tuple[int, str]:
    number, header = lines.header()
    if not number:
        raise BadInputError(f"{path.name} holds only comments: a {what} has a header and rows.")
    return number, header.rstrip("\n")


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _separator(header: str, expected: set[str]) -> str:
    """The one that finds most of the expected names in the header, and then most columns."""

    def worth(separator: str) -> tuple[int, int]:
        try:
            names = [key(name) for name in _cells(header, separator)]
        except csv.Error:
            return 0, 0
        return len(expected.intersection(names)), len(names)

    best = max(_SEPARATORS, key=worth)  # of equals the first
    return best if worth(best)[1] > 1 else ","


def _named_columns(columns: list[str], rows: list[tuple[int, list[str]]], path: Path, line: int) -> list[int]:
    """Places of the columns that have a name. One without is left out where it is empty or numbers the rows."""
    kept = []
    for index, name in enumerate(columns):
        if name:
            kept.append(index)
            continue
        cells = [cells[index] for _, cells in rows if index < len(cells)]
        numbers = [str(first + row) for first in (0, 1) for row in range(len(cells))]
        if any(cells) and cells not in (numbers[: len(cells)], numbers[len(cells) :]):
            raise BadInputError(f"{path.name}, line {line}: column {index + 1} holds values and has no name.")
    return kept


def _check_widths(rows: list[tuple[int, list[str]]], width: int, path: Path, separator: str) -> None:
    for _, cells in rows:
        while len(cells) > width and not cells[-1]:
            cells.pop()  # separators at the end of a row, as spreadsheets leave them
    wrong = [(line, len(cells)) for line, cells in rows if len(cells) != width]
    if not wrong:
        return
    (line, count), more = wrong[0], len(wrong) - 1
    hint = " Quote cells that hold a comma ('71,5')." if separator == "," and count > width else ""
    others = f" {more} more line(s) too." if more else ""
    raise BadInputError(
        f"{path.name}, line {line}: the row has {count} cells and the header {width} columns.{others}{hint}"
    )


def _check_names(columns: Sequence[str], ours: set[str], path: Path) -> None:
    """Names of ours differ in letters and digits, others ("train/l1", "amyloid+") in more than spaces and dashes."""
    seen: dict[str, str] = {}
    for column in columns:
        meaning = key(column) if key(column) in ours else re.sub(r"[\s_-]+", "", column.casefold())
        if meaning in seen:
            raise BadInputError(
                f"{path.name}: the columns {seen[meaning]!r} and {column!r} mean the same. Keep one of them."
            )
        seen[meaning] = column


def _point_decimals(columns: Sequence[str], rows: Sequence[TableRow], separator: str) -> None:
    """Write decimal commas as points, in columns in which everything known is a number."""
    read = partial(as_number, comma_is_decimal=separator == ";")
    for column in columns:
        known = [row for row in rows if not is_unknown(row.cells[column])]
        if not any("," in row.cells[column] for row in known):
            continue
        values = [read(row.cells[column]) for row in known]
        if any(value is None for value in values):
            continue
        for row in known:
            text = row.cells[column]
            row.cells[column] = text.replace(".", "").replace(",", ".") if "," in text else text
