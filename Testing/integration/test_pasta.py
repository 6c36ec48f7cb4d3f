"""PASTA through the program: recipe, training, package, samples with uncertainty, import of a published checkpoint."""

from __future__ import annotations

import copy
import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.pasta.checkpoint import published_names
from modality_synthesis.models import verify_package
from modality_synthesis.training import read_recipe, train

RECIPES = Path(__file__).parents[2] / "Training" / "recipes"
TINY = {"slices": 3, "channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1, "attention_levels": [1],
        "heads": 2}  # fmt: skip
SIX = [
    {"name": name, "label": name, "kind": "number", "minimum": 0, "maximum": 200, "mean": 10.0, "std": 5.0}
    for name in ("age", "sex", "education", "mmse", "adas_cog_13", "apoe4")
]


def run(*arguments: object) -> tuple[int, list[dict], str]:
    """A command of the program: exit code, protocol messages, everything printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return result.exit_code, lines, result.output


@pytest.fixture(scope="module")
def recipe(mini_recipe, tmp_path_factory) -> Path:
    """The mini recipe with a tiny PASTA."""
    facts = copy.deepcopy(yaml.safe_load(mini_recipe.read_text()))
    facts["generator"] = {
        "name": "pasta",
        "parameters": {**TINY, "clinical_variables": 0, "source_range": [-2, 4], "target_range": [0, 2],
                       "sampling": {"steps": 2}},
    }  # fmt: skip
    facts["losses"] = []
    facts["training"]["epochs"] = 1
    path = tmp_path_factory.mktemp("pasta") / "pasta.yaml"
    path.write_text(yaml.safe_dump(facts))
    return path


@pytest.fixture(scope="module")
def package(recipe, mini_cohort, with_report, tmp_path_factory) -> Path:
    """One epoch's package."""
    folder = tmp_path_factory.mktemp("run") / "pasta"
    with with_report():
        result = train(recipe, folder, cohort=mini_cohort, accelerator="cpu", evaluate_test=False, jobs=1)
    return result.package.folder


def test_the_card_says_that_it_draws_noise(package):
    assert verify_package(package).card.inference.stochastic


def test_samples_give_a_mean_and_a_standard_deviation(package, mini_cohort, tmp_path):
    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    common = ("synthesize", source, "--model", package, "--progress", "json")
    singles = []
    for seed in (4, 5):
        code, _, text = run(*common, "-o", tmp_path / f"{seed}.nii.gz", "--seed", seed)
        assert code == 0, text
        singles.append(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{seed}.nii.gz"))))
    mean, spread = tmp_path / "mean.nii.gz", tmp_path / "sd.nii.gz"
    code, messages, text = run(*common, "-o", mean, "--seed", 4, "--samples", 2, "--uncertainty", spread)
    assert code == 0, text
    assert messages[-1]["files"]["uncertainty"] == str(spread)
    assert any(message.get("remaining") is not None for message in messages if message["type"] == "progress")
    first, second = sitk.ReadImage(str(mean)), sitk.ReadImage(str(spread))
    assert second.GetSize() == sitk.ReadImage(str(source)).GetSize()
    np.testing.assert_allclose(sitk.GetArrayFromImage(first), np.mean(singles, axis=0), atol=1e-5)
    np.testing.assert_allclose(sitk.GetArrayFromImage(second), np.std(singles, axis=0, ddof=1), atol=1e-5)
    assert sitk.GetArrayFromImage(second).max() > 0
    about = json.loads((tmp_path / "sd.json").read_text())
    assert about["SyntheticData"] is True
    assert about["Statistic"] == "standard deviation"
    assert about["Parameters"]["samples"] == 2
    assert "mean of 2 samples" in json.loads((tmp_path / "mean.json").read_text())["Description"]


def test_uncertainty_of_one_sample_is_refused_and_nothing_written(package, mini_cohort, tmp_path):
    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    code, messages, _ = run("synthesize", source, "--model", package, "-o", tmp_path / "a.nii.gz", "--uncertainty",
                            tmp_path / "b.nii.gz", "--progress", "json")  # fmt: skip
    assert code == 2
    assert "--samples" in messages[-1]["message"]
    assert not any(tmp_path.iterdir())


def test_a_deterministic_model_draws_no_samples(mini_cohort, tmp_path):
    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    code, messages, _ = run("synthesize", source, "--model", "demo-t1w-fdg", "-o", tmp_path / "a.nii.gz", "--samples",
                            3, "--progress", "json")  # fmt: skip
    assert code == 2
    assert "deterministic" in messages[-1]["message"]


@pytest.mark.parametrize("name", ["pasta-adni-like", "pasta-small", "pasta-published"])
def test_the_recipes_are_valid_and_build_their_generator(name):
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    assert recipe.name == name
    assert recipe.generator.parameters["clinical_variables"] == len(recipe.clinical_variables) == 6
    with torch.device("meta"):
        generator = build_generator(recipe.generator.name, recipe.generator.parameters)
    arm = sum(parameter.numel() for parameter in generator.conditioner.parameters())
    if name == "pasta-published":
        assert arm == 44_547_855
    elif name == "pasta-adni-like":  # the published arm less the clinical layers that a conditioner never uses
        assert arm == 44_547_855 - 1_709_184
    else:
        assert arm < 1_000_000


@pytest.fixture
def published(recipe, tmp_path) -> tuple[Path, Path, dict[str, torch.Tensor]]:
    """A checkpoint as the authors' code writes it, of random numbers, and the recipe that goes with it."""
    facts = yaml.safe_load(recipe.read_text())
    facts["generator"]["parameters"] |= {"layout": "published", "literal": True, "clinical_variables": 6}
    facts["clinical_variables"] = SIX
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(facts))
    generator = build_generator("pasta", facts["generator"]["parameters"])
    weights = {
        theirs: torch.randn(generator.state_dict()[name].shape) for name, theirs in published_names(generator).items()
    }
    averaged = {f"ema_model.{name}": value for name, value in weights.items()}
    online = {f"online_model.{name}": value + 1 for name, value in weights.items()}
    checkpoint = tmp_path / "model.pt"
    torch.save({"step": 5, "model": {name: value + 1 for name, value in weights.items()}, "opt": {"state": {}},
                "ema": {**online, **averaged, "initted": torch.tensor([1.0]), "step": torch.tensor([5])},
                "scaler": {}}, checkpoint)  # fmt: skip
    return checkpoint, config, weights


