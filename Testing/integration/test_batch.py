"""A batch goes on after a failure, resumes, and says with its exit code how it went."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets.alignment import Aligned
from modality_synthesis.evaluation.batch_page import write_batch_page
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.synthesis.batch import Row
from modality_synthesis.volumes import sidecar_path

from .conftest import MINI_RECIPE


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An untrained mini model: batches do not care how good it is."""
    card = {name: MINI_RECIPE[name] for name in ("route", "generator", "inference", "preprocessing", "output")}
    facts = {
        key: MINI_RECIPE["package"][key]
        for key in ("id", "name", "badge", "licence", "intended_use", "limits", "citation")
    }
    training = {"data": "none", "simulated": True, "subjects": {"train": 0, "validation": 0}}
    generator = build_generator("residual-unet", MINI_RECIPE["generator"]["parameters"])
    folder = tmp_path_factory.mktemp("models") / "mini"
    return write_package(folder, {**card, **facts, "version": "1.0.0", "training": training}, generator.package_state())


def run(cohort, package, folder, *more):
    arguments = ["batch", str(cohort), "--model", str(package.folder), "-o", str(folder), "--progress", "json", *more]
    result = CliRunner().invoke(app, arguments)
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def test_a_broken_row_does_not_stop_the_others_and_resume_does_the_rest(mini_cohort, package, tmp_path):
    rows = list(csv.DictReader(mini_cohort.open()))[:3]
    for row in rows:
        row["T1w"] = str(mini_cohort.parent / row["T1w"])
    table = tmp_path / "cohort.csv"

    def write(broken: bool) -> None:
        with table.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["subject", "T1w"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows([rows[0], {**rows[1], "T1w": "missing.nii.gz"} if broken else rows[1], rows[2]])

    write(broken=True)
    result, messages = run(table, package, tmp_path / "out")
    assert result.exit_code == 3
    states = [(message["row"], message["state"]) for message in messages if "row" in message]
    # What cannot be used is told before anything is computed.
    assert states == [(1, "failed"), (0, "running"), (0, "done"), (2, "running"), (2, "done")]
    booked = list(csv.DictReader((tmp_path / "out" / "batch.csv").open()))
    assert [row["state"] for row in booked] == ["done", "failed", "done"]
    assert "missing.nii.gz" in booked[1]["message"]
    made = tmp_path / "out" / booked[0]["file"]
    assert made.exists()
    before = made.stat().st_mtime_ns

    write(broken=False)
    result, messages = run(table, package, tmp_path / "out", "--resume")
    assert result.exit_code == 0
    assert messages[-1]["skipped"] == 2
    assert messages[-1]["done"] == 1
    assert made.stat().st_mtime_ns == before


@pytest.mark.parametrize(("states", "code"), [("dd", 0), ("df", 3), ("ff", 1)])
def test_exit_codes(package, monkeypatch, tmp_path, states, code):
    rows = [Row(str(number), "", {"d": "done", "f": "failed"}[state], "f") for number, state in enumerate(states)]
    monkeypatch.setattr("modality_synthesis.synthesis.batch.synthesize_batch", lambda *_, **__: rows)
    (tmp_path / "x.csv").write_text("subject,T1w\n")
    command = ["batch", str(tmp_path / "x.csv"), "--model", str(package.folder), "-o", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == code


@pytest.mark.parametrize(("states", "code"), [("aa", 0), ("af", 3), ("ar", 3)])
def test_align_ends_like_batch(monkeypatch, tmp_path, states, code):
    names = {"a": "aligned", "f": "failed", "r": "rejected"}
    rows = [Aligned(f"sub-{number}", "T1w", names[state]) for number, state in enumerate(states)]
    monkeypatch.setattr("modality_synthesis.datasets.alignment.align_cohort", lambda *_, **__: rows)
    (tmp_path / "x.csv").write_text("subject,CT,T1w\n")
    command = ["align", str(tmp_path / "x.csv"), "--fixed", "CT", "--moving", "T1w", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == code


def test_previews_and_a_page_to_look_through_them(mini_cohort, package, tmp_path):
    rows = list(csv.DictReader(mini_cohort.open()))[:1]
    table = tmp_path / "cohort.csv"
    table.write_text(f"subject,T1w\nsub-1,{mini_cohort.parent / rows[0]['T1w']}\nsub-2,missing.nii.gz\n")
    result, messages = run(table, package, tmp_path / "out", "--preview")
    assert result.exit_code == 3
    page = (tmp_path / "out" / "batch.html").read_text(encoding="utf-8")
    assert messages[-1]["files"]["page"] == str(tmp_path / "out" / "batch.html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {Path(link).suffix for link in links} == {".png", ".gz", ".json"}
    assert all((tmp_path / "out" / link).is_file() for link in links)
    assert "missing.nii.gz" in page
    picture = tmp_path / "out" / "sub-1" / "sub-1_FDG-PET.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A picture that is missing is made again, although the volume is there.
    picture.unlink()
    run(table, package, tmp_path / "out", "--preview", "--resume")
    assert picture.exists()


def test_the_page_is_static_and_escapes_what_it_shows(tmp_path):
    name = 'sub-<b>"1&#\u00e9'
    volume = tmp_path / name / f"{name} x_FDG-PET.nii.gz"
    volume.parent.mkdir()
    for file in (volume, volume.with_name(volume.name.replace(".nii.gz", ".png"))):
        file.write_bytes(b"x")
    finding = {"code": "contrast", "level": "look", "message": "<script>alert(1)</script>", "action": "Look."}
    record = {"Model": {"id": "mini", "version": "1"}, "Findings": [finding], "Quality": {"dice": 0.9}}
    sidecar_path(volume).write_text(json.dumps(record))
    rows = [
        Row(name, "", "done", str(volume.relative_to(tmp_path))),
        Row("<i>2", "b", "failed", "2/2.nii.gz", "why <img src=x>"),
    ]
    page = write_batch_page(tmp_path, rows).read_text(encoding="utf-8")
    for raw in ("<script", "<b>", "<i>2", "<img src=x"):
        assert raw not in page
    assert "&lt;script&gt;" in page
    assert 'class="look"' in page
    assert "dice 0.9" in page
    links = [unquote(link) for link in re.findall(r'(?:src|href)="([^"]+)"', page)]
    assert len(links) == 4
    assert all((tmp_path / link).is_file() for link in links)
    assert not re.search(r"https?://|//", "".join(links))


@pytest.fixture(scope="module")
def clinical_package(tmp_path_factory):
    """The mini model with a clinical variable, which it ignores: what counts is that the record states it."""
    card = {name: MINI_RECIPE[name] for name in ("route", "generator", "inference", "preprocessing", "output")}
    facts = {
        key: MINI_RECIPE["package"][key]
        for key in ("id", "name", "badge", "licence", "intended_use", "limits", "citation")
    }
    variables = [
        {"name": "mmse", "label": "MMSE", "kind": "number", "minimum": 0, "maximum": 30, "mean": 25.0, "std": 4.0}
    ]
    training = {"data": "none", "simulated": True, "subjects": {"train": 0, "validation": 0}}
    generator = build_generator("residual-unet", MINI_RECIPE["generator"]["parameters"])
    content = {**card, **facts, "version": "1.0.0", "training": training, "clinical_variables": variables}
    return write_package(tmp_path_factory.mktemp("models") / "mini", content, generator.package_state())


@pytest.mark.long
def test_resume_makes_again_what_was_made_from_anything_else(mini_cohort, clinical_package, tmp_path, monkeypatch):
    from modality_synthesis import fingerprint
    from modality_synthesis.models import open_package

    row = next(csv.DictReader(mini_cohort.open()))
    source = tmp_path / "t1.nii.gz"
    source.write_bytes((mini_cohort.parent / row["T1w"]).read_bytes())

    def again(*more, mmse="12", package=clinical_package):
        table = tmp_path / "cohort.csv"
        table.write_text(f"subject,T1w,mmse\nA,t1.nii.gz,{mmse}\n")
        result, messages = run(table, package, tmp_path / "out", *more)
        assert result.exit_code == 0, result.output
        return "skipped" if messages[-1]["skipped"] else "done"

    record = tmp_path / "out" / "A" / "A_FDG-PET.json"
    volume = tmp_path / "out" / "A" / "A_FDG-PET.nii.gz"
    assert again() == "done"
    assert again("--resume") == "skipped"
    # A clinical value that was corrected.
    assert again("--resume", mmse="29") == "done"
    assert json.loads(record.read_text())["Parameters"]["clinical"] == {"mmse": "29"}
    assert again("--resume", mmse="29") == "skipped"
    # Another seed.
    assert again("--resume", "--seed", "3", mmse="29") == "done"
    assert json.loads(record.read_text())["Parameters"]["seed"] == 3
    assert again("--resume", "--seed", "3", mmse="29") == "skipped"
    # A result that was changed since, or is not whole.
    good = volume.read_bytes()
    volume.write_bytes(good[:-100])
    assert again("--resume", "--seed", "3", mmse="29") == "done"
    assert volume.read_bytes() == good
    # The card alone: other limits of the display, the same weights.
    card = clinical_package.folder / "model.json"
    before = card.read_text()
    try:
        card.write_text(
            before.replace('"display_window": [\n      0.0,\n      2.0', '"display_window": [\n      0.0,\n      3.0')
        )
        assert card.read_text() != before
        changed = open_package(clinical_package.folder)
        assert again("--resume", "--seed", "3", mmse="29", package=changed) == "done"
        assert json.loads(record.read_text())["DisplayWindow"] == [0.0, 3.0]
    finally:
        card.write_text(before)
    assert again("--resume", "--seed", "3", mmse="29") == "done"
    # A program whose results differ.
    monkeypatch.setattr(fingerprint, "RESULTS_VERSION", 10_000)
    assert again("--resume", "--seed", "3", mmse="29") == "done"
    monkeypatch.undo()
    # Another source under the same name.
    other = list(csv.DictReader(mini_cohort.open()))[1]
    again("--seed", "3", mmse="29")
    source.write_bytes((mini_cohort.parent / other["T1w"]).read_bytes())
    assert again("--resume", "--seed", "3", mmse="29") == "done"


def test_a_row_that_a_person_rejected_is_not_run_and_says_so(mini_cohort, package, tmp_path):
    rows = list(csv.DictReader(mini_cohort.open()))[:2]
    table = tmp_path / "cohort.csv"
    table.write_text("subject,T1w\n" + "".join(f"{row['subject']},{mini_cohort.parent / row['T1w']}\n" for row in rows))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "qc.tsv").write_text(f"subject\tdecision\n{rows[1]['subject']}\treject\n")
    result, _ = run(table, package, tmp_path / "out")
    assert result.exit_code == 3
    booked = list(csv.DictReader((tmp_path / "out" / "batch.csv").open()))
    assert [(row["state"], row["message"]) for row in booked] == [("done", booked[0]["message"]),
                                                                  ("failed", "rejected in qc.tsv")]  # fmt: skip
    kept = list(csv.DictReader((tmp_path / "out" / "qc.tsv").open(), delimiter="\t"))
    assert "reject" in {row["decision"] for row in kept if row["subject"] == rows[1]["subject"]}
