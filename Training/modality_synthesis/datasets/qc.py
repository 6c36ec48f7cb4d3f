"""`qc.tsv`: what was found in a cohort's volumes, and what a person decided about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.findings import Finding
from modality_synthesis.tables import key, read_table
from modality_synthesis.volumes import write_rows

TABLE = "qc.tsv"
COLUMNS = ("subject", "session", "modality", "code", "level", "message", "value", "decision")
DECISIONS = ("", "accept", "reject")
# With these there is nothing that could be used, whatever a person decides.
FATAL = frozenset({"missing", "unreadable", "not-prepared"})
CHECKED = "checked"
Key = tuple[str, str]


@dataclass(frozen=True)
class QcRow:
    """One finding about one volume, and the user's decision (empty, accept or reject)."""

    subject: str
    session: str
    modality: str
    code: str
    level: str
    message: str
    value: str = ""
    decision: str = ""

    @classmethod
    def of(cls, visit: Visit, modality: str, finding: Finding) -> QcRow:
        """A finding as a row."""
        value = "" if finding.value is None else f"{finding.value:.6g}"
        text = " ".join(finding.text.split())
        return cls(visit.subject, visit.session, modality, finding.code, finding.level, text, value)

    @property
    def visit(self) -> Key:
        """Whose."""
        return self.subject, self.session

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What a decision belongs to."""
        return self.subject, self.session, self.modality, self.code

    @property
    def leaves_out(self) -> bool:
        """Whether the visit is not used because of this row."""
        if self.decision == "reject":
            return True
        return self.level == "refuse" and (self.code in FATAL or self.decision != "accept")


@dataclass(frozen=True)
class Decisions:
    """What the user wrote into the column `decision`.

    Attributes:
        rows: with a decision.
    """

    rows: tuple[QcRow, ...] = ()

    @classmethod
    def read(cls, *paths: Path) -> Decisions:
        """From one or more tables; the later ones win. Tables that are not there decide nothing.

        Raises:
            BadInputError: a table that cannot be read, or a decision that is neither accept nor reject.
        """
        found: dict[tuple[str, str, str, str], QcRow] = {}
        for path in paths:
            found.update({row.place: row for row in read_rows(path) if row.decision})
        return cls(tuple(found.values()))

    def applied(self, rows: Iterable[QcRow]) -> list[QcRow]:
        """The rows with their decisions. Whoever rejects a visit by a row of his own rejects it too."""
        decided = {row.place: row.decision for row in self.rows}
        return [replace(row, decision=decided.get(row.place, row.decision)) for row in rows]

    def rejects(self, visit: Visit) -> bool:
        """Whether any row rejects the visit."""
        return any(row.decision == "reject" and row.visit == (visit.subject, visit.session) for row in self.rows)

    def accepted(self, visit: Visit, modality: str) -> frozenset[str]:
        """The codes accepted for a visit's volume."""
        place = (visit.subject, visit.session, modality)
        return frozenset(row.code for row in self.rows if row.decision == "accept" and row.place[:3] == place)


def read_rows(path: Path) -> list[QcRow]:
    """The rows of a table; none when there is no table.

    Raises:
        BadInputError: it cannot be read, lacks columns, or holds an unknown decision.
    """
    if not path.exists():
        return []
    table = read_table(path, "qc table", COLUMNS)
    own = {name: table.column(name) for name in COLUMNS}
    if own["subject"] is None or own["decision"] is None:
        raise BadInputError(f"{path}: a qc table has the columns {', '.join(COLUMNS)}. Correct it, or delete it.")
    rows = []
    for row in table.rows:
        known = {name: "" if column is None else row.cells[column] for name, column in own.items()}
        known["decision"] = known["decision"].lower()
        if known["decision"] not in DECISIONS:
            raise BadInputError(
                f"{path}, line {row.line}: the decision {known['decision']!r} is neither accept nor reject nor empty."
            )
        rows.append(QcRow(**known))
    return rows


def refuse_foreign_qc(path: Path) -> None:
    """Before anything is computed: a table in the place of `qc.tsv` whose other columns would be lost is kept.

    Raises:
        BadInputError: no table of decisions.
        UsageError: it has columns that this program does not write.
    """
    if not path.exists():
        return
    read_rows(path)
    known = {key(name) for name in COLUMNS}
    others = [name for name in read_table(path, "qc table", COLUMNS).columns if key(name) not in known]
    if others:
        raise UsageError(
            f"{path} is there already and has the column(s) {', '.join(others)}, which a qc table does not have; they "
            "would be lost. Move that file, or remove the columns."
        )


def write_qc(path: Path, rows: Sequence[QcRow], screened: Iterable[Key]) -> None:
    """Write the table anew; what the user decided stays, and so do the rows of visits that were not looked at.

    Args:
        path: of the table.
        rows: what was found, with the decisions already applied.
        screened: subject and session of every visit that was looked at.
    """
    seen = set(screened)
    found = {row.place: row for row in rows}
    kept = [row for row in read_rows(path) if row.place not in found and (row.visit not in seen or row.decision)]
    together = [*found.values(), *kept]
    order: Mapping[Key, int] = {key: number for number, key in enumerate(dict.fromkeys(row.visit for row in together))}
    together.sort(key=lambda row: order[row.visit])
    write_rows(path, [asdict(row) for row in together], digits=None, delimiter="\t")


@dataclass
class Findings:
    """Everything found about a cohort's visits so far, with the decisions.

    Attributes:
        decisions: of the user.
        rows: per visit; a visit without findings has none.
    """

    decisions: Decisions = field(default_factory=Decisions)
    rows: dict[Key, list[QcRow]] = field(default_factory=dict)

    def add(self, visit: Visit, noted: Iterable[tuple[str, Finding]]) -> None:
        """Book (modality, finding) pairs; each code counts once per volume, the later one wins."""
        kept = self.rows.setdefault((visit.subject, visit.session), [])
        for modality, finding in noted:
            row = QcRow.of(visit, modality, finding)
            kept[:] = [old for old in kept if old.place != row.place]
            kept += self.decisions.applied([row])

    def of(self, visit: Visit) -> Sequence[QcRow]:
        """What was found about a visit, `ok` included."""
        return self.rows.get((visit.subject, visit.session), ())

    def drop(self, code: str) -> None:
        """Forget all findings of a code."""
        for own in self.rows.values():
            own[:] = [row for row in own if row.code != code]

    def is_usable(self, visit: Visit) -> bool:
        """Whether the visit may be used."""
        return not self.decisions.rejects(visit) and not any(row.leaves_out for row in self.of(visit))

    def reasons(self, visit: Visit) -> list[str]:
        """Why the visit is left out."""
        reasons = [row.message for row in self.of(visit) if row.leaves_out]
        return reasons or (["rejected in qc.tsv"] if self.decisions.rejects(visit) else [])

    def table(self) -> list[QcRow]:
        """What `qc.tsv` holds: every finding that is not `ok`, and a row for each visit without any."""
        rows: list[QcRow] = []
        for (subject, session), own in self.rows.items():
            shown = [row for row in own if row.level != "ok"]
            fine = QcRow(subject, session, "", CHECKED, "ok", "nothing to say")
            rows += shown or self.decisions.applied([fine])
        return rows
