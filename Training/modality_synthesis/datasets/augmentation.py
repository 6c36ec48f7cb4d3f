"""Random changes of a preprocessed training pair that leave the relation of source and target true."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def augment(
    source: Tensor, target: Tensor, region: Tensor, brain: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror and shift the pair; change contrast, bias field, noise and sharpness of the source alone.

    Args:
        source: (1, depth, height, width), tissue-normalized T1w.
        target: same shape.
        region: same shape, 1 where the target is defined.
        brain: same shape, 1 in the brain.
        rng: the sample's generator.

    Returns:
        source, target, region.
    """
    if rng.random() < 0.5:
        source, target, region, brain = (volume.flip(-1) for volume in (source, target, region, brain))
    shift = rng.integers(-2, 3, 3).tolist()
    source, target, region, brain = (_shift(volume, shift) for volume in (source, target, region, brain))
    return _change_intensities(source, rng) * brain, target, region


def _shift(volume: Tensor, voxels: list[int]) -> Tensor:
    return torch.roll(volume, voxels, dims=(-3, -2, -1))


def _change_intensities(source: Tensor, rng: np.random.Generator) -> Tensor:
    # Gray matter sits at 0.5 and white matter at 1; scans differ in where the tissues between them lie.
    bend = float(rng.normal(0, 0.06))
    source = source + bend * torch.sin(torch.pi * source.clamp(0, 1))
    source = source * float(rng.normal(1, 0.03)) + float(rng.normal(0, 0.02))
    field = torch.from_numpy(rng.normal(0, 0.04, (1, 1, 4, 4, 4)).astype(np.float32))
    field = functional.interpolate(field, source.shape[-3:], mode="trilinear", align_corners=True)[0]
    source = source * (1 + field)
    if rng.random() < 0.3:
        source = _blur(source, float(rng.uniform(0.2, 0.5)))
    noise = torch.from_numpy(rng.standard_normal(source.shape, dtype=np.float32))
    return source + float(rng.uniform(0, 0.05)) * noise


def _blur(volume: Tensor, amount: float) -> Tensor:
    """Mix each voxel with its neighbors along one axis after another; `amount` 0..0.5 is the neighbors' share."""
    kernel = torch.tensor([amount / 2, 1 - amount, amount / 2], dtype=volume.dtype)
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 3
        padding = [int(axis == index) for index in range(3)]
        volume = functional.conv3d(volume[None], kernel.reshape(shape), padding=padding)[0]
    return volume
