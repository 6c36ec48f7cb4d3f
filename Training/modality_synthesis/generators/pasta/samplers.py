"""Samplers: from pure noise to an image, given a network that estimates the clean image.

They work on tensors of any shape: a batch of slabs, or the volume of a whole head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from modality_synthesis.generators.pasta.schedule import Level

SamplerName = Literal["ddim", "ddpm", "dpm-solver++"]
SAMPLERS: tuple[SamplerName, ...] = ("ddim", "ddpm", "dpm-solver++")

# denoise(noisy, level, number of the step) -> clean image
Denoise = Callable[[Tensor, Level, int], Tensor]


def sample(
    denoise: Denoise,
    noise: Tensor,
    steps: Sequence[Level],
    *,
    sampler: SamplerName = "ddim",
    eta: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Run a sampler.

    Args:
        denoise: estimates the clean image; its result is held to -1..1.
        noise: standard normal.
        steps: from `schedule.levels`.
        sampler: `ddim` (Song 2021), `ddpm` (ancestral; Ho 2020, large variance), or `dpm-solver++` (Lu 2022, second
            order, multistep).
        eta: of DDIM: 0 is deterministic, 1 has the noise of DDPM's small variance.
        draw: standard normal noise shaped like `noise`, anew at each call; needed by `ddpm` and by eta > 0.
    """
    x = noise
    earlier: tuple[Level, Tensor] | None = None
    for number, level in enumerate(steps):
        clean = denoise(x, level, number).clamp(-1, 1)
        if level.next_signal == 1.0:
            return clean
        if sampler == "ddim":
            x = _ddim(x, clean, level, eta, draw)
        elif sampler == "ddpm":
            x = _ddpm(x, clean, level, draw)
        else:
            x = _dpm_solver(x, clean, level, earlier)
            earlier = (level, clean)
    return x


def _ddim(x: Tensor, clean: Tensor, level: Level, eta: float, draw: Callable[[], Tensor] | None) -> Tensor:
    signal, following = level.signal, level.next_signal
    direction = (x - math.sqrt(signal) * clean) / math.sqrt(1 - signal)
    sigma = eta * math.sqrt((1 - following) / (1 - signal) * (1 - signal / following))
    x = math.sqrt(following) * clean + math.sqrt(max(1 - following - sigma**2, 0.0)) * direction
    return x + sigma * _drawn(draw) if sigma > 0 else x


def _ddpm(x: Tensor, clean: Tensor, level: Level, draw: Callable[[], Tensor] | None) -> Tensor:
    signal, following = level.signal, level.next_signal
    beta = 1 - signal / following
    mean = (beta * math.sqrt(following) * clean + (1 - following) * math.sqrt(1 - beta) * x) / (1 - signal)
    return mean + math.sqrt(beta) * _drawn(draw)


def _dpm_solver(x: Tensor, clean: Tensor, level: Level, earlier: tuple[Level, Tensor] | None) -> Tensor:
    """Data prediction, second order from the second step on (Lu et al. 2022, algorithm 2)."""
    here, there = _log_ratio(level.signal), _log_ratio(level.next_signal)
    length = there - here
    estimate = clean
    if earlier is not None:
        ratio = (here - _log_ratio(earlier[0].signal)) / length
        estimate = clean + (clean - earlier[1]) / (2 * ratio)
    noise_kept = math.sqrt((1 - level.next_signal) / (1 - level.signal))
    return noise_kept * x - math.sqrt(level.next_signal) * math.expm1(-length) * estimate


def _log_ratio(signal: float) -> float:
    """Half the logarithm of the signal-to-noise ratio."""
    return 0.5 * (math.log(signal) - math.log1p(-signal))


def _drawn(draw: Callable[[], Tensor] | None) -> Tensor:
    if draw is None:
        raise ValueError("this sampler draws noise at every step, but was given none to draw")
    return draw()


class NoiseStream:
    """Standard normal noise from a seed, drawn on the CPU so that every device gets the same.

    Args:
        seed: of the synthesis.
        index: of the slab, so that a slab's noise depends neither on the other slabs nor on how they are batched.
    """

    def __init__(self, seed: int, index: int = 0) -> None:
        # Seeds of neighboring slabs must not be neighbors: some generators answer alike to seeds that are alike.
        mixed = (seed * 0x9E3779B97F4A7C15 + (index + 1) * 0xD1B54A32D192ED03) % 2**63
        self._generator = torch.Generator().manual_seed(mixed)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Noise, float32, on the CPU."""
        return torch.randn(tuple(shape), generator=self._generator)
