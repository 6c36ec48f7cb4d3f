"""CycleGAN (Zhu 2017, arXiv 1703.10593) in 3-D: two networks, one each way, two discriminators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from modality_synthesis.generators.adversarial import (
    NetworkChoice,
    Objective,
    adversarial_loss,
    build_network,
    check_objective,
    discriminator_loss,
    masked_l1,
    paste,
)
from modality_synthesis.generators.base import Batch, Criterion, Generator, StepReport
from modality_synthesis.generators.discriminator import PatchDiscriminator
from modality_synthesis.generators.image_pool import ImagePool
from modality_synthesis.signatures import Count, CountOrZero, NotNegative


class CycleGAN(Generator):
    """A network G from source x to target y, a reverse network F, and a discriminator for each of the two modalities.

    G and F together minimize

        adversarial(D_y(G(x))) + adversarial(D_x(F(y)))
        + cycle_weight · (|F(G(x)) - x| + |G(F(y)) - y|)
        + identity_weight · cycle_weight · (|G(y) - y| + |F(x) - x|)
        + the recipe's losses of (G(x), y), when `paired`.

    The recipe's losses are added in one direction only, source to target: the one that is synthesized (no source
    states the directions of arXiv 2406.12632). With `paired` off they are not used and x and y need not belong
    together: the published, unpaired objective.

    The discriminators are shown earlier synthetic volumes too, from an image pool each. With several processes each
    has pools of its own, and the checkpoint keeps those of the first.

    Args:
        network: `{name, parameters}` of a registered generator, source to target; default: the 3-D U-Net.
        reverse: the same, target to source; default: the kind of `network`.
        in_channels: source channels.
        out_channels: target channels.
        discriminator: parameters of both `PatchDiscriminator` (channels, layers, norm, spectral).
        objective: `least-squares` (published) or `bce`.
        adversarial_weight: of the adversarial terms.
        cycle_weight: of the cycle terms.
        identity_weight: of the identity terms, relative to the cycle's; 0 turns them off.
        pool_size: volumes in each image pool.
        paired: add the recipe's losses.
        initial_std: of the networks' convolutions; None keeps the networks' own initialization.
    """

    training_only: Sequence[str] = (
        "reverse", "source_discriminator", "target_discriminator", "source_pool", "target_pool",
    )  # fmt: skip

    def __init__(
        self,
        network: NetworkChoice | None = None,
        reverse: NetworkChoice | None = None,
        in_channels: Count = 1,
        out_channels: Count = 1,
        discriminator: Mapping[str, Any] | None = None,
        objective: Objective = "least-squares",
        adversarial_weight: NotNegative = 1.0,
        cycle_weight: NotNegative = 10.0,
        identity_weight: NotNegative = 0.5,
        pool_size: CountOrZero = 50,
        paired: bool = True,
        initial_std: NotNegative | None = 0.02,
    ) -> None:
        super().__init__()
        check_objective(objective)
        if in_channels != out_channels and (identity_weight or reverse is None):
            raise ValueError("different channels in source and target need a reverse network and identity_weight 0")
        self.objective, self.paired = objective, paired
        self.adversarial_weight, self.cycle_weight = adversarial_weight, cycle_weight
        self.identity_weight = identity_weight
        network = network or {"name": "unet"}
        self.network = build_network(network, initial_std)
        self.reverse = build_network(reverse or network, initial_std)
        self.source_discriminator = PatchDiscriminator(in_channels, **(discriminator or {}))
        self.target_discriminator = PatchDiscriminator(out_channels, **(discriminator or {}))
        self.source_pool, self.target_pool = ImagePool(pool_size), ImagePool(pool_size)
        self._synthetic: tuple[Tensor, Tensor] | None = None

    def phases(self) -> Sequence[str]:
        return ("generator", "discriminator")

    def phase_parameters(self, phase: str) -> Iterator[nn.Parameter]:
        if phase == "generator":
            return itertools.chain(self.network.parameters(), self.reverse.parameters())
        return itertools.chain(self.source_discriminator.parameters(), self.target_discriminator.parameters())

    def training_step(self, phase: str, batch: Batch, criterion: Criterion) -> StepReport:
        if phase == "generator":
            return self._generator_step(batch, criterion)
        return self._discriminator_step(batch)

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """The network's output, source to target."""
        return self.network(source, clinical)

    def _generator_step(self, batch: Batch, criterion: Criterion) -> StepReport:
        source, (target, mask), clinical = batch.source, batch.reference(), batch.clinical
        prediction = self.network(source, clinical)
        synthetic_target = paste(prediction, target, mask)
        synthetic_source = paste(self.reverse(target, clinical), source, mask)
        source_again = self.reverse(synthetic_target, clinical)
        target_again = self.network(synthetic_source, clinical)

        terms = dict(criterion(prediction, target, mask)) if self.paired else {}
        terms["adversarial"] = self.adversarial_weight * (
            adversarial_loss(self.target_discriminator(synthetic_target), real=True, objective=self.objective)
            + adversarial_loss(self.source_discriminator(synthetic_source), real=True, objective=self.objective)
        )
        terms["cycle"] = self.cycle_weight * (
            masked_l1(source_again, source, mask) + masked_l1(target_again, target, mask)
        )
        if self.identity_weight:
            terms["identity"] = (
                self.identity_weight
                * self.cycle_weight
                * (
                    masked_l1(self.network(target, clinical), target, mask)
                    + masked_l1(self.reverse(source, clinical), source, mask)
                )
            )
        self._synthetic = synthetic_source.detach(), synthetic_target.detach()
        return StepReport.of(terms)

    def _discriminator_step(self, batch: Batch) -> StepReport:
        if self._synthetic is None:
            raise RuntimeError("the discriminators' step follows the generators'")
        target, _ = batch.reference()
        (synthetic_source, synthetic_target), self._synthetic = self._synthetic, None
        return StepReport.of(
            {
                "source": discriminator_loss(
                    self.source_discriminator(batch.source),
                    self.source_discriminator(self.source_pool(synthetic_source)),
                    self.objective,
                ),
                "target": discriminator_loss(
                    self.target_discriminator(target),
                    self.target_discriminator(self.target_pool(synthetic_target)),
                    self.objective,
                ),
            }
        )
