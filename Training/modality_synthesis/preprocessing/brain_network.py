"""The brain segmentation network: a small 3-D U-Net in plain torch, trained on randomized contrasts.

The training principle is that of SynthStrip (Hoopes 2022): images with random contrast, resolution and artefacts are
generated from label maps, so that the network does not depend on the sequence. Weights are this project's own
(`modality_synthesis.training.brain_mask`) and ship in `Resources/Networks`.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

SPACING_MM = 2.5
CHANNELS = (16, 32, 64, 96)
DIVISOR = 2 ** len(CHANNELS)
# z, y, x: 240 x 240 x 200 mm. Training saw this field of view, and the normalization layers count its background in,
# so smaller volumes are padded up to it.
FIELD = (96, 96, 80)


class BrainNetwork(nn.Module):
    """Logits of "brain" from an intensity volume at 2.5 mm.

    Blocks of 2 x 2 x 2 voxels enter as eight channels and leave as eight logits (sub-pixel convolution, Shi 2016):
    full resolution in and out, all the computing at half of it.

    Input and output: (batch, 1, depth, height, width), axes Left-Posterior-Superior, sizes divisible by 16, values
    scaled by `scale_intensities`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _block(before, after) for before, after in zip((8, *CHANNELS[:-1]), CHANNELS, strict=True)
        )
        self.up = nn.ModuleList(_block(deep + skip, skip) for skip, deep in itertools.pairwise(CHANNELS))
        self.head = nn.Conv3d(CHANNELS[0], 8, kernel_size=1)

    def forward(self, volume: Tensor) -> Tensor:
        skips = []
        features = blocks_to_channels(volume)
        for level, block in enumerate(self.down):
            features = block(features if level == 0 else functional.max_pool3d(features, 2))
            skips.append(features)
        for level in reversed(range(len(self.up))):
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = self.up[level](torch.cat([features, skips[level]], dim=1))
        return _channels_to_blocks(self.head(features))


def scale_intensities(volume: Tensor) -> Tensor:
    """Scale a volume so that the 1st percentile of its non-zero voxels is 0 and the 99th is 1; clip to 0..1.5."""
    foreground = volume[volume != 0].flatten()
    if foreground.numel() == 0:
        return torch.zeros_like(volume)
    ordered = foreground[:: max(foreground.numel() // 200_000, 1)].sort().values
    low, high = (ordered[int(share * (ordered.numel() - 1))] for share in (0.01, 0.99))
    scaled = (volume - low) / (high - low).clamp(min=1e-6)
    return torch.where(volume != 0, scaled, torch.zeros_like(scaled)).clamp(0, 1.5)


def blocks_to_channels(volume: Tensor) -> Tensor:
    """(batch, 1, 2d, 2h, 2w) -> (batch, 8, d, h, w)."""
    batch, _, depth, height, width = volume.shape
    cells = volume.reshape(batch, depth // 2, 2, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 6, 1, 3, 5).reshape(batch, 8, depth // 2, height // 2, width // 2)


def _channels_to_blocks(cells: Tensor) -> Tensor:
    """(batch, 8, d, h, w) -> (batch, 1, 2d, 2h, 2w), the inverse of `blocks_to_channels`."""
    batch, _, depth, height, width = cells.shape
    volume = cells.reshape(batch, 2, 2, 2, depth, height, width).permute(0, 4, 1, 5, 2, 6, 3)
    return volume.reshape(batch, 1, 2 * depth, 2 * height, 2 * width)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(before, after, kernel_size=3, padding=1, bias=False),
        nn.InstanceNorm3d(after, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv3d(after, after, kernel_size=3, padding=1, bias=False),
        nn.InstanceNorm3d(after, affine=True),
        nn.LeakyReLU(0.1, inplace=True),
    )
