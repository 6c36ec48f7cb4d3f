"""PASTA as a generator: training with cycle exchange, synthesis of whole heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from modality_synthesis.generators.base import Batch, Criterion, Generator, StepReport
from modality_synthesis.generators.pasta.arm import Arm, ArmShape
from modality_synthesis.generators.pasta.clinical import ClinicalVector, PublishedClinicalVector
from modality_synthesis.generators.pasta.objective import PathologyWeight, slice_ssim
from modality_synthesis.generators.pasta.schedule import cosine_signal, trained_timesteps
from modality_synthesis.generators.pasta.volume import Sampling, VolumeSampler
from modality_synthesis.signatures import Count, CountOrZero, NotNegative, Pair, Positive, Share


class Pasta(Generator):
    """The dual-arm conditional diffusion model.

    The defaults are the published numbers. Where the published code departs from its own intention, this one does not,
    unless asked to by `literal`: it then trains a hundred noise levels only, maps the images that condition the second
    half of a cycle to -1..1 a second time, computes SSIM with half the data range, and weights the MetaROIs by a
    fixed number; its recipe forgets no clinical variable. (The published sampler's step numbers are
    `sampling.raw_timesteps`.)

    Args:
        slices: consecutive axial slices per slab, odd.
        channels: features at full resolution.
        channel_multipliers: features per level, times `channels`.
        blocks_per_level: residual blocks.
        attention_levels: levels with attention, 0 is full resolution.
        heads: of the attention.
        dropout: in the residual blocks.
        clinical_variables: how many the model takes; 0 for none.
        layout: `revised`, or `published`: layer by layer the published network, with the layers it never uses, the time
            left out of the resampling blocks, and flags for only three of exactly six clinical variables.
        source_range: network values of the source that become -1 and 1.
        target_range: same for the target; output is held to it.
        cycle: train with cycle exchange consistency (four passes instead of one).
        task_weight: of the conditioner's own image's error.
        structure_weight: of 1 - SSIM.
        metaroi_weight: of errors in the MetaROIs, relative to 1 elsewhere; the initial value when it is learned.
        learn_metaroi_weight: learn it.
        literal: reproduce the published training to the letter.
        flip: axes ("y", "x") along which the network's slices run against the model grid.
        sampling: arguments of `Sampling`.
    """

    training_only = ("pathology",)
    # Packages of earlier versions state it; training.clinical_dropout took its place.
    retired_parameters = ("clinical_dropout",)

    def __init__(
        self,
        slices: Count = 15,
        channels: Count = 64,
        channel_multipliers: Sequence[Count] = (1, 2, 3, 4),
        blocks_per_level: Count = 4,
        attention_levels: Sequence[CountOrZero] = (2, 3),
        heads: Count = 4,
        dropout: Share = 0.0,
        clinical_variables: CountOrZero = 6,
        layout: Literal["revised", "published"] = "revised",
        source_range: Pair = (0.0, 1.0),
        target_range: Pair = (0.0, 1.0),
        cycle: bool = True,
        task_weight: NotNegative = 0.1,
        structure_weight: NotNegative = 1.0,
        metaroi_weight: Positive = 10.0,
        learn_metaroi_weight: bool = True,
        literal: bool = False,
        flip: Sequence[Literal["y", "x"]] = (),
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if layout not in ("revised", "published"):
            raise ValueError("layout must be 'revised' or 'published'")
        if layout == "published" and clinical_variables not in (0, PublishedClinicalVector.variables):
            raise ValueError("the published layout takes exactly 6 clinical variables")
        published = layout == "published"
        self.clinical: ClinicalVector | PublishedClinicalVector | None = None
        if published:
            self.clinical = PublishedClinicalVector()
        elif clinical_variables:
            self.clinical = ClinicalVector(clinical_variables)
        length = self.clinical.length if self.clinical is not None else 0

        def arm(clinical: int) -> Arm:
            return Arm(
                ArmShape(
                    slices, channels, tuple(channel_multipliers), blocks_per_level, tuple(attention_levels), heads,
                    dropout, clinical, resampling_time=not published,
                )
            )  # fmt: skip

        self.denoiser = arm(length)
        self.conditioner = arm(length if published else 0)
        self.takes_clinical = clinical_variables > 0
        self.pathology = PathologyWeight(metaroi_weight, learn_metaroi_weight and not literal)
        self.source_range, self.target_range = _range(source_range, "source"), _range(target_range, "target")
        self.cycle, self.literal = cycle, literal
        self.task_weight, self.structure_weight = task_weight, structure_weight
        self.flip = [_FLIPS[axis] for axis in _checked_axes(flip)]
        self.sampling = Sampling(**(sampling or {}))
        self._signal = torch.tensor(cosine_signal(), dtype=torch.float64)
        self._trained = torch.tensor(list(trained_timesteps(literal)))

    @property
    def stochastic(self) -> bool:
        """Whether another seed gives another result."""
        return self.sampling.steps > 0

    # Training

    def training_step(self, phase: str, batch: Batch, criterion: Criterion) -> StepReport:
        """Four passes of cycle exchange (one without), on a slab per sample.

        Passes: source -> target; its estimate -> source; target -> source; its estimate -> target. Toward the source
        the arms swap roles. An estimate is the clean image seen by the network at a random noise level, not a sample;
        gradients flow through it. The recipe's own losses, if any, act on the first pass's estimate.
        """
        assert batch.target is not None
        batch = self._slab_of(batch)
        source, target = self._into(batch.source, self.source_range), self._into(batch.target, self.target_range)
        regions = None if batch.regions is None else self._slices(batch.regions, 0.0)
        clinical = self._clinical(batch)

        def to_target(condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self._pass(self.conditioner, self.denoiser, condition, target, regions, clinical)

        def to_source(condition: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return self._pass(self.denoiser, self.conditioner, condition, source, regions, None)

        estimate, terms = to_target(source)
        if self.cycle:
            _, returned = to_source(self._as_condition(estimate))
            back, reverse = to_source(target)
            _, completed = to_target(self._as_condition(back))
            terms["reverse"] = _total(reverse)
            terms["cycle"] = _total(returned) + _total(completed)
        mask = batch.mask if batch.mask is not None else torch.ones_like(batch.target)
        terms.update(criterion(self._out_of(estimate, batch.target), batch.target, mask))
        report = dict(terms)
        if self.pathology.log_weight.requires_grad and regions is not None:
            report["MetaROI weight"] = self.pathology.weight.detach()
        return StepReport(loss=_total(terms), terms=report)

    def _pass(
        self,
        conditioner: Arm,
        denoiser: Arm,
        condition: Tensor,
        clean: Tensor,
        regions: Tensor | None,
        clinical: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features = conditioner.extract(condition)
        timestep = self._trained[torch.randint(len(self._trained), (len(clean),))]
        signal = self._signal[timestep].to(clean).view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape).to(clean.device)
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        estimate = denoiser(noisy, timestep.to(clean.device), denoiser.gains(features, clinical)).float()
        data_range = 1.0 if self.literal else 2.0
        terms = {
            "diffusion": self.pathology(clean, estimate, regions),
            "task": self.task_weight * self.pathology(clean, features.image, regions),
            "structure": self.structure_weight * (1 - slice_ssim(clean, estimate, data_range)),
        }
        return estimate, terms

    def _as_condition(self, estimate: Tensor) -> Tensor:
        return 2 * estimate - 1 if self.literal else estimate

    def _slab_of(self, batch: Batch) -> Batch:
        """A random slab per sample, where the dataset gives more than a slab."""
        slices, depth = self.denoiser.shape.slices, batch.source.shape[2]
        if depth == slices:
            return batch
        if depth < slices:
            raise ValueError(f"training needs at least {slices} slices, got {depth}")
        assert batch.target is not None
        starts = [_random_start(target[0], slices) for target in batch.target]

        def cut(volume: Tensor | None) -> Tensor | None:
            if volume is None:
                return None
            return torch.stack([one[:, start : start + slices] for one, start in zip(volume, starts, strict=True)])

        source = cut(batch.source)
        assert source is not None
        return Batch(source, cut(batch.target), cut(batch.mask), batch.clinical, batch.seed, regions=cut(batch.regions))

    # Synthesis

    def synthesize(self, batch: Batch, progress: Callable[[float], None] | None = None) -> Tensor:
        """Sample the volumes of a batch: (batch, 1, depth, height, width), any size, network values.

        The noise depends on `batch.seed` alone, whatever the device. `progress` is called after every network call;
        what it raises ends the synthesis.
        """
        return self._volumes(batch, self.sampling, progress)

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """The conditioner's own image: a regression without noise and without clinical variables."""
        return self._volumes(Batch(source), Sampling(steps=0), None)

    def _volumes(self, batch: Batch, sampling: Sampling, progress: Callable[[float], None] | None) -> Tensor:
        sources = self._into(batch.source, self.source_range)
        clinical = self._clinical(batch)
        made = []
        for index, source in enumerate(sources):

            def advance(done: float, index: int = index) -> None:
                if progress is not None:
                    progress((index + done) / len(sources))

            sampler = VolumeSampler(
                self.conditioner,
                self.denoiser,
                None if clinical is None else clinical[index : index + 1],
                sampling,
                advance,
                background=_scaled(0.0, self.source_range),
            )
            made.append(sampler.run(source, batch.seed + index))
        return self._out_of(torch.stack(made), batch.source)

    # Between network values (batch, 1, z, y, x) and what the arms see: (batch, slice, height, width), -1..1

    def _into(self, volume: Tensor, limits: tuple[float, float]) -> Tensor:
        return self._slices(_scaled(volume, limits), _scaled(0.0, limits))

    def _slices(self, volume: Tensor, background: float) -> Tensor:
        slices = volume[:, 0].flip(self.flip) if self.flip else volume[:, 0]
        height, width = slices.shape[2:]
        divisor = self.denoiser.shape.divisor
        return functional.pad(slices, (0, -width % divisor, 0, -height % divisor), value=background)

    def _out_of(self, slices: Tensor, like: Tensor) -> Tensor:
        low, high = self.target_range
        slices = slices[:, :, : like.shape[3], : like.shape[4]]
        slices = slices.flip(self.flip) if self.flip else slices
        return low + (slices[:, None] + 1) / 2 * (high - low)

    def _clinical(self, batch: Batch) -> Tensor | None:
        if self.clinical is None or not self.takes_clinical:
            return None
        values = batch.clinical
        if values is None:
            values = torch.full((len(batch.source), self.clinical.variables), torch.nan)
        if values.shape[1] != self.clinical.variables:
            raise ValueError(f"the model takes {self.clinical.variables} clinical variables, got {values.shape[1]}")
        return self.clinical(values.to(batch.source))


_FLIPS = {"y": 2, "x": 3}


def _checked_axes(axes: Sequence[str]) -> Sequence[str]:
    if not set(axes) <= set(_FLIPS):
        raise ValueError("flip names the axes 'y' and 'x' only")
    return axes


def _range(limits: Sequence[float], name: str) -> tuple[float, float]:
    low, high = (float(limit) for limit in limits)
    if low >= high:
        raise ValueError(f"{name}_range must rise")
    return low, high


Values = TypeVar("Values", float, Tensor)


def _scaled(values: Values, limits: tuple[float, float]) -> Values:
    """Network values -> -1..1. Outside the head network values are 0."""
    low, high = limits
    return 2 * (values - low) / (high - low) - 1


def _random_start(target: Tensor, slices: int) -> int:
    """First slice of a random slab whose middle slice is not empty."""
    middle = target[slices // 2 : len(target) - slices // 2].flatten(1)
    filled = (middle.amax(1) > middle.amin(1)).nonzero()[:, 0]
    if len(filled) == 0:
        return int(torch.randint(len(middle), ()))
    return int(filled[torch.randint(len(filled), ())])


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()
