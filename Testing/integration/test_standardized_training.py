"""Statistics by manufacturer and clinical variables: from the recipe to a synthetic PET."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.datasets.cache import preprocess_pairs
from modality_synthesis.evaluation import evaluate
from modality_synthesis.synthesis import synthesize
from modality_synthesis.training import train
from modality_synthesis.volumes import array

pytestmark = pytest.mark.long

OVERRIDES = [
    "preprocessing.target.standardization={by: manufacturer, fewest_subjects: 2}",
    "clinical_variables=[{name: age, label: Age, kind: number, minimum: 40, maximum: 100}]",
    "training.sampling={mode: slab, axis: coronal, thickness: 8, per_volume: 2, multiple: 8}",
    "training.epochs=1",
    "losses=[{name: mse}]",  # the slabs are thinner than the window of SSIM
]


@pytest.fixture(scope="module")
def package(mini_cohort, mini_recipe, tmp_path_factory):
    """A model trained for one epoch on slabs of two Siemens and two GE patients."""
    folder = tmp_path_factory.mktemp("standardized") / "run"
    return train(mini_recipe, folder, overrides=OVERRIDES, cohort=mini_cohort, accelerator="cpu", jobs=1).package


def pair_of(package, visit, folder):
    return preprocess_pairs([visit], "T1w", "FDG-PET", package.card.preprocessing, folder, jobs=1)[0].load()


def test_the_package_holds_what_the_training_patients_gave(package, mini_cohort):
    standardization = package.card.preprocessing.target.standardization
    assert {name: found.subjects for name, found in standardization.statistics.items()} == {"GE": 2, "Siemens": 2}
    training = read_cohort(mini_cohort).visits[:4]
    cache = mini_cohort.parent / ".cache"
    inside = []
    for visit in training:
        arrays = pair_of(package, visit, cache)
        inside.append(arrays["target"][arrays["brain"] > 0])
    for name, group in (("Siemens", inside[::2]), ("GE", inside[1::2])):
        mean = np.mean([values.mean() for values in group])
        second = np.mean([(values.astype(float) ** 2).mean() for values in group])
        found = standardization.statistics[name]
        assert (found.mean, found.std) == pytest.approx((mean, np.sqrt(second - mean**2)), rel=1e-4)
    (age,) = package.card.clinical_variables
    assert age.mean == 71.5
    assert age.std == pytest.approx(np.std([70, 71, 72, 73]), rel=1e-5)


def test_the_manufacturer_asked_for_decides_the_scale_and_is_recorded(package, mini_cohort, tmp_path):
    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    figures = package.card.preprocessing.target.standardization
    expected = {"siemens": figures.statistics["Siemens"], "GE": figures.statistics["GE"], None: figures.pooled}
    network = []
    for asked, found in expected.items():
        output = tmp_path / f"{asked}.nii.gz"
        named = [] if asked is None else ["--manufacturer", asked]
        arguments = ["synthesize", str(source), "--model", str(package.folder), "-o", str(output), *named]
        result = CliRunner().invoke(app, [*arguments, "--space", "template", "--progress", "json"])
        assert result.exit_code == 0, result.output
        warned = [line for line in result.stdout.splitlines() if "--manufacturer" in line and "warning" in line]
        assert bool(warned) == (asked is None)
        record = json.loads(output.with_name(f"{asked}.json").read_text())
        used = record["Standardization"]
        assert used["statistics"] == {"siemens": "Siemens", "GE": "GE", None: "pooled"}[asked]
        assert (used["scale"], used["offset"]) == (found.std, found.mean)
        assert record["Parameters"]["manufacturer"] == asked
        voxels = array(sitk.ReadImage(str(output))).astype(float)
        network.append(np.where(voxels > 0, (voxels - found.mean) / found.std, np.nan))
    for other in network[1:]:
        both = ~np.isnan(network[0]) & ~np.isnan(other)
        assert both.sum() > 500
        np.testing.assert_allclose(other[both], network[0][both], atol=2e-3)


def test_evaluation_gives_each_subject_its_own_manufacturer(package, mini_cohort):
    visit = read_cohort(mini_cohort).visits[5]
    found = evaluate(mini_cohort, package, baselines=False, jobs=1).scores["mini"]["MAE"][0]
    arrays = pair_of(package, visit, mini_cohort.parent / ".cache")

    def error(manufacturer):
        made = synthesize(
            visit.volumes["T1w"], model=package, clinical={"age": 75}, manufacturer=manufacturer, space="template"
        )
        return np.abs(array(made.image) - arrays["target"])[arrays["brain"] > 0].mean()

    assert found == pytest.approx(error("GE"), abs=2e-4)
    assert abs(found - error("Siemens")) > 8e-4


def test_a_batch_takes_the_column_and_does_changed_rows_again(package, mini_cohort, tmp_path):
    rows = list(csv.DictReader(mini_cohort.open()))[4:6]
    table = tmp_path / "cohort.csv"

    def run(makers, *more):
        with table.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["subject", "T1w", "manufacturer"])
            writer.writeheader()
            for row, maker in zip(rows, makers, strict=True):
                t1w = mini_cohort.parent / row["T1w"]
                writer.writerow({"subject": row["subject"], "T1w": t1w, "manufacturer": maker})
        arguments = ["batch", str(table), "--model", str(package.folder), "-o", str(tmp_path / "out"), *more]
        assert CliRunner().invoke(app, [*arguments, "--progress", "json"]).exit_code == 0
        booked = list(csv.DictReader((tmp_path / "out" / "batch.csv").open()))
        records = [
            json.loads((tmp_path / "out" / row["file"].replace(".nii.gz", ".json")).read_text()) for row in booked
        ]
        return [row["state"] for row in booked], [record["Standardization"]["statistics"] for record in records]

    assert run(["CPS", "n/a"]) == (["done", "done"], ["Siemens", "pooled"])
    assert run(["CPS", "GE"], "--resume") == (["skipped", "done"], ["Siemens", "GE"])
