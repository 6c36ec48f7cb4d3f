"""Each generator of the cyclic 2.5D paper, from a cohort to a synthetic volume."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.models import load_weights, verify_package
from modality_synthesis.training import train
from modality_synthesis.training.callbacks import SaveLast
from modality_synthesis.volumes import array, read_image

U_NET = {"name": "unet", "parameters": {"channels": [4, 8], "strides": [2]}}
DISCRIMINATOR = {"channels": 4, "layers": 1}
GENERATORS = {
    "unet": U_NET["parameters"],
    "unetr": {"image_size": [32, 32, 32], "feature_size": 4, "hidden_size": 12, "mlp_size": 24, "heads": 2},
    "swin-unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window_size": 3},
    "pix2pix": {"network": U_NET, "discriminator": DISCRIMINATOR},
    "cyclegan": {"network": U_NET, "discriminator": DISCRIMINATOR, "pool_size": 2},
}
WITH_POOLS_AND_TWO_OPTIMIZERS = "cyclegan"


class Interrupted(Exception):
    pass


@pytest.fixture
def recipe(mini_recipe, tmp_path):
    """A function: the mini recipe with another generator and a constant learning rate."""

    def write(name):
        data = yaml.safe_load(mini_recipe.read_text())
        data["generator"] = {"name": name, "parameters": GENERATORS[name]}
        data["optimizer"] = {
            "name": "adam", "learning_rate": 0.002, "betas": [0.5, 0.999], "schedule": "constant", "warmup": 0.0,
        }  # fmt: skip
        data["training"] |= {"epochs": 5, "validate_every": 5}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


# A network with one loss and one with a discriminator stand for the others in every run.
@pytest.mark.parametrize(
    "name",
    [name if name in ("unet", "pix2pix") else pytest.param(name, marks=pytest.mark.long) for name in GENERATORS],
)
def test_twenty_steps_a_resume_a_package_a_volume(name, recipe, mini_cohort, with_report, tmp_path, monkeypatch):
    options = {"cohort": mini_cohort, "accelerator": "cpu", "evaluate_test": False, "jobs": 1}
    save = SaveLast.on_train_epoch_end

    def interrupted_after_the_third_epoch(self, trainer, module):
        save(self, trainer, module)
        if trainer.current_epoch == 2:
            raise Interrupted

    monkeypatch.setattr(SaveLast, "on_train_epoch_end", interrupted_after_the_third_epoch)
    with pytest.raises(Interrupted):
        train(recipe(name), tmp_path / "run", **options)
    monkeypatch.undo()
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(state["state"] for state in checkpoint["optimizer_states"])

    with with_report():
        resumed = train(recipe(name), tmp_path / "run", resume=True, **options)
    package = verify_package(resumed.package.folder)
    assert package.card.generator.name == name
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    phases = len(checkpoint["optimizer_states"])
    assert checkpoint["global_step"] == 20 * phases  # 4 subjects, 5 epochs
    assert phases == (2 if name in ("pix2pix", "cyclegan") else 1)

    if name == WITH_POOLS_AND_TWO_OPTIMIZERS:
        whole = train(recipe(name), tmp_path / "whole", **options)
        weights = load_weights(whole.package)
        assert all(torch.equal(value, weights[part]) for part, value in load_weights(package).items())

    source = read_cohort(mini_cohort).visits[5].volumes["T1w"]
    output = tmp_path / "synthetic.nii.gz"
    command = ["synthesize", str(source), "--model", str(package.folder), "-o", str(output), "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    made = read_image(output)
    assert made.GetSize() == read_image(source).GetSize()
    values = array(made)
    assert values.std() > 0
    record = json.loads((tmp_path / "synthetic.json").read_text())
    assert record["Model"]["weights_sha256"] == package.card.weights.sha256
