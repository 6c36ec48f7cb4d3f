"""Clinical values of a BIDS dataset, by participant and session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modality_synthesis.datasets.tally import Tally
from modality_synthesis.modalities import MODALITIES
from modality_synthesis.models.clinical_words import names_of
from modality_synthesis.tables import SESSION, SUBJECT, Table, is_unknown, key, read_table
from modality_synthesis.tables.words import person_key, session_key

# What does not change between visits: it may be taken from a row of another session.
_LASTING = {
    word for name in ("sex", "education", "apoe4", "handedness", "race", "ethnicity") for word in names_of(name)
}
_WHAT = "table of a BIDS dataset"


def people_tables(folder: Path) -> list[Path]:
    """The tables of people of a dataset: those of everybody in the order they count, then the subjects' own."""
    everybody = [folder / "participants.tsv", folder / "sessions.tsv", *sorted((folder / "phenotype").glob("*.tsv"))]
    own = [path / f"{path.name}_sessions.tsv" for path in sorted(folder.glob("sub-*"))]
    return [path for path in (*everybody, *own) if path.is_file()]


@dataclass
class People:
    """Clinical values of the visits of a dataset.

    Args:
        sessions: of each subject's folder, the sessions' folders; "" where volumes lie in none.
        tally: receives what could not be placed.
    """

    sessions: Mapping[str, Sequence[str]]
    tally: Tally
    values: dict[tuple[str, str], dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    _spelled: dict[str, str] = field(default_factory=dict)

    def read(self, folder: Path) -> None:
        """Read participants.tsv, sessions.tsv, phenotype/*.tsv and sub-*/sub-*_sessions.tsv.

        Later ones count more, and a row of a session more than a row of the person. Ids are matched with or without
        `sub-`, `ses-` and zeros in front where that is unique.

        Args:
            folder: of the dataset.

        Raises:
            BadInputError: a table that cannot be read.
        """
        for path in people_tables(folder):
            table = read_table(path, _WHAT, (*SUBJECT, *SESSION))
            if path.parent.name in self.sessions:
                self._add(table, path.parent.name, [row.cells for row in table.rows])
            elif path.parent.name == "phenotype" or path.parent == folder:
                self._add_people(table)

    def _add_people(self, table: Table) -> None:
        name, who = table.path.name, table.column("participant_id", *SUBJECT)
        if who is None:
            self.tally.add("bids-people", "Tables without a column participant_id are not used", name)
            return
        rows: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in table.rows:
            if not is_unknown(row.cells[who]):
                rows[row.cells[who]].append(row.cells)
        place, strangers = match_ids(rows, list(self.sessions), person_key)
        for one in strangers:
            what = f"{name} names people who are no folder's for certain"
            self.tally.add("bids-people", what, one, "Write their ids as the folders are named.")
        for subject in sorted(self.sessions.keys() - place.values()):
            self.tally.add("bids-people", f"{name} says nothing of people who have a folder", subject)
        for one, subject in place.items():
            self._add(table, subject, [{**cells, who: ""} for cells in rows[one]])

    def _add(self, table: Table, subject: str, rows: Sequence[dict[str, str]]) -> None:
        """Place the rows of one person."""
        name, when = table.path.name, table.column(*SESSION)
        named = ["" if when is None or is_unknown(row[when]) else row[when] for row in rows]
        place, unknown = match_ids(filter(None, named), self.sessions[subject], session_key)
        if any(self.sessions[subject]):
            for session in unknown:
                self.tally.add("bids-sessions", f"{name} has sessions that have no volumes", f"{subject} {session}")
        ours = {key(column) for column in (*SUBJECT[:2], *SESSION, *MODALITIES, when or "")}
        columns = [column for column in table.columns if key(column) not in ours and column not in SUBJECT]
        for session in self.sessions[subject]:
            own = [row for row, one in zip(rows, named, strict=True) if one and place.get(one) == session]
            # Without sessions' folders a row's session says nothing.
            general = [row for row, one in zip(rows, named, strict=True) if not one or not session]
            lasting = [column for column in columns if key(column) in _LASTING]
            cells: dict[str, str] = {}
            for group, wanted in ((rows, lasting), (general, columns), (own, columns)):
                found, differing = _common(group, wanted)
                cells |= found
                if differing and group is not rows:
                    what = f"{name} has several rows a visit that differ, and those values stay empty"
                    self.tally.add("bids-rows", what, f"{subject} {session}".strip(), "Add a column session_id.")
            values = {self.spelling(column): cells[column] for column in columns if column in cells}
            self.values[subject, session].update(values)

    def spelling(self, column: str) -> str:
        """A column as it was spelled first in the dataset."""
        return self._spelled.setdefault(key(column), column)


def _common(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Values that all rows share where they are known, and whether some differ."""
    found, differing = {}, False
    for column in columns:
        values = {row[column] for row in rows if not is_unknown(row[column])}
        if len(values) == 1:
            found[column] = values.pop()
        differing |= len(values) > 1
    return found, differing


def match_ids(
    ids: Iterable[str], folders: Sequence[str], simple: Callable[[str], str]
) -> tuple[dict[str, str], list[str]]:
    """Which id is which folder, and the ids that are none.

    An id spelled as a folder counts first; else one that is alike (`simple`), where only one folder and one id are.
    """
    wanted, known = list(dict.fromkeys(ids)), set(folders)
    place = {one: one for one in wanted if one in known}
    alike: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        alike[simple(folder)].append(folder)
    rivals: dict[str, list[str]] = defaultdict(list)
    for one in wanted:
        if one not in place:
            rivals[simple(one)].append(one)
    for word, several in rivals.items():
        if len(several) == 1 and len(alike[word]) == 1 and alike[word][0] not in place:
            place[several[0]] = alike[word][0]
    return place, [one for one in wanted if one not in place]
