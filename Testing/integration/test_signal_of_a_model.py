"""Synthetic MRI as `synthesize` writes it, in its own scale, beside real MRI in another: compare and the figures."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.evaluation import compare
from modality_synthesis.evaluation.figures.difference import difference_figure, difference_panels
from modality_synthesis.evaluation.figures.planes import PLANES, center_of, cut, display_volume
from modality_synthesis.evaluation.figures.profile import profile_figure
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.recipe import Recipe
from modality_synthesis.volumes import read_image, write_image

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


@pytest.fixture(scope="module")
def made(scan, tmp_path_factory) -> Path:
    """A synthetic volume with contrast; its values reach about 4."""
    return synthesized(scan, tmp_path_factory.mktemp("made"), bias=0.6)


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


def test_the_difference_figure_shows_the_synthetic_volume_and_the_scaled_real_one(scan, made, tmp_path):
    factor = compare(made, scan).signal_factor
    assert factor < 0.01
    panels = difference_panels(made, scan)
    synthetic, real = (display_volume(read_image(path)) for path in (made, scan))
    np.testing.assert_allclose(panels.synthetic, synthetic, atol=1e-5)
    np.testing.assert_allclose(panels.reference, factor * real, atol=1e-5)
    inside = ndimage.binary_erosion(panels.inside, iterations=3)
    # But for a few voxels at holes of the synthetic volume.
    assert np.isclose(panels.difference, synthetic - factor * real, atol=1e-4)[inside].mean() > 0.999

    figure = difference_figure(panels, made.name)
    figure.draw_without_rendering()
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    center = center_of(panels.inside)
    for first, volume in ((0, panels.reference), (3, panels.synthetic), (6, panels.difference)):
        for image, plane in zip(images[first : first + 3], PLANES, strict=True):
            np.testing.assert_array_equal(image.get_array(), cut(volume, plane, center))
    # Real and synthetic on one scale, the color bars in one unit, and nothing of the words outside the page.
    assert len({image.get_clim() for image in images[:6]}) == 1
    units = {axes.get_ylabel() for axes in figure.axes if not axes.get_images() and axes.get_ylabel()}
    assert units == {"signal, relative signal"}
    bars = [axes for axes in figure.axes if not axes.get_images()]
    assert all(bar.yaxis.label.get_window_extent().height <= bar.bbox.height for bar in bars)
    words = [figure._suptitle, *(axes.yaxis.label for axes in figure.axes)]
    for box in [word.get_window_extent() for word in words if word.get_text()]:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    assert f"multiplied by {factor:.4g}" in figure._suptitle.get_text()
    run("figures", "difference", made, scan, "-o", tmp_path / "difference.png")
    assert (tmp_path / "difference.png").stat().st_size > 10000


def test_a_profile_shows_real_and_synthetic_mri_in_one_signal(scan, made, tmp_path):
    volumes = {"T2w": scan, "synthetic T2w": made, "T1w": scan}
    figure = profile_figure(volumes)
    assert len(figure.axes) == 3 + 2
    signals, alone = figure.axes[3:]
    real, synthetic = (line.get_ydata() for line in signals.get_lines())
    # In the real scale (to 800) the synthetic line would lie at 0.
    factor = compare(made, scan).signal_factor
    np.testing.assert_allclose(real, factor * alone.get_lines()[0].get_ydata(), rtol=1e-3)
    assert 0.2 < np.nanmax(synthetic) / np.nanmax(real) < 5
    assert signals.get_ylabel() == "T2w, signal of\nsynthetic T2w"
    assert signals.get_legend_handles_labels()[1] == [f"T2w × {factor:.3g}", "synthetic T2w"]
    assert alone.get_ylabel() == "T1w"
    named = [f"{name}={path}" for name, path in volumes.items()]
    run("figures", "profile", *named, "-o", tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 10000
