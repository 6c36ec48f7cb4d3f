"""Generators: shapes, gradients, registry."""

from __future__ import annotations

import pytest
import torch

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch

SMALL = {"channels": [4, 8, 8]}


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 22, 19)])
def test_output_has_the_input_s_size(stem_stride, size):
    generator = build_generator("residual-unet", {**SMALL, "stem_stride": stem_stride})
    assert generator(torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_every_parameter_receives_a_gradient():
    generator = build_generator("residual-unet", SMALL)
    generator(torch.rand(1, 1, 16, 16, 16)).square().mean().backward()
    # A bias before a normalization has no effect, so that its gradient is zero, but it is there.
    assert all(parameter.grad is not None for parameter in generator.parameters())


def test_final_bias_is_where_an_untrained_output_starts():
    torch.manual_seed(0)
    generator = build_generator("residual-unet", {**SMALL, "final_bias": 5.0})
    assert generator(torch.rand(1, 1, 16, 16, 16)).mean().item() == pytest.approx(5.0, abs=1.0)


def test_training_step_minimizes_the_sum_of_the_terms():
    generator = build_generator("residual-unet", SMALL)
    batch = Batch(source=torch.rand(1, 1, 16, 16, 16), target=torch.rand(1, 1, 16, 16, 16))

    def criterion(prediction, target, mask):
        return {"a": (prediction - target).square().mean(), "b": torch.tensor(2.0)}

    report = generator.training_step("generator", batch, criterion)
    assert report.loss.item() == pytest.approx(report.terms["a"].item() + 2.0)


def test_registry_names_what_is_wrong():
    with pytest.raises(BadInputError, match="residual-unet"):
        build_generator("resnet")
    with pytest.raises(BadInputError, match="'depth'"):
        build_generator("residual-unet", {"depth": 3})
    with pytest.raises(BadInputError, match="stem_stride"):
        build_generator("residual-unet", {"stem_stride": 3})
