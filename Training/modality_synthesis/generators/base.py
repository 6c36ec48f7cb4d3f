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

from modality_synthesis.errors import BadInputError

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
        regions: (batch, 1, depth, height, width), 1 in the MetaROIs, for generators that weight them in training.
    """

    source: Tensor
    target: Tensor | None = None
    mask: Tensor | None = None
    clinical: Tensor | None = None
    seed: int = 0
    regions: Tensor | None = None

    def reference(self) -> tuple[Tensor, Tensor]:
        """The target and where it is defined; everywhere when the batch has no mask."""
        if self.target is None:
            raise ValueError("training needs a target")
        return self.target, torch.ones_like(self.target[:, :1]) if self.mask is None else self.mask.to(self.target)


@dataclass(frozen=True)
class StepReport:
    """What one training step of one phase minimizes (`loss`) and logs (`terms`)."""

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, terms: Mapping[str, Tensor]) -> StepReport:
        """The report of a step that minimizes the sum of its terms."""
        return cls(loss=torch.stack(list(terms.values())).sum(), terms=terms)


class Generator(nn.Module):
    """Base class of all generators."""

    # Names of sub-modules that only training needs (discriminators, ...); they stay out of the model package.
    training_only: Sequence[str] = ()
    # Names of constructor arguments that only training needs (files to start from, ...); they stay out of it too.
    training_parameters: Sequence[str] = ()
    # Names of constructor arguments of earlier versions, without a meaning today: packages may state them.
    retired_parameters: Sequence[str] = ()
    # Along depth: a slice of the output depends on so many slices of the source on either side.
    context: int = 0

    @property
    def stochastic(self) -> bool:
        """Whether another seed gives another result."""
        return False

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
        terms = criterion(self(batch.source, batch.clinical), *batch.reference())
        if not terms:
            raise BadInputError("A recipe for this generator needs at least one loss.")
        return StepReport.of(terms)

    def synthesize(self, batch: Batch, progress: Callable[[float], None] | None = None) -> Tensor:
        """The generator's output for a batch, network values; `progress` hears 0..1 from iterative generators."""
        return self(batch.source, batch.clinical)

    def optimize_for_synthesis(self, device: torch.device) -> None:
        """Make synthesis on a device cheaper, in place: the same output to rounding, but no training afterwards."""

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """One pass from source to target values."""
        raise NotImplementedError

    def drop_training_parts(self) -> None:
        """Delete the training-only sub-modules: what is left synthesizes, and weighs what its package does."""
        for name in self.training_only:
            delattr(self, name)
        self.training_only = ()

    def package_state(self) -> dict[str, Tensor]:
        """The weights synthesis needs."""
        prefixes = tuple(f"{name}." for name in self.training_only)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(prefixes or ("\0",))}
