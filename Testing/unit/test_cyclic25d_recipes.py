"""The recipes of the cyclic 2.5D paper: five generators, four losses, each what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.training.recipe import read_recipe

FOLDER = Path(__file__).parents[2] / "Training" / "recipes" / "cyclic25d"
GENERATORS = ("unet", "unetr", "swin-unetr", "cyclegan", "pix2pix")
BASE = {"cyclegan": [], "pix2pix": ["l1"]}
PERCEPTUAL = {
    "base": [], "2.5d": ["perceptual-2.5d"], "cyclic-2.5d": ["perceptual-cyclic-2.5d"], "3d": ["perceptual-3d"],
}  # fmt: skip
LEAVES = [(generator, loss) for generator in GENERATORS for loss in PERCEPTUAL]


def test_there_is_one_recipe_per_row_of_the_paper():
    names = {path.stem for path in FOLDER.glob("*.yaml") if not path.name.startswith("_")}
    assert names == {"-".join(parts) for parts in LEAVES}
    assert len({read_recipe(FOLDER / f"{name}.yaml").package.id for name in names}) == 20


@pytest.mark.parametrize("parts", LEAVES, ids="-".join)
def test_a_recipe_trains_what_its_name_says(parts):
    name, loss = parts
    recipe = read_recipe(FOLDER / f"{'-'.join(parts)}.yaml")
    assert recipe.name == "-".join(parts)
    assert recipe.generator.name == name
    assert [term.name for term in recipe.losses] == [*BASE.get(name, ["mse", "ssim"]), *PERCEPTUAL[loss]]
    assert (recipe.route.source, recipe.route.target) == ("T1w", "TAU-PET")
    assert recipe.preprocessing.target.standardization.by == "manufacturer"
    assert (recipe.training.batch_size, recipe.training.epochs) == (12, 1000)
    assert tuple(recipe.preprocessing.source[4].size) == (96, 112, 96)
    # MONAI's SwinUNETR asks its tensors for numbers while it is built, which tensors without memory do not have.
    with torch.device("cpu" if name == "swin-unetr" else "meta"):
        built = build_generator(recipe.generator.name, recipe.generator.parameters)
    if name in ("unet", "unetr"):
        shape = (1, 1, 96, 112, 96)
        assert built(torch.empty(shape, device="meta")).shape == shape


def test_the_cycle_is_the_published_one():
    recipe = read_recipe(FOLDER / "unet-cyclic-2.5d.yaml")
    losses = WeightedLosses([(term.name, term.weight, term.parameters) for term in recipe.losses])
    planes = []
    for epoch in (0, 119, 120, 240, 360, 998):
        losses.set_epoch(epoch)
        planes.append(losses.plane)
    assert planes == ["axial", "axial", "coronal", "sagittal", "axial", "sagittal"]


def test_only_the_unpaired_system_goes_without_the_recipe_s_losses():
    assert read_recipe(FOLDER / "cyclegan-base.yaml").generator.parameters["paired"] is False
    assert read_recipe(FOLDER / "cyclegan-2.5d.yaml").generator.parameters.get("paired", True) is True
