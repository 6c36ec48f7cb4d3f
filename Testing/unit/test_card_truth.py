"""A model's card tells the truth about its data: what the cohort is, not what the recipe's author had."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.datasets.simulated import is_simulated
from modality_synthesis.datasets.splits import split_cohort
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.training import folds, read_recipe
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.run import TrainingResult
from modality_synthesis.training.truth import cohort_facts, truthful
from modality_synthesis.volumes import write_image

RECIPES = Path(__file__).parents[2] / "Training" / "recipes"
SPLITS = {"a": "train", "b": "train", "c": "validation", "d": "test"}
# Of a demonstration's recipe nothing but these is about its data.
OWN_TEXT = [
    "package.id=mine", "package.name=Mine", "package.badge=research", "package.simulated=false",
    "package.data=Patients of our clinic", "package.access=On request", "package.limits=[One clinic only.]",
]  # fmt: skip


@pytest.fixture
def cohort(tmp_path):
    """A function: a cohort of five visits of four people; `simulated` names the people whose volumes are marked."""

    def make(simulated: str = "", *, mark: str = "header", column: str | None = None):
        rows = []
        for subject, session in (("a", "1"), ("a", "2"), ("b", ""), ("c", ""), ("d", "")):
            row = {"subject": subject, "session": session, "split": SPLITS[subject]}
            for modality in ("T1w", "FDG-PET"):
                path = tmp_path / f"{subject}{session}_{modality}.nii.gz"
                image = sitk.GetImageFromArray(np.arange(64, dtype=np.float32).reshape(4, 4, 4))
                marked = subject in simulated
                write_image(image, path, description="simulated" if marked and mark == "header" else "a scan")
                if marked and mark == "sidecar":
                    path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"Simulated": true}')
                row[modality] = path.name
            rows.append(row | ({} if column is None else {"simulated": column}))
        table = tmp_path / "cohort.csv"
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        table.write_text("\n".join(",".join(line) for line in lines) + "\n")
        return read_cohort(table)

    return make


def packaged(recipe, table, reporter=None):
    """The card's statements after `train` has looked at the cohort."""
    split = split_cohort(table, seed=1)
    corrected = truthful(recipe, cohort_facts(recipe, table, split), reporter)
    return card_facts(corrected, split, 1.0, cohort=table, stochastic=False)


@pytest.mark.parametrize("name", ["demo-t1w-fdg", "pasta-small"])
def test_a_demonstration_s_text_is_refused_over_a_real_cohort(cohort, name):
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    with pytest.raises(BadInputError) as refusal:
        packaged(recipe, cohort())
    text = str(refusal.value)
    for part in (name, "none of the 5 visits", "cohort.csv", "package.limits.0", "package.data", "package.simulated"):
        assert part in text
    assert text.count("\n") == 0
    card = packaged(read_recipe(RECIPES / f"{name}.yaml", OWN_TEXT), cohort())
    assert card["training"]["simulated"] is False
    assert card["training"]["data"] == "Patients of our clinic"


def test_train_refuses_it_before_anything_is_written(cohort, tmp_path):
    table, run = cohort(), tmp_path / "run"
    arguments = ["train", str(RECIPES / "demo-t1w-fdg.yaml"), "--cohort", str(table.path), "-o", str(run)]
    result = CliRunner().invoke(app, [*arguments, "--accelerator", "cpu"])
    assert result.exit_code == 1
    assert "package.limits.0" in result.stderr
    assert not run.exists()


def test_a_demonstration_over_a_simulated_cohort_keeps_its_text(cohort):
    recipe, reporter = read_recipe(RECIPES / "demo-t1w-fdg.yaml"), Reporter()
    card = packaged(recipe, cohort("abcd"), reporter)
    assert card["training"]["data"] == recipe.package.data
    assert card["training"]["simulated"] is True
    assert reporter.findings == []


@pytest.mark.parametrize("mark", ["header", "sidecar"])
def test_a_research_recipe_over_a_simulated_cohort_says_simulated(cohort, mark):
    reporter = Reporter()
    card = packaged(read_recipe(RECIPES / "pasta-adni-like.yaml"), cohort("abcd", mark=mark), reporter)
    assert card["training"]["simulated"] is True
    assert card["badge"] == "demonstration"
    assert "simulated cohort cohort.csv" in card["training"]["data"]
    assert "ADNI" not in card["training"]["access"]
    assert card["limits"][0] == "Trained on simulated images only; it has never seen a real T1w or FDG-PET."
    assert [found.code for found in reporter.findings] == ["card-data"]


