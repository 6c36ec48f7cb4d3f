"""The DRUNet recipes: all of them complete, buildable, and what their names say."""

from __future__ import annotations

import types
from pathlib import Path

import pytest
import torch
import yaml

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.recipe import read_recipe

FOLDER = Path(__file__).parents[2] / "Training" / "recipes" / "drunet"
GENERATORS = {"34": "drunet-34", "50": "drunet-50", "101": "drunet-101", "unet-2d": "unet-2d"}
LOSSES = {"mse": ["mse"], "bce": ["bce"], "cx": ["contextual"], "l1cx": ["l1", "contextual"]}
LEAVES = [(g, loss, t) for g in GENERATORS for loss in LOSSES for t in ("T1w", "T2w")]


@pytest.fixture
def feature_network(monkeypatch):
    """Stands for the feature network, which takes a while to load 16 times over."""
    stub = torch.nn.Identity()
    stub.dimensions = 2
    monkeypatch.setattr("modality_synthesis.losses.contextual.load_feature_network", lambda *_, **__: stub)


def test_there_are_32_recipes_and_a_variant_and_no_other():
    names = {path.stem for path in FOLDER.glob("*.yaml") if not path.name.startswith("_")}
    assert names == {*("-".join(parts) for parts in LEAVES), "34-l1cx-T1w_triplanar"}
    assert len(names) == 33


@pytest.mark.parametrize("parts", LEAVES, ids="-".join)
def test_a_recipe_builds_what_its_name_says(parts, feature_network):
    generator, loss, target = parts
    recipe = read_recipe(FOLDER / f"{'-'.join(parts)}.yaml")
    assert (recipe.route.source, recipe.route.target) == ("CT", target)
    assert recipe.generator.name == GENERATORS[generator]
    assert [term.name for term in recipe.losses] == LOSSES[loss]
    assert recipe.name.endswith("-".join(parts))
    assert target in recipe.package.name
    with torch.device("meta"):
        built = build_generator(recipe.generator.name, recipe.generator.parameters)
    assert built(torch.empty(1, 1, 2, 64, 64, device="meta")).shape == (1, 1, 2, 64, 64)
    WeightedLosses([(term.name, term.weight, term.parameters) for term in recipe.losses])
    assert recipe.inference.mode == "slices"
    assert (recipe.training.sampling.mode, recipe.training.sampling.thickness) == ("slab", 1)


def test_every_recipe_makes_a_package_of_its_own():
    ids = [read_recipe(FOLDER / f"{'-'.join(parts)}.yaml").package.id for parts in LEAVES]
    assert len(set(ids)) == 32


def test_encoder_weights_stay_out_of_the_card(tmp_path):
    weights = tmp_path / "resnet34.safetensors"
    weights.touch()
    recipe = read_recipe(FOLDER / "34-mse-T1w.yaml", [f"generator.parameters.encoder_weights={weights}"])
    with torch.device("meta"):
        generator = build_generator("drunet-34")
    split = types.SimpleNamespace(as_dict=lambda: {"train": [], "validation": [], "test": []})
    card = card_facts(recipe, split, 1.0, stochastic=False, training_parameters=generator.training_parameters)
    assert card["generator"] == {
        "name": "drunet-34",
        "parameters": {"channels": "windows", "source_range": [-1024.0, 2000.0]},
    }
    assert "resnet34.safetensors" not in str(card)


def test_later_bases_win_and_shared_bases_are_no_circle(tmp_path):
    base = yaml.safe_load((FOLDER / "_ct-chain.yaml").read_text())
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**base, "training": {"epochs": 1, "seed": 3}}))
    (tmp_path / "a.yaml").write_text("extends: base.yaml\ntraining: {epochs: 2}\nname: a\n")
    (tmp_path / "b.yaml").write_text("extends: base.yaml\nname: b\n")
    (tmp_path / "both.yaml").write_text("extends: [b.yaml, a.yaml]\nname: both\ntraining: {batch_size: 4}\n")
    from modality_synthesis.training.recipe import _read

    read = _read(tmp_path / "both.yaml", seen=())
    assert read["name"] == "both"
    assert read["training"] == {"epochs": 2, "seed": 3, "batch_size": 4}
    assert "extends" not in read
    (tmp_path / "base.yaml").write_text("extends: [both.yaml]\n")
    with pytest.raises(BadInputError, match="circle"):
        _read(tmp_path / "both.yaml", seen=())


@pytest.mark.parametrize(
    "overrides",
    [["generator.parameters.activation=none"], ["losses=[{name: l1}, {name: bce}]"], ["losses=[{name: mse}]"]],
)
def test_logits_are_for_bce_and_bce_is_for_logits(overrides):
    with pytest.raises(BadInputError, match="activation: logits"):
        read_recipe(FOLDER / "34-bce-T1w.yaml", overrides)


