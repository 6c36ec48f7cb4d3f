"""Figures: what they show is measured on phantoms; that they are drawn, and refuse what cannot be drawn."""

from __future__ import annotations

import csv
import json
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.figures import (
    draw_curves,
    draw_difference,
    draw_features,
    draw_filters,
    draw_profile,
)
from modality_synthesis.evaluation.figures.curves import read_log
from modality_synthesis.evaluation.figures.features import feature_maps
from modality_synthesis.evaluation.figures.filters import first_filters
from modality_synthesis.evaluation.figures.planes import cut, oriented
from modality_synthesis.evaluation.figures.profile import head_center, line_points, sample
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.recipe import read_recipe
from modality_synthesis.volumes import write_image

RECIPE = Path(__file__).parents[2] / "Training" / "recipes" / "drunet" / "unet-2d-mse-T1w.yaml"
PARAMETERS = {"features": [4, 4, 4, 4, 4], "channels": "neighbors"}


def generator():
    torch.manual_seed(0)
    return build_generator("unet-2d", PARAMETERS).eval()


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A tiny untrained 2-D U-Net whose preprocessing only samples a grid of 2 mm."""
    chain = "[{step: reorient}, {step: resample, size: [30, 34, 20], spacing: [2, 2, 2], center: [0, 0, 0]}]"
    changes = {"generator.parameters": json.dumps(PARAMETERS), "preprocessing.source": chain}
    recipe = read_recipe(
        RECIPE, [*(f"{key}={value}" for key, value in changes.items()), "training.sampling.thickness=3"]
    )
    split = types.SimpleNamespace(as_dict=lambda: {"train": [], "validation": [], "test": []})
    made = generator()
    folder = tmp_path_factory.mktemp("package") / recipe.package.id
    return write_package(folder, card_facts(recipe, split, 1.0, stochastic=False), made.package_state()).folder


@pytest.fixture
def head() -> sitk.Image:
    """A ball of value 40 with a shell of 900 in air (-1000), centered at LPS (2, -3, 4)."""
    z, y, x = np.mgrid[0:40, 0:60, 0:50].astype(float)
    radius = np.sqrt((x - 25) ** 2 + (y - 30) ** 2 + (z - 20) ** 2)
    values = np.where(radius < 15, 40.0, np.where(radius < 18, 900.0, -1000.0)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetOrigin((2.0 - 25, -3.0 - 30, 4.0 - 20))
    return image


@pytest.fixture
def head_file(head, tmp_path) -> Path:
    write_image(head, tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header: proof that it is one."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_filters_are_the_first_convolution_s_weights_around_gray():
    made = generator()
    name, images = first_filters(made)
    weights = made.network.unet.conv_0.conv_0.conv.weight.detach().numpy()
    assert name == "network.unet.conv_0.conv_0.conv"
    assert images.shape == (4, 3, 3, 3)
    assert images.min() >= 0
    assert images.max() <= 1
    # Each filter's largest weight is at full color; zero would be 0.5.
    np.testing.assert_allclose(np.abs(images - 0.5).reshape(4, -1).max(axis=1), 0.5, atol=1e-6)
    np.testing.assert_array_equal(np.sign(images - 0.5), np.sign(weights.transpose(0, 2, 3, 1)))


def test_filters_of_a_volume_network_are_central_slices():
    _, images = first_filters(build_generator("residual-unet", {"channels": [4, 8]}))
    assert images.shape == (4, 3, 3)
    with pytest.raises(BadInputError, match="no convolution"):
        first_filters(torch.nn.Linear(2, 2))


def test_feature_maps_belong_to_the_slice_asked_for():
    made, volume = generator(), np.random.default_rng(0).random((9, 32, 48)).astype(np.float32)
    maps = feature_maps(made, volume, 4)
    assert list(maps) == list(made.network.layers)
    assert maps["DOWN 1"].shape == (4, 32, 48)
    assert maps["CENTER"].shape == (4, 2, 3)
    from modality_synthesis.generators.base import Batch

    whole = made.synthesize(Batch(source=torch.from_numpy(volume)[None, None])).detach().numpy()[0, 0]
    for index in (0, 4, 8):
        np.testing.assert_allclose(feature_maps(made, volume, index)["OUTPUT"][0], whole[index], atol=1e-5)
    # Hooks are gone afterwards.
    assert not any(module._forward_hooks for module in made.modules())
    with pytest.raises(BadInputError, match="slice by slice"):
        feature_maps(build_generator("residual-unet", {"channels": [4, 8]}), volume, 4)


def test_filters_and_features_of_a_package(package, head_file, tmp_path):
    draw_filters(package, tmp_path / "filters.png")
    assert min(size_of(tmp_path / "filters.png")) > 100
    draw_features(package, head_file, tmp_path / "features.png", maps=3)
    few = size_of(tmp_path / "features.png")
    draw_features(package, head_file, tmp_path / "features.png", maps=4, slice_index=2)
    assert size_of(tmp_path / "features.png")[0] > few[0]
    with pytest.raises(BadInputError, match="slices 0 to 19"):
        draw_features(package, head_file, tmp_path / "features.png", slice_index=20)
    with pytest.raises(BadInputError, match="ending"):
        draw_filters(package, tmp_path / "filters.gif")


def test_what_cannot_be_drawn_is_refused_before_the_preprocessing(package, head_file, tmp_path, monkeypatch):
    import modality_synthesis.preprocessing as room

    def prepare(*args, **settings):
        raise AssertionError("preprocessed")

    monkeypatch.setattr(room, "prepare", prepare)
    with pytest.raises(BadInputError, match="slices 0 to 19"):
        draw_features(package, head_file, tmp_path / "features.png", slice_index=20)
    monkeypatch.setattr("modality_synthesis.synthesis.synthesizer.load_generator", lambda _: torch.nn.Linear(2, 2))
    with pytest.raises(BadInputError, match="slice by slice"):
        draw_features(package, head_file, tmp_path / "features.png")


def test_slices_and_compare_bring_another_grid_onto_the_reference_s(head, tmp_path):
    from modality_synthesis.evaluation import compare
    from modality_synthesis.evaluation.slicewise import write_slice_scores
    from modality_synthesis.progress import Reporter

    size = [25, 30, 20]
    coarse = sitk.Resample(head, size, sitk.Transform(), sitk.sitkLinear, head.GetOrigin(), (2.0,) * 3)
    for name, image in (("fine", head), ("coarse", coarse), ("mask", sitk.Cast(coarse > -500, sitk.sitkUInt8))):
        write_image(image, tmp_path / f"{name}.nii.gz")
    made, real, mask = (tmp_path / f"{name}.nii.gz" for name in ("coarse", "fine", "mask"))
    reporter = Reporter()
    scores = write_slice_scores(made, real, mask, (-1000.0, 1000.0), tmp_path / "s.json", reporter=reporter)
    same = compare(made, real, mask=mask)
    error = (sitk.GetArrayFromImage(same.difference) ** 2 * same.inside).sum(axis=(1, 2))
    touched = same.inside.any(axis=(1, 2))
    by_hand = np.sqrt(error[touched] / same.inside.sum(axis=(1, 2))[touched]).mean()
    assert scores["RMSE"] == pytest.approx(by_hand, rel=1e-4)
    assert any("different grids" in warning for warning in reporter.warnings)
    away = sitk.Image(head)
    away.SetOrigin((900.0, 0.0, 0.0))
    write_image(away, tmp_path / "away.nii.gz")
    with pytest.raises(BadInputError, match="hardly overlap"):
        write_slice_scores(tmp_path / "away.nii.gz", real, mask, (-1000.0, 1000.0), tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()


def write_log(run: Path, rows: list[dict[str, object]]) -> Path:
    (run / "logs").mkdir(parents=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (run / "logs" / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    return run


@pytest.fixture
def run(tmp_path) -> Path:
    rows: list[dict[str, object]] = [
        {"epoch": epoch, "step": 7 * epoch, "train/generator/loss": 8 / (epoch + 1)} for epoch in range(4)
    ]
    # Validation is a row of its own; a resumed run logs an epoch again.
    rows += [
        {"epoch": 3, "validation/PSNR": 20},
        {"epoch": 1, "validation/PSNR": 18},
        {"epoch": 3, "validation/PSNR": 22},
    ]
    return write_log(tmp_path / "run", rows)


def test_curves_are_those_of_the_log(run):
    curves = read_log(run)
    assert set(curves) == {"train/generator/loss", "validation/PSNR"}
    np.testing.assert_allclose(curves["train/generator/loss"], ([0, 1, 2, 3], [8, 4, 8 / 3, 2]))
    np.testing.assert_allclose(curves["validation/PSNR"], ([1, 3], [18, 21]))


def test_curves_of_several_runs_are_drawn_and_bad_logs_named(run, tmp_path):
    other = write_log(tmp_path / "elsewhere" / "run", [{"epoch": 0, "train/generator/l1": 1.0}])
    draw_curves([run, other], tmp_path / "curves.png")
    assert min(size_of(tmp_path / "curves.png")) > 200
    with pytest.raises(BadInputError, match="no training log"):
        read_log(tmp_path)
    with pytest.raises(BadInputError, match="no finished epoch"):
        read_log(write_log(tmp_path / "fresh", [{"epoch": 0, "step": 0}]))


def test_line_runs_through_the_point_from_right_to_left(head):
    through = head_center(head)
    # The middle of the ball along x and y; a little above it along z, where there might be a neck.
    assert through[:2] == pytest.approx((2, -3), abs=1)
    assert 4 < through[2] < 12
    distances, points = line_points(oriented(head), (2.0, -3.0, 4.0), axis=0)
    assert np.diff(distances) == pytest.approx(0.5)
    assert distances[0] == -25
    assert distances[-1] == 24
    values = sample(oriented(head), points)
    # LPS x grows toward the person's left: 14 mm right of the center is brain, 16 mm is bone, 20 mm is air.
    for distance, expected in ((0, 40), (-14, 40), (14, 40), (-16, 900), (16, 900), (-20, -1000), (20, -1000)):
        assert values[np.flatnonzero(distances == distance)[0]] == pytest.approx(expected)


def test_profile_samples_every_volume_at_the_same_world_points(head):
    coarse = sitk.Resample(head, [25, 30, 20], sitk.Transform(), sitk.sitkLinear, head.GetOrigin(), (2.0, 2.0, 2.0))
    flipped = sitk.DICOMOrient(coarse, "RAI")
    _, points = line_points(oriented(head), (2.0, -3.0, 4.0), axis=1)
    both = [sample(oriented(image), points) for image in (coarse, flipped)]
    np.testing.assert_allclose(*both, atol=1e-3)
    beyond = np.array([[500.0, 0, 0]])
    assert np.isnan(sample(oriented(head), beyond)).all()


def test_profile_is_drawn(head, head_file, tmp_path):
    write_image(sitk.Cast(head > 0, sitk.sitkFloat32), tmp_path / "t1.nii.gz")
    volumes = {"CT": head_file, "T1w": tmp_path / "t1.nii.gz", "synthetic T1w": tmp_path / "t1.nii.gz"}
    draw_profile(volumes, tmp_path / "profile.png", direction="front-back")
    assert min(size_of(tmp_path / "profile.png")) > 400
    with pytest.raises(BadInputError, match="outside 'CT'"):
        draw_profile(volumes, tmp_path / "profile.png", point=(200, 0, 0))


def test_planes_show_the_head_upright_with_the_right_on_the_left():
    volume = np.zeros((4, 5, 6))
    volume[3, 0, 1] = 1  # top, front, right
    assert cut(volume, "axial", (3, 2, 2))[0, 1] == 1
    assert cut(volume, "coronal", (1, 0, 2))[0, 1] == 1
    assert cut(volume, "sagittal", (1, 2, 1))[0, 0] == 1


def test_difference_is_drawn_within_the_mask(head, head_file, tmp_path):
    made = sitk.Cast(head + 25.0, sitk.sitkFloat32)
    write_image(made, tmp_path / "made.nii.gz")
    write_image(sitk.Cast(head > -500, sitk.sitkUInt8), tmp_path / "mask.nii.gz")
    draw_difference(
        tmp_path / "made.nii.gz", head_file, tmp_path / "difference.pdf", mask=tmp_path / "mask.nii.gz", units="HU"
    )
    assert (tmp_path / "difference.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(BadInputError, match="limit"):
        draw_difference(tmp_path / "made.nii.gz", head_file, tmp_path / "difference.png", limit=0)


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["figures", *(str(argument) for argument in arguments)])


def test_commands_write_the_figures_they_name(package, run, head_file, tmp_path):
    write_image(sitk.ReadImage(str(head_file)) + 3.0, tmp_path / "made.nii.gz")
    write_image(sitk.ReadImage(str(head_file)) > -500, tmp_path / "mask.nii.gz")
    for fold in ("a", "b"):
        folder = tmp_path / fold / "evaluation"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"subject,patient,predictor,RMSE\np-{fold}_1,p-{fold},tiny,1.5\n")
        (folder / "metrics.json").write_text('{"contenders": ["tiny"]}')
    commands = {
        "filters.png": ("filters", package),
        "features.png": ("features", package, head_file, "--maps", 2),
        "curves.png": ("curves", run),
        "difference.png": ("difference", tmp_path / "made.nii.gz", head_file, "--mask", tmp_path / "mask.nii.gz"),
        "profile.svg": ("profile", f"CT={head_file}", "--point", "-2,3,4"),
        "slices.json": (
            "slices",
            tmp_path / "made.nii.gz",
            head_file,
            "--mask",
            tmp_path / "mask.nii.gz",
            "--range",
            "-1000,1000",
        ),
        "folds.md": ("folds", tmp_path / "a", tmp_path / "b"),
    }
    for name, command in commands.items():
        result = invoke(*command, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert (tmp_path / name).stat().st_size > 0, name
    scores = json.loads((tmp_path / "slices.json").read_text())
    assert scores["scores"]["RMSE"] == pytest.approx(3, rel=1e-4)
    assert scores["scores"]["PSNR"] == pytest.approx(20 * np.log10(2000 / 3), rel=1e-4)
    assert set(scores["definitions"]) == set(scores["scores"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "ct.nii.gz"), "NAME=FILE"),
        (("profile", "CT=HERE/a.nii.gz", "CT=HERE/b.nii.gz"), "Two volumes"),
        (("profile", "CT=HERE/a.nii.gz", "--point", "1,2"), "R,A,S"),
        (("profile", "CT=nowhere.nii.gz"), "nowhere.nii.gz does not exist"),
        (("slices", "HERE/a.nii.gz", "HERE/b.nii.gz", "--mask", "HERE/m.nii.gz", "--range", "1,0"), "LOW,HIGH"),
        (("curves", "HERE"), "no training log"),
        (("curves", "nowhere"), "nowhere does not exist"),
        (("filters", "no-such-model"), "no-such-model"),
    ],
)
def test_wrong_commands_say_what_to_do_and_write_nothing(arguments, message, tmp_path):
    volumes, output = tmp_path / "volumes", tmp_path / "output"
    volumes.mkdir()
    output.mkdir()
    for name in ("a.nii.gz", "b.nii.gz", "m.nii.gz"):
        write_image(sitk.Image(4, 4, 4, sitk.sitkFloat32), volumes / name)
    arguments = [argument.replace("HERE", str(volumes)) for argument in arguments]
    result = invoke(*arguments, "-o", output / "x.png")
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert not list(output.iterdir())
