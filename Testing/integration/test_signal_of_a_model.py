"""Synthetic MRI as `synthesize` writes it, in its own scale, beside real MRI in another: compare and the figures."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.recipe import Recipe
from modality_synthesis.volumes import write_image

from .conftest import MINI_RECIPE, coarse

SIGNAL = {"quantity": "signal", "units": "relative signal", "display_window": [0, 1.2]}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A simulated T1w MRI; its values reach about 800."""
    path = tmp_path_factory.mktemp("scan") / "T1w.nii.gz"
    labels = coarse(load_head("16"))
    write_image(simulate_mri(labels, "T1w", np.random.default_rng(0), Acquisition((2.5,) * 3)), path)
    return path


def synthesized(scan: Path, folder: Path, *, bias: float, gain: float = 1.0) -> Path:
    """What an untrained model's `synthesize` writes: noise around `bias`, its spread times `gain`."""
    parameters = {**MINI_RECIPE["generator"]["parameters"], "final_bias": bias}
    generator = {"name": "residual-unet", "parameters": parameters}
    grid = {"step": "resample", "size": [48, 56, 48], "spacing": [4.0, 4.0, 4.0], "center": [0.0, 0.0, 20.0]}
    steps = [grid if step["step"] == "resample" else step for step in MINI_RECIPE["preprocessing"]["source"]]
    recipe = Recipe.model_validate(
        {
            **MINI_RECIPE, "route": {"source": "T1w", "target": "T2w"}, "output": SIGNAL, "generator": generator,
            "preprocessing": {"source": steps, "target": {"minimum": 0.0, "mask_margin_mm": 0.0}},
        }
    )  # fmt: skip
    torch.manual_seed(0)
    made = build_generator("residual-unet", parameters)
    with torch.no_grad():
        for name, weights in made.named_parameters():
            if "head" in name:
                weights *= gain
    split = types.SimpleNamespace(as_dict=lambda: {"train": [], "validation": [], "test": []})
    facts = card_facts(recipe, split, 1.0, stochastic=False)
    model = write_package(folder / "mini", facts, made.package_state()).folder
    run("synthesize", scan, "--model", model, "-o", folder / "synthetic.nii.gz")
    return folder / "synthetic.nii.gz"


@pytest.mark.parametrize(
    ("bias", "gain", "what"), [(-3.0, 1.0, "nearly zero"), (0.6, 0.005, "nearly constant")]
)  # fmt: skip
def test_a_reference_is_not_scaled_to_a_volume_without_contrast(scan, tmp_path, bias, gain, what):
    made = synthesized(scan, tmp_path, bias=bias, gain=gain)
    output = run("compare", made, scan, "-o", tmp_path / "out", "--report")
    assert f"The synthetic volume is {what}" in output
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["reference_multiplied_by"] is None
    assert what in found["reference_not_scaled_because"]
    assert what in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    # In the reference's own units the error is the reference, about: some 10 dB below its range.
    assert 0 < found["metrics"]["PSNR"] < 20
    assert found["metrics"]["Tenengrad ratio"] < 1
