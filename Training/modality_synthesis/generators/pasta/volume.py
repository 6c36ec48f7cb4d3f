"""From slabs to volumes: the published way (independent slabs, averaged) and the joint way (one noisy volume).

Published: every slice is the center of a slab; each slab is sampled by itself from its own noise, and triangular
weights average them. A head of 96 slices at 100 steps costs 96 (1 + 100) = 9696 slab evaluations of a network.

Joint: there is one noisy volume. At each step disjoint slabs of it are denoised, and the grid of slabs moves from step
to step, so that neighbors agree through the noisy volume instead of being averaged afterwards; only the last step's
slabs overlap. The same head at 10 steps costs about 2 (9 x 8 + 28) = 200 evaluations.

Either way the network only ever sees `slab_batch` slabs at a time, however many slices the volume has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modality_synthesis.generators.pasta.arm import Arm
from modality_synthesis.generators.pasta.samplers import SAMPLERS, NoiseStream, SamplerName, sample
from modality_synthesis.generators.pasta.schedule import Level, Spacing, levels, spaced_timesteps
from modality_synthesis.generators.pasta.slabs import (
    SlabSum,
    centered_starts,
    cut,
    disjoint_starts,
    overlapping_starts,
    triangular_weights,
)
from modality_synthesis.signatures import Count, CountOrZero, Portion

# The triangle is 0 at a slab's ends; at the ends of the volume there is no neighbor to take over.
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Sampling:
    """How a volume is sampled.

    Attributes:
        path: `joint` (one noisy volume) or `independent` (the published way).
        sampler: ddim, ddpm or dpm-solver++.
        steps: network evaluations per slab; 0 gives the conditioner's own image, without noise.
        spacing: of the steps: `trailing`, or `leading` as published.
        last_stride: of the joint path: how far apart the slabs of the last step (and of 0 steps) are; their weighted
            average is the result.
        eta: noise of DDIM.
        raw_timesteps: tell the network step numbers for timesteps, as the published sampler does.
        slab_batch: slabs computed at a time; does not change the result.
        precision: `float32` or `bfloat16`, the latter for GPUs and for CPUs with bfloat16 units.
    """

    path: Literal["joint", "independent"] = "joint"
    sampler: SamplerName = "ddim"
    steps: CountOrZero = 10
    spacing: Spacing = "trailing"
    last_stride: Count = 3
    eta: Portion = 0.0
    raw_timesteps: bool = False
    slab_batch: Count = 4
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        allowed = {
            "path": ("joint", "independent"),
            "sampler": SAMPLERS,
            "spacing": ("leading", "trailing"),
            "precision": ("float32", "bfloat16"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"sampling.{name} must be one of {', '.join(values)}")
        if self.steps < 0 or min(self.slab_batch, self.last_stride) < 1 or not 0 <= self.eta <= 1:
            raise ValueError("sampling needs steps >= 0, slab_batch and last_stride >= 1, and eta between 0 and 1")
        if self.steps:
            spaced_timesteps(self.steps)

    @property
    def draws(self) -> bool:
        """Whether noise is drawn at every step."""
        return self.sampler == "ddpm" or (self.sampler == "ddim" and self.eta > 0)

    def levels(self) -> list[Level]:
        """The sampler's steps."""
        return levels(self.steps, self.spacing, raw_timesteps=self.raw_timesteps)


