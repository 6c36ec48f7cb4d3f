"""Mixed precision: losses are those of float32, and a training step in bfloat16 leads the way of one in float32."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.adversarial import adversarial_loss, masked_l1
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.generators.pasta.objective import PathologyWeight, slice_ssim
from modality_synthesis.generators.registry import generator_names
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.losses.names import loss_names

U_NET = {"name": "unet", "parameters": {"channels": [4, 8], "strides": [2], "dropout": 0.0}}
# Parameters, and the size of the volumes.
GENERATORS: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "residual-unet": ({"channels": [4, 8], "stem_stride": 1}, (12, 16, 16)),
    "unet": (U_NET["parameters"], (12, 16, 16)),
    "unetr": ({"image_size": [16] * 3, "feature_size": 4, "hidden_size": 12, "mlp_size": 24, "heads": 2}, (16,) * 3),
    "swin-unetr": ({"feature_size": 12, "depths": [1] * 4, "heads": [1] * 4, "window_size": 3}, (32, 32, 32)),
    "unet-2d": ({"features": [4, 4, 8, 8, 16], "source_range": [0, 1]}, (12, 32, 32)),
    "drunet-34": ({}, (11, 32, 32)),
    "drunet-50": ({}, (11, 32, 32)),
    "drunet-101": ({}, (11, 32, 32)),
    "pix2pix": ({"network": U_NET, "discriminator": {"channels": 4, "layers": 1}}, (12, 16, 16)),
    "cyclegan": ({"network": U_NET, "discriminator": {"channels": 4, "layers": 1}}, (12, 16, 16)),
    "pasta": ({"slices": 3, "channels": 8, "channel_multipliers": [1, 2], "blocks_per_level": 1,
               "attention_levels": [1], "heads": 2, "clinical_variables": 0}, (8, 16, 16)),
}  # fmt: skip
LOSSES = {
    "bce": {},
    "contextual": {"slices": 2, "layers": {"relu3_3": 1.0}},
    "foreground-weighted": {},
    "l1": {},
    "mse": {},
    "perceptual-2.5d": {"slice_stride": 8},
    "perceptual-2d": {"slice_stride": 4},
    "perceptual-3d": {},
    "perceptual-cyclic-2.5d": {"slice_stride": 4},
    "ssim": {"data_range": 2.0},
}
# Where a gradient's direction hangs on which of two close features matches, or on a discriminator's few scores.
SLOW = {"drunet-34", "drunet-50", "drunet-101", "swin-unetr"}
# A deep residual network with random weights and the statistics of one small batch is chaotic: noise of 0.2 % in its
# input turns its gradient (cosine 0.5) in single precision too. With fixed statistics it is not.
FIXED_STATISTICS = {"drunet-34", "drunet-50", "drunet-101"}
ROUGH = {"pix2pix", "cyclegan", "contextual"}


def volumes(size: tuple[int, int, int] = (16, 16, 16)) -> Batch:
    """A smooth source and a target that depends on it, with a ball as mask."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((2, 1, *size), generator=generator)
    smooth = torch.nn.functional.avg_pool3d(noise, 5, 1, 2) * 6
    grid = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij"))
    mask = (grid.norm(dim=0) < 0.9).float()[None, None]
    source, target = smooth[:1] * mask, (0.6 + 0.3 * smooth[:1] + 0.2 * smooth[1:]).clamp(0, 2) * mask
    return Batch(source=source, target=target, mask=mask)


def step(generator: Generator, losses: WeightedLosses, batch: Batch, half: bool) -> dict[str, tuple[float, Tensor]]:
    """Loss and gradient of each phase, the same random draws in every call."""
    found = {}
    torch.manual_seed(3)
    for phase in generator.phases():
        generator.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            report = generator.training_step(phase, batch, losses)
        assert report.loss.dtype == torch.float32
        report.loss.backward()
        gradients = [p.grad.flatten() for p in generator.phase_parameters(phase) if p.grad is not None]
        found[phase] = report.loss.item(), torch.cat(gradients)
    return found


def assert_leads_the_same_way(make, losses: WeightedLosses, batch: Batch, cosine: float) -> None:
    torch.manual_seed(0)
    exact = step(make(), losses, batch, half=False)
    torch.manual_seed(0)
    for phase, (loss, gradient) in step(make(), losses, batch, half=True).items():
        expected, wanted = exact[phase]
        assert math.isfinite(loss)
        assert loss == pytest.approx(expected, rel=0.02), phase
        assert torch.cosine_similarity(gradient, wanted, dim=0).item() > cosine, phase


def test_every_generator_and_loss_is_tried():
    assert set(GENERATORS) == set(generator_names())
    assert set(LOSSES) == set(loss_names())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in GENERATORS]
)
def test_every_generator_takes_a_step_in_half_precision(name):
    parameters, size = GENERATORS[name]
    losses = WeightedLosses([] if name == "pasta" else [("mse", 1.0, {}), ("ssim", 0.3, {"data_range": 2.0})])

    def make() -> Generator:
        generator = build_generator(name, parameters)
        return generator.eval() if name in FIXED_STATISTICS else generator

    assert_leads_the_same_way(make, losses, volumes(size), 0.9 if name in ROUGH else 0.99)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_a_step_in_half_precision(name):
    losses = WeightedLosses([(name, 1.0, LOSSES[name])])
    assert_leads_the_same_way(
        lambda: build_generator("residual-unet", GENERATORS["residual-unet"][0]), losses, volumes(),
        0.9 if name in ROUGH else 0.99,
    )  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_equal_inputs_give_the_loss_of_single_precision(name):
    """Under autocast, of half-precision values: the very loss of the same values in float32, with a gradient."""
    batch = volumes()
    prediction = (batch.target.flip(4) * 0.9 + 0.05).bfloat16()
    target, mask = batch.reference()
    losses = WeightedLosses([(name, 1.0, LOSSES[name])])
    torch.manual_seed(5)
    expected = losses(prediction.float().requires_grad_(), target, mask)[name]
    given = prediction.clone().requires_grad_()
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(given, target, mask)[name]
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert torch.isfinite(given.grad.float()).all()
    assert given.grad.float().abs().sum() > 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: slice_ssim(a, b, 2.0),
        lambda a, b: PathologyWeight()(a, b, (a > 0).float()),
        lambda a, b: masked_l1(a, b, torch.ones_like(a)),
        lambda a, b: adversarial_loss(a - b, real=True, objective="bce"),
        lambda a, b: adversarial_loss(a - b, real=False, objective="least-squares"),
    ],
    ids=["slice SSIM", "pathology", "masked L1", "cross-entropy", "least squares"],
)
def test_generators_own_losses_are_those_of_single_precision(loss):
    generator = torch.Generator().manual_seed(2)
    # A bright background and little contrast: where 8 bits leave nothing of a variance.
    first = (1 + 0.01 * torch.randn(1, 3, 24, 24, generator=generator)).bfloat16()
    second = (1 + 0.01 * torch.randn(1, 3, 24, 24, generator=generator)).bfloat16()
    expected = loss(first.float(), second.float()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(first, second)
    # The difference of two half-precision tensors is taken before the adversarial losses see it.
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
