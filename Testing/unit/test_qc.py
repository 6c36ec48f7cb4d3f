"""`qc.tsv`: what a person decided holds, and is never lost."""

from __future__ import annotations

import pytest

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.cohort_check import Screening
from modality_synthesis.datasets.qc import Decisions, Findings, QcRow, read_rows, write_qc
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter

A, B, C = Visit("a", "1"), Visit("b"), Visit("c")
CONTRAST = Finding("contrast", "refuse", "x.nii.gz: not a T1w.", "Give one.", 0.83, 1.05)
GONE = Finding("missing", "refuse", "y.nii.gz is missing.")
DOUBT = Finding("target-overlap", "look", "z.nii.gz: little overlap.", "", 0.8, 0.9)


def screening(path, *tables):
    found = Screening(Findings(Decisions.read(*tables)), [A, B, C], path)
    found.findings.add(A, [("T1w", CONTRAST), ("FDG-PET", DOUBT)])
    found.findings.add(B, [("T1w", GONE)])
    found.findings.add(C, [])
    return found


def decide(path, **decisions):
    """Write decisions as a person does in a spreadsheet: by the code of the row."""
    lines = path.read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    for row in rows[1:]:
        row[-1] = decisions.get(row[3].replace("-", "_"), row[-1])
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")


def test_the_table_has_the_columns_and_a_row_per_finding_and_good_visit(tmp_path):
    path = tmp_path / "qc.tsv"
    found = screening(path)
    found.write()
    lines = path.read_text().splitlines()
    assert lines[0].split("\t") == ["subject", "session", "modality", "code", "level", "message", "value", "decision"]
    assert [(row.subject, row.session, row.code, row.level) for row in read_rows(path)] == [
        ("a", "1", "contrast", "refuse"), ("a", "1", "target-overlap", "look"), ("b", "", "missing", "refuse"),
        ("c", "", "checked", "ok"),
    ]  # fmt: skip
    assert read_rows(path)[0].value == "0.83"
    assert found.usable() == [C]
    assert found.summary() == f"2 of 3 visits left out, see {path}."


def test_accept_overrides_a_refusal_but_not_a_missing_file_and_reject_leaves_out(tmp_path):
    path = tmp_path / "qc.tsv"
    screening(path).write()
    decide(path, contrast="accept", missing="accept", checked="reject")
    again = screening(path, path)
    assert again.usable() == [A]
    assert again.findings.reasons(C) == ["rejected in qc.tsv"]
    again.write()
    kept = {row.code: row.decision for row in read_rows(path)}
    assert kept == {"contrast": "accept", "target-overlap": "", "missing": "accept", "checked": "reject"}


def test_a_doubt_can_be_rejected(tmp_path):
    path = tmp_path / "qc.tsv"
    screening(path).write()
    decide(path, contrast="accept", target_overlap="reject")
    assert screening(path, path).usable() == [C]


def test_decisions_survive_a_finding_that_went_away_and_visits_not_looked_at_stay(tmp_path):
    path = tmp_path / "qc.tsv"
    screening(path).write()
    decide(path, contrast="reject")
    later = Screening(Findings(Decisions.read(path)), [A], path)
    later.findings.add(A, [])
    assert later.usable() == []
    later.write()
    rows = {(row.subject, row.code): row.decision for row in read_rows(path)}
    assert rows[("a", "contrast")] == "reject"
    assert ("b", "missing") in rows
    assert ("c", "checked") in rows


def test_a_row_of_one_s_own_rejects_a_visit(tmp_path):
    path = tmp_path / "qc.tsv"
    path.write_text("subject\tdecision\nc\tREJECT\n")
    assert C not in screening(path, path).usable()


def test_the_run_s_table_wins_over_the_one_beside_the_cohort(tmp_path):
    beside, own = tmp_path / "qc.tsv", tmp_path / "run.tsv"
    row = QcRow("a", "1", "T1w", "contrast", "refuse", "x")
    write_qc(beside, [QcRow(**{**vars(row), "decision": "accept"})], [])
    assert A in screening(own, beside, own).usable()
    write_qc(own, [QcRow(**{**vars(row), "decision": "reject"})], [])
    assert A not in screening(own, beside, own).usable()


@pytest.mark.parametrize(
    ("text", "message"),
    [("subject\tdecision\na\tmaybe\n", "line 2.*neither accept nor reject"), ("who\twhat\n", "has the columns")],
)
def test_a_table_that_cannot_be_understood_is_refused(tmp_path, text, message):
    (tmp_path / "qc.tsv").write_text(text)
    with pytest.raises(BadInputError, match=message):
        Decisions.read(tmp_path / "qc.tsv")


def test_a_reporter_lets_pass_what_was_accepted():
    with pytest.raises(BadInputError, match="not a T1w"):
        Reporter().finding(CONTRAST)
    reporter = Reporter(accepted=frozenset({"contrast"}))
    reporter.part(0.0, 0.5).finding(CONTRAST)
    assert reporter.findings == [CONTRAST]
    assert "Accepted in qc.tsv" in reporter.warnings[0]