def test_a_published_checkpoint_becomes_a_package_with_its_averaged_weights(published, tmp_path):
    from modality_synthesis.synthesis import load_generator

    checkpoint, config, weights = published
    code, messages, text = run("models", "import", checkpoint, "--format", "pasta", "--config", config, "-o",
                               tmp_path / "package", "--progress", "json")  # fmt: skip
    assert code == 0, text
    assert messages[-1]["files"]["package"] == str(tmp_path / "package")
    package = verify_package(tmp_path / "package")
    assert package.card.inference.stochastic
    assert package.card.weights.parameters == sum(value.numel() for value in weights.values())
    generator = load_generator(package)
    kernel = weights["model.input_blocks.0.0.weight"]
    assert torch.equal(generator.denoiser.stem.weight, kernel.transpose(2, 3))


class Evil:
    """Would run code when unpickled carelessly."""

    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_unsafe_damaged_and_unfitting_checkpoints_are_refused(published, tmp_path, monkeypatch):
    checkpoint, config, weights = published
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unsafe.pt").write_bytes(pickle.dumps({"model": Evil()}))
    (tmp_path / "damaged.pt").write_bytes(checkpoint.read_bytes()[:1000])
    torch.save({"model": {**weights, "model.extra": torch.zeros(1)}}, tmp_path / "extra.pt")
    no_statistics = yaml.safe_load(config.read_text())
    no_statistics["clinical_variables"][0]["mean"] = None
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(no_statistics))
    for file, recipe, message in (
        ("unsafe.pt", config, "read safely"),
        ("damaged.pt", config, "read safely"),
        ("missing.pt", config, "does not exist"),
        ("extra.pt", config, "left over"),
        (checkpoint, "bare.yaml", "'age' needs"),
        (checkpoint, RECIPES / "demo-t1w-fdg.yaml", "layout: published"),
    ):
        code, messages, text = run("models", "import", file, "--config", recipe, "-o", "package", "--progress", "json")
        assert code == 1, text
        assert message in messages[-1]["message"]
    assert not Path("evil").exists()
    assert not Path("package").exists()


@pytest.mark.long
def test_training_in_half_precision_reaches_its_end(recipe, mini_cohort, tmp_path):
    """The default on a GPU; the slices' SSIM used to leave its range there in the first epoch."""
    overrides = ["training.precision=bf16-mixed", "training.epochs=2"]
    options = {"cohort": mini_cohort, "accelerator": "cpu", "evaluate_test": False, "jobs": 1}
    result = train(recipe, tmp_path / "run", overrides=overrides, **options)
    assert verify_package(result.package.folder)
    rows = list(csv.DictReader((tmp_path / "run" / "logs" / "metrics.csv").open()))
    assert len(rows) == 2
    assert all(0 <= float(row["train/generator/structure"]) <= 2 for row in rows)
