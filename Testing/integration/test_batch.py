"""A batch goes on after a failure, resumes, and says with its exit code how it went."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.synthesis.batch import Row, exit_code

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


def test_exit_codes():
    done, failed = Row("a", "", "done", "f"), Row("b", "", "failed", "f")
    assert [exit_code(rows) for rows in ([done], [done, failed], [failed])] == [0, 3, 1]
