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
    assert states == [(0, "running"), (0, "done"), (1, "running"), (1, "failed"), (2, "running"), (2, "done")]
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
def test_exit_codes(monkeypatch, tmp_path, states, code):
    rows = [Row(str(number), "", {"d": "done", "f": "failed"}[state], "f") for number, state in enumerate(states)]
    monkeypatch.setattr("modality_synthesis.synthesis.batch.synthesize_batch", lambda *_, **__: rows)
    command = ["batch", str(tmp_path / "x.csv"), "--model", "x", "-o", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == code


@pytest.mark.parametrize(("states", "code"), [("aa", 0), ("af", 3), ("ar", 3)])
def test_align_ends_like_batch(monkeypatch, tmp_path, states, code):
    names = {"a": "aligned", "f": "failed", "r": "rejected"}
    rows = [Aligned(f"sub-{number}", "T1w", names[state]) for number, state in enumerate(states)]
    monkeypatch.setattr("modality_synthesis.datasets.alignment.align_cohort", lambda *_, **__: rows)
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
