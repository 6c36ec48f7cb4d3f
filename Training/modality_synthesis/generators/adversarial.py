"""What the adversarial systems share: their objectives and how their networks are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.generators.base import Generator
from modality_synthesis.generators.registry import build_generator, check_network
from modality_synthesis.precision import full_precision

Objective = Literal["bce", "least-squares"]
# Name and parameters of a registered generator, as a recipe writes them.
NetworkChoice = Mapping[str, Any]


@full_precision
def adversarial_loss(scores: Tensor, *, real: bool, objective: Objective) -> Tensor:
    """How far a discriminator's scores are from calling everything real (or fake), a scalar in float32.

    Args:
        scores: unbounded, any shape.
        real: what they ought to say.
        objective: `bce`, cross-entropy of the scores as logits (Goodfellow 2014, its non-saturating form), or
            `least-squares`, squared distance from 1 (real) or 0 (fake) (Mao 2017).
    """
    wanted = torch.full_like(scores, float(real))
    if objective == "bce":
        return functional.binary_cross_entropy_with_logits(scores, wanted)
    return functional.mse_loss(scores, wanted)


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor, objective: Objective) -> Tensor:
    """What a discriminator minimizes; halved, to slow it against the generator (Isola 2017, section 3.3)."""
    on_real = adversarial_loss(real_scores, real=True, objective=objective)
    return (on_real + adversarial_loss(fake_scores, real=False, objective=objective)) / 2


def check_objective(objective: str) -> None:
    """Raises ValueError for an unknown objective."""
    if objective not in get_args(Objective):
        raise ValueError(f"objective must be one of {', '.join(get_args(Objective))}, not {objective!r}")


@full_precision
def masked_l1(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference inside the mask, in float32; all of one shape."""
    weight = mask.float().expand_as(first)
    return ((first - second).abs() * weight).sum() / weight.sum().clamp(min=1)


def paste(prediction: Tensor, around: Tensor, mask: Tensor) -> Tensor:
    """The prediction inside the mask, `around` outside it.

    Outside the mask a prediction is never seen by anybody, so that nothing makes it look real there; a discriminator
    would tell it by that alone.
    """
    return torch.where(mask.bool(), prediction.to(around), around)


def build_network(choice: NetworkChoice, initial_std: float | None) -> Generator:
    """A registered one-pass network, its convolutions drawn from N(0, initial_std²) unless that is None.

    Raises:
        ValueError: a system that has its own way to train or to synthesize.
        BadInputError: no mapping of name and parameters, unknown name, or parameters it does not take.
    """
    check_network(choice)
    network = build_generator(choice["name"], choice.get("parameters"))
    kind = type(network)
    if kind.training_step is not Generator.training_step or kind.synthesize is not Generator.synthesize:
        raise ValueError(f"{choice['name']!r} is a system of its own, not a network")
    if initial_std is not None:
        initialize_convolutions(network, initial_std)
    return network


def initialize_convolutions(module: nn.Module, std: float) -> None:
    """Weights of all convolutions from N(0, std²), their biases zero (Isola 2017; Zhu 2017: std 0.02)."""
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.normal_(part.weight, 0.0, std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
