"""`evaluate --downstream` on preprocessed people in whom a disease lowers the uptake of known regions."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from preprocessed_people import already_preprocessed, atlas_labels, write_model, write_person
from safetensors.numpy import load_file
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import Classes, evaluate, volume_classifier
from modality_synthesis.evaluation.downstream import CONTRAST
from modality_synthesis.evaluation.downstream_visit import small_volume
from modality_synthesis.evaluation.scoring import record_path
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.models import ModelPackage
from modality_synthesis.preprocessing.atlas import find_regions
from modality_synthesis.synthesis.synthesizer import load_generator
from modality_synthesis.volumes import write_rows

pytestmark = pytest.mark.long

PEOPLE, TRAINING, TEST = 25, 8, 16
LOSS = 0.25
SIGNATURE = find_regions(["fdg_ad_signature"])


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """25 people, every second one ill: 25 % less uptake in the AD signature regions, the same MRI as the healthy.

    `good` is the measured PET plus noise, `blind` knows nothing of the disease.
    """
    folder = tmp_path_factory.mktemp("people")
    codes = atlas_labels()
    brain = codes > 0
    signature = np.isin(codes, [label for region in SIGNATURE for label in region.labels])
    rows = []
    for number in range(PEOPLE):
        rng = np.random.default_rng(number)
        ill = number % 2
        source = (brain * rng.normal(0.6, 0.1, codes.shape)).astype(np.float32)
        healthy = brain * (1.0 + rng.normal(0, 0.03) + rng.normal(0, 0.05, codes.shape))
        target = (healthy * (1 - LOSS * ill * signature)).astype(np.float32)
        name = f"sub-{number:02d}"
        noise = brain * rng.normal(0, 0.05, codes.shape)
        row = write_person(folder, name, source, target, brain, good=target + noise, blind=brain + noise)
        split = "train" if number < TRAINING else "test" if number < TRAINING + TEST else "validation"
        rows.append(
            {**row, "split": split, "diagnosis": "AD" if ill else "CN", "age": 60 + number,
             "sex": "FM"[(number // 2) % 2], "mmse": 22 if ill else 29}
        )  # fmt: skip
    write_rows(folder / "cohort.csv", rows)
    return folder / "cohort.csv"


@pytest.fixture(autouse=True, scope="module")
def preprocessed(people):
    with already_preprocessed(people.parent):
        yield


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downstream")


@pytest.fixture(scope="module")
def result(people, output, preprocessed):
    pytest.importorskip("sklearn", reason="the extra 'downstream' is not installed")
    with pytest.MonkeyPatch.context() as patch:  # twenty epochs are most of the time, and show no more
        patch.setattr(volume_classifier, "VolumeClassifier", partial(volume_classifier.VolumeClassifier, epochs=6))
        return evaluate(
            people, (), output, synthetic=["good", "blind"], to="FDG-PET", downstream=True, cache=output / "cache",
            jobs=1, baselines=False, report=True,
        )  # fmt: skip


def test_a_classifier_needs_what_the_volume_shows(result):
    found = result.downstream
    assert found.counts == {"CN": 8, "AD": 8}
    auc = {name: one.figures["AUC"].value for name, one in found.classification["regional means"].items()}
    assert auc["measured FDG-PET"] == 1.0
    assert auc["synthetic, good"] == 1.0
    assert auc["synthetic, blind"] < 0.85
    assert auc["measured T1w"] < 0.85
    small = {name: one.figures["AUC"].value for name, one in found.classification["small volumes"].items()}
    assert set(small) == set(auc)
    assert small["measured FDG-PET"] > small["synthetic, blind"]


def test_surface_maps_show_the_disease_where_it_is(result):
    """The AD signature holds the precuneus and posterior cingulate (medial) and no frontal pole (anterior)."""
    found = result.downstream
    assert found.in_z_scores
    measured, good, blind = (found.maps[name] for name in ("measured FDG-PET", "good", "blind"))
    assert np.nanmax(measured["left medial"]) > 2.0
    assert np.nanmean(measured["left medial"]) > np.nanmean(measured["anterior"])
    assert np.nanmean(good["left medial"]) > np.nanmean(blind["left medial"])
    assert found.surface["good"]["correlation"].value > found.surface["blind"]["correlation"].value


def test_gaps_between_groups_and_files(result, output):
    assert {row.variable for row in result.downstream.fairness["good"]} >= {"age", "sex"}
    facts = json.loads((output / "downstream.json").read_text())
    assert facts["surface_values"] == "z-scores"
    with (output / "classification.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["figure"] for row in rows} == {"balanced accuracy", "F1", "AUC"}
    assert (output / "surface.png").read_bytes().startswith(b"\x89PNG")
    page = (output / "report.html").read_text(encoding="utf-8")
    for text in ("Telling AD from CN", "Surface projections", "Gaps between groups"):
        assert text in page


def pasta(folder: Path) -> ModelPackage:
    """A small diffusion model with random weights that takes age, sex and MMSE."""
    torch.manual_seed(0)
    parameters = {
        "slices": 3, "channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1, "attention_levels": [],
        "heads": 1, "clinical_variables": 3, "sampling": {"path": "joint", "sampler": "ddim", "steps": 1},
    }  # fmt: skip
    generator = build_generator("pasta", parameters)
    for parameter in generator.parameters():  # zero-initialized layers would let no clinical variable through
        torch.nn.init.normal_(parameter, std=0.2)
    parameters = {name: value for name, value in parameters.items() if name not in generator.training_parameters}
    return write_model(
        folder, "pasta", parameters, generator, inference={"mode": "whole", "stochastic": True},
        clinical_variables=[
            {"name": "age", "label": "Age", "kind": "number", "mean": 70.0, "std": 5.0},
            {"name": "sex", "label": "Sex", "kind": "choice", "choices": ["F", "M"]},
            {"name": "mmse", "label": "MMSE", "kind": "number", "mean": 26.0, "std": 3.0},
        ],
    )  # fmt: skip


def test_the_effect_of_clinical_variables_is_that_of_the_network(people, tmp_path):
    model = pasta(tmp_path / "clinical")
    found = evaluate(
        people, model, tmp_path / "out", classes=Classes(), cache=tmp_path / "cache", jobs=1, device="cpu",
        baselines=False,
    )  # fmt: skip
    assert found.downstream is None
    row = found.effects["clinical"][0]
    assert row.variable == CONTRAST

    # By hand for the first person, sub-08: ages and MMSE of the training people's groups, the person's own sex.
    generator = load_generator(model)
    source = torch.from_numpy(load_file(people.parent / "sub-08.safetensors")["source"].astype(np.float32))[None, None]
    codes = atlas_labels()
    focus = np.isin(codes, [label for region in SIGNATURE for label in region.labels])
    made = {}
    for group, numbers, mmse in (("CN", (0, 2, 4, 6), 29), ("AD", (1, 3, 5, 7), 22)):
        age = np.mean([60 + number for number in numbers])
        values = torch.tensor([[(age - 70) / 5, 0.0, (mmse - 26) / 3]], dtype=torch.float32)
        with torch.inference_mode():
            made[group] = generator.synthesize(Batch(source, clinical=values, seed=0))[0, 0].numpy()
    record = json.loads(record_path(tmp_path / "out", "sub-08").read_text())
    by_hand = (made["AD"] - made["CN"])[focus].mean()
    assert abs(by_hand) > 1e-4
    assert record["effects"]["clinical"]["contrast"] == pytest.approx(by_hand, rel=1e-3)
    assert "sensitivity" not in record["effects"]["clinical"]


def test_small_volumes_are_block_means():
    volume = np.arange(4 * 6 * 5, dtype=np.float32).reshape(4, 6, 5)
    made = small_volume(volume, (3.0, 3.0, 6.0))
    assert made.shape == (2, 3, 5)
    assert made[1, 2, 4] == pytest.approx(volume[2:4, 4:6, 4].mean(), rel=1e-3)


def test_classes_are_checked_before_any_work(people, tmp_path):
    assert Classes.parse("group=control, MCI") == Classes("group", "control", "MCI")
    with pytest.raises(UsageError, match="COLUMN=HEALTHY,PATIENTS"):
        Classes.parse("diagnosis")
    options = {"synthetic": ["good"], "to": "FDG-PET", "downstream": True}
    with pytest.raises(UsageError, match="-o FOLDER"):
        evaluate(people, **options)
    with pytest.raises(BadInputError, match="no column 'group'"):
        evaluate(people, (), tmp_path / "out", classes=Classes("group"), **options)
    with pytest.raises(BadInputError, match=r"nobody has diagnosis=MCI\. The column holds AD, CN"):
        evaluate(people, (), tmp_path / "out", classes=Classes("diagnosis", "CN", "MCI"), **options)


def test_the_command_line_hands_the_classes_on(people, tmp_path):
    command = ["evaluate", str(people), "--synthetic", "good", "--to", "FDG-PET", "-o", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, [*command, "--downstream", "--classes", "sex=F,X", "--jobs", "1"])
    assert ran.exit_code == 1
    assert "nobody has sex=X. The column holds F, M" in ran.output
