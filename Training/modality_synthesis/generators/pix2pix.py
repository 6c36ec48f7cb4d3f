"""Pix2Pix (Isola 2017, arXiv 1611.07004) in 3-D: a network judged by losses and by a conditional PatchGAN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modality_synthesis.generators.adversarial import (
    NetworkChoice,
    Objective,
    adversarial_loss,
    build_network,
    check_objective,
    discriminator_loss,
    paste,
)
from modality_synthesis.generators.base import Batch, Criterion, Generator, StepReport
from modality_synthesis.generators.discriminator import PatchDiscriminator
from modality_synthesis.signatures import Count, NotNegative


class Pix2Pix(Generator):
    """A network G and a discriminator D that sees the source together with a target, real or synthetic.

    G minimizes adversarial_weight · adversarial(D(x, G(x))) plus the recipe's losses of (G(x), y); the published
    objective is the loss `l1` with weight 100 beside an adversarial weight of 1. G and D take turns; on each batch G
    comes first, so that its volume is computed once for both (the published code starts with D). Dropout is off in
    synthesis; the published generator keeps it on, to "only minor stochasticity" (section 3.1).

    Args:
        network: `{name, parameters}` of a registered generator; default: the 3-D U-Net.
        in_channels: source channels.
        out_channels: target channels.
        discriminator: parameters of `PatchDiscriminator` (channels, layers, norm, spectral).
        objective: `bce` (published) or `least-squares`.
        adversarial_weight: of the generator's adversarial term.
        initial_std: of the network's convolutions; None keeps the network's own initialization.
    """

    training_only: Sequence[str] = ("discriminator",)

    def __init__(
        self,
        network: NetworkChoice | None = None,
        in_channels: Count = 1,
        out_channels: Count = 1,
        discriminator: Mapping[str, Any] | None = None,
        objective: Objective = "bce",
        adversarial_weight: NotNegative = 1.0,
        initial_std: NotNegative | None = 0.02,
    ) -> None:
        super().__init__()
        check_objective(objective)
        self.objective, self.adversarial_weight = objective, adversarial_weight
        self.network = build_network(network or {"name": "unet"}, initial_std)
        self.discriminator = PatchDiscriminator(in_channels + out_channels, **(discriminator or {}))
        self._synthetic: Tensor | None = None

    def phases(self) -> Sequence[str]:
        return ("generator", "discriminator")

    def phase_parameters(self, phase: str) -> Iterator[nn.Parameter]:
        return (self.network if phase == "generator" else self.discriminator).parameters()

    def training_step(self, phase: str, batch: Batch, criterion: Criterion) -> StepReport:
        if phase == "generator":
            return self._generator_step(batch, criterion)
        return self._discriminator_step(batch)

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """The network's output."""
        return self.network(source, clinical)

    def _generator_step(self, batch: Batch, criterion: Criterion) -> StepReport:
        target, mask = batch.reference()
        prediction = self(batch.source, batch.clinical)
        synthetic = paste(prediction, target, mask)
        scores = self.discriminator(torch.cat([batch.source, synthetic], dim=1))
        adversarial = adversarial_loss(scores, real=True, objective=self.objective)
        self._synthetic = synthetic.detach()
        return StepReport.of(
            {**criterion(prediction, target, mask), "adversarial": self.adversarial_weight * adversarial}
        )

    def _discriminator_step(self, batch: Batch) -> StepReport:
        if self._synthetic is None:
            raise RuntimeError("the discriminator's step follows the generator's")
        target, _ = batch.reference()
        synthetic, self._synthetic = self._synthetic, None
        loss = discriminator_loss(
            self.discriminator(torch.cat([batch.source, target], dim=1)),
            self.discriminator(torch.cat([batch.source, synthetic], dim=1)),
            self.objective,
        )
        return StepReport.of({"discriminator": loss})
