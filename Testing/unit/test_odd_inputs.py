"""Odd inputs of the smaller commands: each is told in one line by what it is, with the right exit code."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis.cli import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: a ball, half of it, the same ball far away, a text."""
    monkeypatch.chdir(tmp_path)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
    ball = ((z**2 + y**2 + x**2) < 0.7) * (1 + 0.2 * np.sin(5 * x))
    half = np.where(z < 0, np.nan, ball)
    for name, values, origin in (("ball", ball, 0), ("half", half, 0), ("mask", ball > 0, 0), ("far", ball, 5000)):
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.SetSpacing((6.0, 6.0, 6.0))
        image.SetOrigin((origin, 0.0, 0.0))
        sitk.WriteImage(image, f"{name}.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def run(line: str):
    return CliRunner().invoke(app, shlex.split(line))


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("figures profile CT=ball.nii.gz T1w=far.nii.gz -o p.png", 1, "does not cross 'T1w'"),
        ("report notes.txt", 1, "notes.txt is no folder"),
        ("sample -o notes.txt/head.nii.gz", 1, "head.nii.gz cannot be written to notes.txt"),
        ("export notes.txt -o dicom", 1, "notes.txt is not a volume"),
        ("models install https://", 1, "https:// could not be downloaded: no host given"),
        ("models install notes.txt", 1, "notes.txt is not an intact zip file"),
        ("models list --to PET", 2, "Did you mean"),
        ("recipes copy demo-pasta -o notes.txt/mine", 2, "notes.txt is a file"),
        ("simulate -n 3 -o notes.txt", 2, "notes.txt is a file"),
    ],
)
def test_what_cannot_be_used_is_told_by_what_it_is(folder, line, code, told):
    before = {path.name for path in folder.iterdir()}
    ran = run(line)
    assert ran.exit_code == code, ran.stderr
    assert told in ran.stderr
    assert "Unexpected error" not in ran.stderr
    assert {path.name for path in folder.iterdir()} == before


def test_slices_say_how_much_of_the_mask_they_could_score(folder):
    ran = run("figures slices half.nii.gz ball.nii.gz --mask mask.nii.gz --range 0,2 -o s.json")
    assert ran.exit_code == 0
    assert "The two volumes hold something in 50 % of the mask only" in ran.stderr
    assert json.loads((folder / "s.json").read_text())["covered_percent"] == pytest.approx(50, abs=1)


def test_a_name_in_another_script_draws_without_a_word(folder):
    (folder / "ball.nii.gz").rename(folder / "\u5c71.nii.gz")
    ran = run('figures profile "\u5c71=\u5c71.nii.gz" -o "\u5c71 p.png"')
    assert ran.exit_code == 0, ran.stderr
    assert ran.stderr.strip() == ""
    assert (folder / "\u5c71 p.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_that_is_none_is_told_without_its_pattern(folder):
    record = {"SyntheticData": True, "Model": {"id": "m", "version": "one"}}
    (folder / "ball.json").write_text(json.dumps(record))
    ran = run("export ball.nii.gz -o dicom")
    assert ran.exit_code == 1
    assert "Model.version: 'one' is not written as it should be" in ran.stderr
