"""The shipped recipes, their keys and the sample, as a user reaches them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.generators import generator_names
from modality_synthesis.losses import loss_names
from modality_synthesis.training.catalog import shipped_recipes
from modality_synthesis.training.recipe import Recipe, read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "Training" / "recipes"


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_every_recipe_that_can_be_trained_is_listed():
    listed = {recipe["name"] for recipe in json.loads(invoke("recipes", "list", "--json").stdout)["recipes"]}
    there = {path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml")}
    assert listed == {name for name in there if not name.rpartition("/")[2].startswith("_")}
    lines = invoke("recipes", "list").stdout.splitlines()
    assert len(lines) == len(listed)
    assert any(line.startswith("demo-t1w-fdg ") and "T1w -> FDG-PET" in line for line in lines)


def test_show_prints_the_file_or_the_whole():
    assert invoke("recipes", "show", "demo-t1w-fdg").stdout == (RECIPES / "demo-t1w-fdg.yaml").read_text()
    whole = yaml.safe_load(invoke("recipes", "show", "drunet/34-bce-T1w", "--whole").stdout)
    assert Recipe.model_validate(whole) == read_recipe(RECIPES / "drunet" / "34-bce-T1w.yaml")


def test_a_misspelled_recipe_names_the_nearest():
    result = invoke("recipes", "show", "demo-t1w-fgd")
    assert result.exit_code == 1
    assert "'demo-t1w-fdg'" in result.stderr


@pytest.mark.parametrize("name", ["demo-t1w-fdg", "drunet/34-bce-T1w", "pasta-small_no-cycle"])
def test_a_copy_is_the_same_recipe_and_replaces_nothing(tmp_path, name):
    result = invoke("recipes", "copy", name, "-o", str(tmp_path / "mine"))
    assert result.exit_code == 0, result.stderr
    copy = tmp_path / "mine" / f"{name}.yaml"
    assert read_recipe(copy) == read_recipe(RECIPES / f"{name}.yaml")
    copy.write_text("mine now")
    again = invoke("recipes", "copy", name, "-o", str(tmp_path / "mine"))
    assert again.exit_code == 2
    assert copy.read_text() == "mine now"


def test_all_keys_losses_generators_and_steps_are_documented():
    text = invoke("recipes", "keys").stdout
    for name in (*generator_names(), *loss_names()):
        assert f"- `{name}`: " in text
    for key in ("training.epochs", "optimizer.schedule", "losses[].weight", "package.licence", "output.quantity"):
        assert f"`{key}`" in text
    for step in ("reorient", "brain-mask", "bias-field", "register", "resample", "normalize", "ct-head"):
        assert f"- `{step}`: " in text
    assert "`stem_stride`" in text
    only = invoke("recipes", "keys", "losses").stdout
    assert "`ssim`" in only
    assert "training.epochs" not in only
    assert invoke("recipes", "keys", "moon").exit_code == 2


def test_every_key_that_shipped_recipes_use_is_documented():
    text = invoke("recipes", "keys", "keys").stdout
    for recipe in shipped_recipes():
        content = yaml.safe_load(recipe.path.read_text())
        for part in ("optimizer", "training", "package", "inference", "output"):
            for key in content.get(part, {}):
                assert f"`{part}.{key}`" in text, (recipe.name, key)


def test_the_sample_is_copied_once(tmp_path, sample_head):
    result = invoke("sample", "-o", str(tmp_path / "head.nii.gz"))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "head.nii.gz").read_bytes() == sample_head.read_bytes()
    assert invoke("sample", "-o", str(tmp_path / "head.nii.gz")).exit_code == 2
