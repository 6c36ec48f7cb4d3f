"""The reproduction table: whatever it names can be started as it is written there."""

from __future__ import annotations

import functools
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import typer.main

from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.losses.feature_architectures import ARCHITECTURES
from modality_synthesis.losses.feature_networks import PUBLISHED
from modality_synthesis.training.recipe import Recipe, read_recipe

FOLDER = Path(__file__).parents[2] / "Training" / "recipes"
PAGE = (FOLDER / "REPRODUCTION.md").read_text(encoding="utf-8")
# Recipes for demonstrations and imports, which are no experiments of the papers.
NO_EXPERIMENTS = {"demo-t1w-fdg.yaml", "pasta-published.yaml"}


def tables() -> list[list[list[str]]]:
    """Every table of the page: its rows, header first, as cells."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", PAGE, flags=re.MULTILINE)
    return [[[cell.strip() for cell in row[1:-1].split("|")] for row in block.splitlines()] for block in blocks]


def commands() -> list[list[str]]:
    """What the second columns say is to be run, as words."""
    cells = [row[1] for table in tables() for row in table[2:]]
    return [shlex.split(span) for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


TRAININGS = [words for words in commands() if words[0].endswith(".yaml")]
OTHERS = [words for words in commands() if not words[0].endswith(".yaml")]


def options(command: str) -> set[str]:
    found = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    return {option for parameter in found.params for option in parameter.opts}


def recipe_of(words: list[str]) -> Recipe:
    return read_recipe(FOLDER / words[0], [word for word in words[1:] if "=" in word])


@pytest.fixture
def _weights_elsewhere(monkeypatch, tmp_path):
    """Feature networks and encoders by name and layers alone: their weights are files the user fetches."""
    monkeypatch.chdir(tmp_path)
    for name in {name for words in TRAININGS for name in re.findall(r"[\w.-]+\.(?:pth|safetensors)", " ".join(words))}:
        (tmp_path / name).touch()

    def load(name="vgg16", *, layers=None, weights=None):
        assert weights is not None or name in ("vgg16", "brain-mask"), f"{name} is not shipped: name its file"
        wanted = tuple(layers or PUBLISHED[name].default_layers)
        with torch.device("meta"):
            ARCHITECTURES[name]().until(wanted)
        network = torch.nn.Identity()
        network.dimensions, network.layers = PUBLISHED[name].dimensions, wanted
        return network

    for room in ("contextual", "perceptual"):
        monkeypatch.setattr(f"modality_synthesis.losses.{room}.load_feature_network", load)
    for room in ("perceptual", "perceptual_3d"):
        monkeypatch.setattr(f"modality_synthesis.losses.{room}.mean_square_response", lambda network: [1.0])


@functools.cache
def built(name: str, parameters: str) -> torch.nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modality_synthesis.generators.drunet.Encoder.load_imagenet", lambda *_: None)
        # MONAI's SwinUNETR asks its tensors for numbers while it is built, which tensors without memory do not have.
        with torch.device("cpu" if name == "swin-unetr" else "meta"):
            return build_generator(name, json.loads(parameters))


def test_every_table_has_the_same_four_columns_in_every_row():
    assert len(tables()) == 16
    for header, _, *rows in tables():
        assert header[0] == "experiment"
        assert header[1] in ("recipe", "recipe and overrides", "what runs it")
        assert header[2:] == ["published", "this project, on which data"]
        for row in rows:
            assert len(row) == 4
            assert row[0]
            assert row[2], "no published figure is said to be `none` or `not known`"


@pytest.mark.usefixtures("_weights_elsewhere")
@pytest.mark.parametrize("words", TRAININGS, ids=" ".join)
def test_a_training_can_be_started_as_written(words):
    recipe = recipe_of(words)
    changes = [word for word in words[1:] if "=" in word]
    if changes:
        assert recipe != read_recipe(FOLDER / words[0]), "the overrides change nothing"
    assert {word for word in words[1:] if word.startswith("--")} <= options("train")
    built(recipe.generator.name, json.dumps(recipe.generator.parameters))
    WeightedLosses([(term.name, term.weight, term.parameters) for term in recipe.losses])


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_what_is_no_training_exists_too(words):
    if words[0] == "modality-synthesis":
        assert {word for word in words[2:] if word.startswith("--")} <= options(words[1])
    else:
        room, _, function = f"modality_synthesis.{words[0]}".rpartition(".")
        assert callable(getattr(importlib.import_module(room), function))


def test_every_recipe_has_its_row():
    recipes = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml") if path.name[0] != "_"}
    assert {words[0] for words in TRAININGS} == recipes - NO_EXPERIMENTS


def test_what_an_ablation_takes_away_is_gone():
    rows = {row[0]: shlex.split(row[1].strip("`")) for table in tables() for row in table[2:] if "yaml" in row[1]}
    without = recipe_of(rows["without clinical variables (AdaGN with time and MRI only)"])
    assert without.clinical_variables == []
    assert not built("pasta", json.dumps(without.generator.parameters)).takes_clinical
    prior = recipe_of(rows["without pathology prior (MetaROI loss)"])
    network = build_generator("pasta", {**prior.generator.parameters, "channels": 8, "heads": 1, "blocks_per_level": 1})
    assert float(network.pathology.weight.detach()) == 1
    assert not network.pathology.log_weight.requires_grad
    printed = recipe_of(rows["PASTA as the authors' code trains and samples [^g]"])
    network = built("pasta", json.dumps(printed.generator.parameters))
    assert sum(weights.numel() for weights in network.parameters() if weights.ndim) == 89_095_710
    assert recipe_of(rows["SUVR as it is"]).preprocessing.target.standardization is None
    assert recipe_of(rows["min-max [^d]"]).preprocessing.target.standardization.method == "min-max"


def test_systems_compared_with_pasta_see_its_data():
    ours = read_recipe(FOLDER / "pasta-adni-like.yaml")
    for name in ("pix2pix", "cyclegan"):
        other = read_recipe(FOLDER / f"fdg-adni-like_{name}.yaml")
        assert (other.route, other.preprocessing, other.output) == (ours.route, ours.preprocessing, ours.output)
        assert other.generator.name == name
        # Zhu 2017 and Isola 2017.
        assert (other.optimizer.learning_rate, other.optimizer.betas) == (2e-4, (0.5, 0.999))


def test_footnotes_are_all_there_and_all_used():
    named, explained = set(re.findall(r"\[\^(\w)\](?!:)", PAGE)), set(re.findall(r"^\[\^(\w)\]:", PAGE, re.MULTILINE))
    assert named == explained


def test_the_recipes_page_leads_here():
    assert "(REPRODUCTION.md)" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_an_override_reaches_into_a_list():
    path = FOLDER / "cyclic25d" / "unet-cyclic-2.5d.yaml"
    plain, changed = read_recipe(path), read_recipe(path, ["losses.2.weight=0.65", "losses.0={name: l1}"])
    assert [term.name for term in changed.losses] == ["l1", *(term.name for term in plain.losses[1:])]
    assert changed.losses[2].weight == 0.65
    assert changed.losses[2].parameters == plain.losses[2].parameters


@pytest.mark.parametrize("key", ["losses.3.weight", "losses.mse.weight", "losses.-1", "losses.3"])
def test_an_override_of_no_such_item_is_refused(key):
    with pytest.raises(BadInputError, match="list of 3: give a position, counted from 0"):
        read_recipe(FOLDER / "cyclic25d" / "unet-cyclic-2.5d.yaml", [f"{key}=1"])