@pytest.mark.parametrize("simulated", ["", "a"])
def test_a_recipe_for_a_simulated_cohort_is_refused_over_another_whatever_its_words(cohort, simulated):
    """`It has never seen a real PET` says so too, without the word."""
    words = ["package.limits=[It has never seen a real PET.]", "package.data=Heads of a phantom"]
    recipe = read_recipe(RECIPES / "demo-t1w-fdg.yaml", [*OWN_TEXT, *words, "package.simulated=true"])
    with pytest.raises(BadInputError, match=r"Change package\.data, package\.simulated to what is true"):
        packaged(recipe, cohort(simulated))


def test_data_that_were_never_simulated_are_corrected_and_said(cohort):
    reporter = Reporter()
    card = packaged(
        read_recipe(RECIPES / "demo-t1w-fdg.yaml", [*OWN_TEXT, "package.data=simulated heads"]), cohort(), reporter
    )
    assert card["training"]["simulated"] is False
    assert card["training"]["data"] == "The cohort cohort.csv"
    assert "package.data" in reporter.findings[0].message


def test_a_mixed_cohort_is_counted(cohort):
    card = packaged(read_recipe(RECIPES / "pasta-adni-like.yaml"), cohort("a"))
    assert card["training"]["simulated"] is False
    assert card["training"]["data"].endswith("; 2 of 5 visits were simulated")
    assert card["training"]["cohort"] == {
        "table": "cohort.csv",
        "people": {"train": 2, "validation": 1, "test": 1},
        "visits": {"train": 3, "validation": 1, "test": 1},
        "simulated_visits": 2,
    }


def test_visits_that_were_left_out_do_not_count(cohort):
    table = cohort("a")
    recipe, split = read_recipe(RECIPES / "pasta-adni-like.yaml"), split_cohort(table, seed=1)
    card = card_facts(recipe, split, 1.0, cohort=table, left_out=["a_2", "d"], stochastic=False)
    assert card["training"]["cohort"] == {
        "table": "cohort.csv",
        "people": {"train": 2, "validation": 1, "test": 0},
        "visits": {"train": 2, "validation": 1, "test": 0},
        "simulated_visits": 1,
    }


@pytest.mark.parametrize(("column", "simulated"), [("yes", True), ("no", False)])
def test_a_column_says_more_than_the_files(cohort, column, simulated):
    table = cohort("abcd", column=column)
    assert all(is_simulated(visit, ("T1w", "FDG-PET")) is simulated for visit in table)


def test_a_dataset_s_description_marks_its_volumes(cohort, tmp_path):
    table = cohort()
    assert not any(is_simulated(visit, ("T1w",)) for visit in table)
    inner = tmp_path / "inner" / "sub-1" / "anat"
    inner.mkdir(parents=True)
    (tmp_path / "inner" / "dataset_description.json").write_text(json.dumps({"Simulated": True}))
    image = sitk.ReadImage(str(table.visits[0].volumes["T1w"]))
    write_image(image, inner / "sub-1_T1w.nii.gz")
    visit = type(table.visits[0])("x", volumes={"T1w": inner / "sub-1_T1w.nii.gz"})
    assert is_simulated(visit, ("T1w",))


def test_what_is_odd_about_a_table_is_said_once_for_all_folds(cohort, tmp_path, monkeypatch):
    """Each fold reads the table again."""
    table = cohort().path
    table.write_text(table.read_text().replace("subject,session,split", "subject,session,Splitt"))
    heard: list[str] = []

    class Listening(Reporter):
        def emit_warning(self, message: str) -> None:
            heard.append(message)

        def emit_finding(self, finding: Finding) -> None:
            heard.append(finding.code)

    def train(recipe, folder, *, cohort, reporter, **_):
        reporter.finding(Finding("odd-table", "look", "The table is odd.", "Look at it."))
        read_cohort(cohort, reporter)
        return TrainingResult(folder, None)

    monkeypatch.setattr(folds, "train", train)
    recipe = read_recipe(RECIPES / "pasta-adni-like.yaml")
    folds.train_folds(recipe, tmp_path / "runs", 4, cohort=table, reporter=Listening())
    assert {"odd-table", "The table is odd. Look at it."} <= set(heard)
    assert len(heard) == len(set(heard)), heard
