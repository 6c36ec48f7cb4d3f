"""Commands that read cohort tables: an unsafe row fails alone, nothing leaves the output folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import alignment, cohort_check
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.scoring import record_path
from modality_synthesis.synthesis import batch

NAMES = ["good", "../../escape", "/absolute/escape", "a/b", "GOOD", "ok", "..", "C:evil"]
RECIPE = Path(__file__).parents[2] / "Training" / "recipes" / "demo-t1w-fdg.yaml"
UNSAFE = [index for index, name in enumerate(NAMES) if name not in ("good", "ok")]


@pytest.fixture
def cohort(tmp_path):
    """A table with good and dangerous names in a folder of its own."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for number in range(len(NAMES)):
        (folder / f"{number}.nii.gz").write_bytes(b"\x1f\x8b")
    rows = "".join(f"{name},{number}.nii.gz,{number}.nii.gz\n" for number, name in enumerate(NAMES))
    (folder / "cohort.csv").write_text("subject,T1w,CT\n" + rows)
    return folder / "cohort.csv"


@pytest.fixture
def unseen(monkeypatch):
    """Nobody looks into the volumes: they are stand-ins."""
    monkeypatch.setattr(cohort_check, "check_visit", lambda visit, request: [])


def tree(folder, without):
    """Everything in a folder but an output folder and the table's cache."""
    own = (without, folder / "a" / "b" / ".cache")
    return {path for path in folder.rglob("*") if not {*own} & {path, *path.parents}}


def run(*arguments):
    ran = CliRunner().invoke(app, [*map(str, arguments), "--progress", "json"])
    return ran.exit_code, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def test_a_batch_refuses_unsafe_rows_alone(cohort, tmp_path, monkeypatch, unseen):
    def synthesize(source, target, **_):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"volume")

    def one_after_another(work, visits, *, on_start, on_result, **_):  # worker processes would synthesize for real
        for number, visit in enumerate(visits):
            on_start(number)
            on_result(number, work(visit))

    monkeypatch.setattr(batch, "synthesize", synthesize)
    monkeypatch.setattr(batch, "parallel_map", one_after_another)
    output, before = tmp_path / "out", tree(tmp_path, tmp_path / "out")
    code, messages = run("batch", cohort, "--model", "demo-t1w-fdg", "-o", output)
    assert code == 3
    assert tree(tmp_path, output) == before
    rows = list(csv.DictReader((output / "batch.csv").open()))
    assert [row["subject"] for row in rows] == NAMES
    assert [index for index, row in enumerate(rows) if row["state"] == "failed"] == UNSAFE
    assert all(f"line {index + 2} of the table" in rows[index]["message"] for index in UNSAFE)
    states = {message["row"]: message["state"] for message in messages if "row" in message}
    assert [index for index in sorted(states) if states[index] == "failed"] == UNSAFE
    assert {path.name for path in output.iterdir()} == {"good", "ok", "batch.csv", "qc.tsv"}


def test_an_alignment_refuses_unsafe_rows_alone(cohort, tmp_path, monkeypatch, unseen):
    def align(visit, folder, fixed, moving, affine):
        return [alignment.Aligned(visit.name, name, "aligned", file="x.nii.gz") for name in moving]

    monkeypatch.setattr(alignment, "_align_visit", align)
    output, before = tmp_path / "out", tree(tmp_path, tmp_path / "out")
    code, messages = run("align", cohort, "--fixed", "CT", "--moving", "T1w", "-o", output, "--jobs", "1")
    assert code == 3
    assert (messages[-1]["aligned"], messages[-1]["failed"]) == (2, len(UNSAFE))
    assert tree(tmp_path, output) == before
    failed = [row for row in csv.DictReader((output / "alignment.csv").open()) if row["state"] == "failed"]
    assert {row["visit"] for row in failed} == {NAMES[index] for index in UNSAFE}
    assert [row["subject"] for row in csv.DictReader((output / "cohort.csv").open())] == ["good", "ok"]


def test_only_unsafe_rows_are_an_error_that_names_the_first(cohort, tmp_path):
    cohort.write_text("subject,T1w,CT\n../x,0.nii.gz,0.nii.gz\n")
    for command in (
        ("batch", cohort, "--model", "demo-t1w-fdg"),
        ("align", cohort, "--fixed", "CT", "--moving", "T1w"),
        ("evaluate", cohort, "--model", "demo-t1w-fdg"),
        ("evaluate", cohort, "--synthetic", "made", "--to", "FDG-PET"),
        ("train", RECIPE, "--accelerator", "cpu", "--cohort", cohort),
        ("train", RECIPE, "--accelerator", "cpu", "--folds", "3", "--cohort", cohort),
    ):
        code, messages = run(*command, "-o", tmp_path / "out")
        assert code == 1
        assert "line 2 of the table: the subject '../x' cannot name a file" in messages[-1]["message"]
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("batch", "{}", "--model", "demo-t1w-fdg", "-o", "out"),
        ("align", "{}", "--fixed", "CT", "--moving", "T1w", "-o", "out"),
        ("evaluate", "{}", "--model", "demo-t1w-fdg", "-o", "out"),
    ],
)
def test_a_folder_given_as_a_table_names_the_command_that_writes_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bids").mkdir()
    code, messages = run(*(part.format("bids") for part in command))
    assert code == 1
    assert "modality-synthesis cohort bids -o cohort.tsv" in messages[-1]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["bids"]


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "..", "x\0", ""])
def test_no_path_built_from_a_name_leaves_its_folder(tmp_path, name):
    """Also for visits that no table went through."""
    with pytest.raises(BadInputError, match="cannot name a file"):
        record_path(tmp_path, name)
    package = SimpleNamespace(card=SimpleNamespace(route=SimpleNamespace(source="T1w", target="FDG-PET")))
    with pytest.raises(BadInputError, match="cannot name a file"):
        batch._files(Visit(name), tmp_path, package, 1)
    with pytest.raises(BadInputError, match="cannot name a file"):
        alignment._files(Visit(name), "T1w")
    assert list(tmp_path.iterdir()) == []
