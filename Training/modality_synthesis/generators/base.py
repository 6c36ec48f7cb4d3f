"""What every generator is: networks, how training updates them, how they synthesize.

One engine (`modality_synthesis.training`) trains them all. A generator with one network implements `forward` and is
done. An adversarial system overrides `phases` (generator, then discriminator: one optimizer each) and `training_step`;
a diffusion model overrides `training_step` (noise prediction) and `synthesize` (the sampler).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# criterion(prediction, target, mask) -> named, weighted terms; their sum is minimized.
Criterion = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Batch:
    """One training or synthesis batch.

    Attributes:
        source: (batch, channel, depth, height, width), network values.
        target: same layout; None in synthesis.
        mask: 1 where the target is defined, same spatial size, one channel.
        clinical: (batch, variable) standardized values; NaN is unknown. None when the model takes no variables.
        seed: for generators that draw noise.
    """

    source: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    clinical: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one training step of one phase minimizes (`loss`) and logs (`terms`)."""

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Generator(nn.Module):
    """Base class of all generators."""

    # Names of sub-modules that only training needs (discriminators, ...); they stay out of the model package.
    training_only: Sequence[str] = ()

    def phases(self) -> Sequence[str]:
        """The parts of a training step, in order; each has its own optimizer."""
        return ("generator",)

    def phase_parameters(self, phase: str) -> Iterator[nn.Parameter]:
        """The parameters that a phase's optimizer updates."""
        return self.parameters()

    def training_step(self, phase: str, batch: Batch, criterion: Criterion) -> StepReport:
        """The loss of one phase on one batch.

        Args:
            phase: one of `phases`.
            batch: with target and mask.
            criterion: the recipe's weighted losses.
        """
        assert batch.target is not None
        mask = batch.mask if batch.mask is not None else torch.ones_like(batch.target)
        terms = criterion(self(batch.source, batch.clinical), batch.target, mask)
        return StepReport(loss=torch.stack(list(terms.values())).sum(), terms=terms)

    def synthesize(self, batch: Batch, progress: Callable[[float], None] | None = None) -> Tensor:
        """The generator's output for a batch, network values; `progress` hears 0..1 from iterative generators."""
        return self(batch.source, batch.clinical)

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """One pass from source to target values."""
        raise NotImplementedError

    def package_state(self) -> dict[str, Tensor]:
        """The weights synthesis needs."""
        prefixes = tuple(f"{name}." for name in self.training_only)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(prefixes or ("\0",))}