@dataclass
class VolumeSampler:
    """Samples the volume of one head.

    Attributes:
        conditioner: the arm that reads the source.
        denoiser: the arm that makes the target.
        clinical: (1, length), or None.
        sampling: how.
        advance: called after every network call with the share that is done; may raise to cancel.
        background: value of the source beyond the volume.
    """

    conditioner: Arm
    denoiser: Arm
    clinical: Tensor | None
    sampling: Sampling
    advance: Callable[[float], None]
    background: float = -1.0

    def __post_init__(self) -> None:
        self._calls = self._done = 0

    def run(self, source: Tensor, seed: int) -> Tensor:
        """The target.

        Args:
            source: (slice, height, width), -1..1; height and width multiples of the arm's divisor.
            seed: of the noise.

        Returns:
            Same shape, -1..1, float32.
        """
        depth, slices = len(source), self.denoiser.shape.slices
        if depth < slices:  # one slab with background above
            source = cut(source, [0], slices, self.background)[0]
        if self.sampling.steps == 0:
            volume = self._condition_only(source)
        elif self.sampling.path == "joint":
            volume = self._joint(source, seed)
        else:
            volume = self._independent(source, seed)
        return volume[:depth]

    def _independent(self, source: Tensor, seed: int) -> Tensor:
        sampling, slices = self.sampling, self.denoiser.shape.slices
        groups = list(self._groups(centered_starts(len(source), slices)))
        self._expect(len(groups) * (1 + sampling.steps))
        result = SlabSum(source, triangular_weights(slices))
        for starts in groups:
            slabs = cut(source, starts, slices, self.background)
            streams = [NoiseStream(seed, start + slices // 2) for start in starts]

            def draw(streams: list[NoiseStream] = streams, slabs: Tensor = slabs) -> Tensor:
                return torch.stack([stream.draw(slabs.shape[1:]) for stream in streams]).to(slabs.device)

            gains = self._gains(slabs)

            def denoise(x: Tensor, level: Level, _: int, gains: list[Tensor] = gains) -> Tensor:
                return self._denoise(x, level, gains)

            made = sample(
                denoise, draw(), sampling.levels(), sampler=sampling.sampler, eta=sampling.eta,
                draw=draw if sampling.draws else None,
            )  # fmt: skip
            result.add(starts, made)
        return result.average()

    def _joint(self, source: Tensor, seed: int) -> Tensor:
        sampling, slices, depth = self.sampling, self.denoiser.shape.slices, len(source)
        steps = sampling.levels()
        grids = [disjoint_starts(depth, slices, number) for number in range(len(steps) - 1)]
        grids.append(overlapping_starts(depth, slices, sampling.last_stride))
        self._expect(2 * sum(len(list(self._groups(grid))) for grid in grids))
        stream = NoiseStream(seed)

        def draw() -> Tensor:
            return stream.draw(source.shape).to(source.device)

        def denoise(x: Tensor, level: Level, number: int) -> Tensor:
            last = number == len(grids) - 1
            weights = triangular_weights(slices).clamp(min=_SMALLEST_WEIGHT) if last else torch.ones(slices)
            clean = SlabSum(source, weights)
            for starts in self._groups(grids[number]):
                gains = self._gains(cut(source, starts, slices, self.background))
                clean.add(starts, self._denoise(cut(x, starts, slices, self.background), level, gains))
            return clean.average()

        return sample(
            denoise, draw(), steps, sampler=sampling.sampler, eta=sampling.eta, draw=draw if sampling.draws else None
        )

    def _condition_only(self, source: Tensor) -> Tensor:
        slices = self.conditioner.shape.slices
        groups = list(self._groups(overlapping_starts(len(source), slices, self.sampling.last_stride)))
        self._expect(len(groups))
        result = SlabSum(source, triangular_weights(slices).clamp(min=_SMALLEST_WEIGHT))
        for starts in groups:
            with self._precision(source):
                image = self.conditioner.extract(_fast(cut(source, starts, slices, self.background))).image
            self._advance()
            result.add(starts, image.float().clamp(-1, 1))
        return result.average()

    def _gains(self, slabs: Tensor) -> list[Tensor]:
        """Everything that the source and the clinical variables contribute, once per slab."""
        with self._precision(slabs):
            gains = self.denoiser.gains(self.conditioner.extract(_fast(slabs)), self.clinical)
        self._advance()
        return gains

    def _denoise(self, noisy: Tensor, level: Level, gains: list[Tensor]) -> Tensor:
        with self._precision(noisy):
            clean = self.denoiser(_fast(noisy), torch.tensor([level.told], device=noisy.device), gains)
        self._advance()
        return clean.float()

    def _precision(self, x: Tensor) -> torch.autocast | nullcontext[None]:
        if self.sampling.precision == "float32":
            return nullcontext()
        return torch.autocast(x.device.type, dtype=torch.bfloat16)

    def _groups(self, starts: list[int]) -> Iterator[list[int]]:
        size = self.sampling.slab_batch
        return (starts[index : index + size] for index in range(0, len(starts), size))

    def _expect(self, calls: int) -> None:
        self._calls, self._done = calls, 0

    def _advance(self) -> None:
        self._done += 1
        self.advance(self._done / self._calls)


def _fast(slabs: Tensor) -> Tensor:
    """Channels last: 2-D convolutions on CPUs and tensor cores are quicker so."""
    return slabs.contiguous(memory_format=torch.channels_last)
