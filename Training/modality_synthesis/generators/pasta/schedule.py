"""The noise schedule of Gaussian diffusion, and which of its steps a sampler visits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Spacing = Literal["leading", "trailing"]

TIMESTEPS = 1000
_OFFSET = 0.008
_LARGEST_BETA = 0.999


@dataclass(frozen=True)
class Level:
    """One step of a sampler.

    Attributes:
        timestep: of the full schedule: the noise level that the slab really has.
        told: the timestep that the network is told.
        signal: cumulative alpha at this level.
        next_signal: at the level the step leads to; 1 after the last step.
    """

    timestep: int
    told: int
    signal: float
    next_signal: float


def cosine_signal(timesteps: int = TIMESTEPS) -> np.ndarray:
    """Cumulative alpha of the cosine schedule (Nichol and Dhariwal 2021), (timesteps,), float64."""

    def signal(share: float) -> float:
        return math.cos((share + _OFFSET) / (1 + _OFFSET) * math.pi / 2) ** 2

    betas = [
        min(1 - signal((step + 1) / timesteps) / signal(step / timesteps), _LARGEST_BETA) for step in range(timesteps)
    ]
    return np.cumprod(1 - np.array(betas))


def spaced_timesteps(steps: int, spacing: Spacing = "trailing", timesteps: int = TIMESTEPS) -> list[int]:
    """Which timesteps a sampler with fewer steps visits, ascending.

    `leading` is the published spacing (0, 10, ..., 990 for 100 steps). With few steps it starts from a level that is
    far from pure noise, although the sampler starts with pure noise; `trailing` always starts at the last timestep
    (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed").
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must lie between 1 and {timesteps}")
    if spacing == "leading":
        return [index * (timesteps // steps) for index in range(steps)]
    return [round((index + 1) * timesteps / steps) - 1 for index in range(steps)]


def levels(
    steps: int, spacing: Spacing = "trailing", *, raw_timesteps: bool = False, timesteps: int = TIMESTEPS
) -> list[Level]:
    """The levels of a sampling, from noise to image.

    Args:
        steps: how many.
        spacing: `leading` (published) or `trailing`.
        raw_timesteps: tell the network the step's number instead of its timestep, as the published sampler does. With
            fewer steps than timesteps the network is then told less noise than there is.
        timesteps: of the full schedule.
    """
    chosen = spaced_timesteps(steps, spacing, timesteps)
    signal = cosine_signal(timesteps)
    before = [1.0, *(float(signal[timestep]) for timestep in chosen[:-1])]
    return [
        Level(timestep, index if raw_timesteps else timestep, float(signal[timestep]), before[index])
        for index, timestep in reversed(list(enumerate(chosen)))
    ]


def trained_timesteps(literal: bool) -> Sequence[int]:
    """The noise levels of training: all, or the hundred that the published configuration trains."""
    return spaced_timesteps(100, "leading") if literal else range(TIMESTEPS)
