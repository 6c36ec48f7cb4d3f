"""A generator's and a loss's parameters are read from its source, and are those of the class."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import get_args

import pytest

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import check_generator, generator_class, generator_names, generator_signature
from modality_synthesis.losses import check_loss, loss_names, loss_signature
from modality_synthesis.losses.feature_architectures import ARCHITECTURES
from modality_synthesis.losses.feature_networks import PUBLISHED, FeatureNetworkName
from modality_synthesis.losses.registry import loss_class
from modality_synthesis.signatures import signature
from modality_synthesis.training.recipe import merged_recipe


def constructor_parameters(cls) -> dict[str, bool]:
    """Name -> whether it is required, as Python has it; `**options` stands for those of the class above."""
    if isinstance(cls, functools.partial):
        return {name: one.default is one.empty for name, one in inspect.signature(cls).parameters.items()}
    found = {}
    for level in cls.__mro__:
        if "__init__" in vars(level):
            parameters = list(inspect.signature(vars(level)["__init__"]).parameters.values())[1:]
            found |= {one.name: one.default is one.empty for one in parameters if one.kind != one.VAR_KEYWORD}
            if all(one.kind != one.VAR_KEYWORD for one in parameters):
                return found
    return found


@pytest.mark.parametrize("name", generator_names())
def test_a_generators_parameters_are_those_of_its_constructor(name):
    read = {key: one.default is None for key, one in generator_signature(name).parameters.items()}
    assert read == constructor_parameters(generator_class(name))
    assert generator_signature(name).about


@pytest.mark.parametrize("name", loss_names())
def test_a_losss_parameters_are_those_of_its_constructor(name):
    read = {key: one.default is None for key, one in loss_signature(name).parameters.items()}
    # Losses without a constructor of their own have torch's, which takes anything.
    assert read == {key: need for key, need in constructor_parameters(loss_class(name)).items() if key != "args"}
    assert loss_signature(name).about


@pytest.mark.parametrize(
    ("module", "name"), [("generators.pasta.volume", "Sampling"), ("generators.discriminator", "PatchDiscriminator")]
)
def test_parts_of_generators_have_signatures_too(module, name):
    place = f"modality_synthesis.{module}"
    read = {key: one.default is None for key, one in signature(place, name).parameters.items()}
    assert read == constructor_parameters(getattr(importlib.import_module(place), name))


def test_defaults_of_generators_and_losses_are_values_that_they_take():
    for name in generator_names():
        check_generator(name, {})
    for name in loss_names():
        check_loss(name, {})
    assert loss_signature("perceptual-cyclic-2.5d").parameters["factor"].default == "2 / 3"


def test_every_feature_network_can_be_named():
    assert set(get_args(FeatureNetworkName)) == set(PUBLISHED) == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("check", "name", "parameters", "told"),
    [
        (check_generator, "residual-unet", {"chanels": [4, 8]}, "no parameter 'chanels'. Did you mean 'channels'?"),
        (check_generator, "residual-unt", {}, "Did you mean 'residual-unet'?"),
        (check_generator, "residual-unet", {"channels": 4}, "'channels' cannot be 4"),
        (check_generator, "residual-unet", {"channels": [4, "x"]}, "'channels[1]' cannot be 'x'"),
        (check_generator, "residual-unet", {"channels": [4, 0]}, "'channels[1]' cannot be 0"),
        (check_generator, "residual-unet", {"dropout": "1e-1"}, "'dropout' cannot be '1e-1'"),
        (check_generator, "residual-unet", {"stem_stride": 3}, "'stem_stride' cannot be 3: input should be 1 or 2"),
        (check_generator, "residual-unet", {"residual_units": True}, "'residual_units' cannot be True"),
        (check_generator, "drunet-34", {"block": "x"}, "no parameter 'block'"),
        (check_generator, "drunet-34", {"encoder_weights": "no.pth"}, "'encoder_weights' cannot be 'no.pth'"),
        (check_generator, "pasta", {"sampling": {"step": 3}}, "Generator 'pasta', sampling has no parameter 'step'."),
        (check_generator, "pasta", {"sampling": {"eta": 3}}, "'eta' cannot be 3"),
        (check_generator, "pix2pix", {"network": {"name": "unett"}}, "Unknown generator 'unett'. Did you mean 'unet'?"),
        (check_generator, "pix2pix", {"network": "unet"}, "{name: ..., parameters: {...}}"),
        (check_generator, "pix2pix", {"network": {"nam": "unet"}}, "{name: ..., parameters: {...}}"),
        (check_generator, "cyclegan", {"discriminator": {"in_channels": 1}}, "no parameter 'in_channels'"),
        (check_generator, "cyclegan", {"discriminator": {"norm": "moon"}}, "'norm' cannot be 'moon'"),
        (check_loss, "mse", {"weight": 1}, "Loss 'mse' has no parameter 'weight'. Known: none."),
        (check_loss, "ssmi", {}, "Did you mean 'ssim'?"),
        (check_loss, "perceptual-2d", {"plane": "moon"}, "'axial', 'coronal' or 'sagittal'"),
        (check_loss, "perceptual-2d", {"normalisation": "paper"}, "Did you mean 'normalization'?"),
        (check_loss, "perceptual-3d", {"network": "vgg"}, "'network' cannot be 'vgg'"),
        (check_loss, "foreground-weighted", {"loss": "mes"}, "Unknown loss 'mes'. Did you mean 'mse'?"),
        (check_loss, "foreground-weighted", {"loss": "l1", "parameters": {"x": 1}}, "Loss 'l1' has no parameter 'x'"),
    ],
)
def test_what_cannot_be_given_is_refused_in_one_line_with_the_nearest(check, name, parameters, told):
    with pytest.raises(BadInputError) as refusal:
        check(name, parameters)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_numbers_are_written_as_everybody_writes_them(tmp_path):
    """YAML 1.1 takes 1e-3 for text."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text("a: [1e-3, 1E5, -2.5e-4, .5e1]\nb: '1e-3'\nc: 3e2x\nd: 12\n")
    read = merged_recipe(recipe)
    assert read["a"] == [0.001, 100_000.0, -0.00025, 5.0]
    assert (read["b"], read["c"], read["d"]) == ("1e-3", "3e2x", 12)