def test_neighbors_as_channels_need_slabs_that_hold_them():
    """A slab of one slice would be trained with itself as its neighbors, and synthesized with the true ones."""
    overrides = ["generator.parameters.channels=neighbors"]
    for thickness in (1, 2):
        with pytest.raises(BadInputError, match=r"set training\.sampling to thickness: 3 or more"):
            read_recipe(FOLDER / "34-mse-T1w.yaml", [*overrides, f"training.sampling.thickness={thickness}"])
    for sampling in ("{mode: patch, size: [2, 64, 64]}", "{mode: patch, size: [1, 64, 64]}"):
        with pytest.raises(BadInputError, match=r"size: \[3, ...\] or more"):
            read_recipe(FOLDER / "34-mse-T1w.yaml", [*overrides, f"training.sampling={sampling}"])
    for sampling in ("{mode: slab, thickness: 3}", "{mode: whole}", "{mode: patch, size: [3, 64, 64]}"):
        recipe = read_recipe(FOLDER / "34-mse-T1w.yaml", [*overrides, f"training.sampling={sampling}"])
        assert recipe.generator.parameters["channels"] == "neighbors"


def test_the_generator_s_windows_follow_the_preprocessing_s():
    """The channels' HU windows are right whatever window preprocessing applies: one truth, stated once."""
    for overrides, expected in (
        ([], [-1024.0, 2000.0]),
        (["preprocessing.source.7.low=0"], [0.0, 2000.0]),
        (["preprocessing.source.7={step: window, low: -100, high: 300}"], [-100.0, 300.0]),
    ):
        recipe = read_recipe(FOLDER / "34-mse-T1w.yaml", overrides)
        assert recipe.generator.parameters["source_range"] == expected
        with torch.device("meta"):
            generator = build_generator(recipe.generator.name, recipe.generator.parameters)
        assert [generator.input.low, generator.input.high] == expected
    split = types.SimpleNamespace(as_dict=lambda: {"train": [], "validation": [], "test": []})
    card = card_facts(recipe, split, 1.0, stochastic=False, training_parameters=())
    assert card["generator"]["parameters"]["source_range"] == expected
    reread = recipe.model_validate(recipe.model_dump())
    assert reread == recipe


def test_two_truths_about_the_window_are_refused():
    recipe, stated = FOLDER / "34-mse-T1w.yaml", "generator.parameters.source_range=[-1024, 2000]"
    assert read_recipe(recipe, [stated]) == read_recipe(recipe)
    with pytest.raises(BadInputError, match=r"source_range \[-1024, 2000\] is not .* \[0.0, 2000.0\]; leave it out"):
        read_recipe(recipe, [stated, "preprocessing.source.7.low=0"])
    with pytest.raises(BadInputError, match="preprocessing normalizes"):
        read_recipe(recipe, ["preprocessing.source.7={step: normalize, method: z-score}"])
    plain = read_recipe(recipe, ["generator.parameters.channels=repeat", "preprocessing.source.7.low=0"])
    assert "source_range" not in plain.generator.parameters


def test_slices_are_turned_mirrored_and_scaled():
    """At most 15 degrees within the slice, left and right exchanged, at most 10 %."""
    for parts in LEAVES:
        augment = read_recipe(FOLDER / f"{'-'.join(parts)}.yaml").training.augment
        assert (augment.rotation_degrees, augment.scale, augment.mirror, augment.intensities) == (15.0, 0.1, 0.5, "ct")


def test_the_paper_s_own_augmentation_can_be_asked_for():
    published = read_recipe(FOLDER / "101-cx-T1w.yaml", ["training.augment=right-angles"])
    assert published.training.augment == "right-angles"


def test_the_variant_trains_the_planes_that_it_synthesizes():
    axial, triplanar = (read_recipe(FOLDER / f"34-l1cx-T1w{end}.yaml") for end in ("", "_triplanar"))
    assert set(triplanar.training.sampling.planes) == set(triplanar.inference.planes)
    assert len(triplanar.inference.planes) == 3
    assert triplanar.package.id != axial.package.id
    assert (triplanar.losses, triplanar.generator) == (axial.losses, axial.generator)


def test_planes_that_training_never_shows_are_refused():
    recipe, three = FOLDER / "34-mse-T1w.yaml", "inference.planes=[axial, coronal, sagittal]"
    with pytest.raises(BadInputError, match=r"coronal, sagittal slices.* axis: all"):
        read_recipe(recipe, [three])
    with pytest.raises(BadInputError, match=r"axial slices.* axis: axial"):
        read_recipe(recipe, ["training.sampling.axis=coronal"])
    with pytest.raises(BadInputError, match="coronal slices"):
        read_recipe(recipe, ["training.sampling={mode: whole}", "inference.planes=[coronal]"])
    assert read_recipe(recipe, ["training.sampling.axis=coronal", "inference.planes=[coronal]"])
    assert read_recipe(recipe, ["training.sampling.axis=all"]).inference.planes == ("axial",)
    assert read_recipe(recipe, [three, "training.sampling.axis=all"])
