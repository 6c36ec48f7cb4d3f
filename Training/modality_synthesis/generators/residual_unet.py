"""A 3-D residual U-Net from MONAI's blocks (residual units: Zhang 2018; U-Net: Cicek 2016)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from monai.networks.blocks import Convolution, ResidualUnit, SubpixelUpsample
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.generators.base import Generator
from modality_synthesis.signatures import Count, CountOrZero, Share


class ResidualUNet(Generator):
    """U-Net of residual units with interpolating (checkerboard-free) upsampling and additive skips.

    With `stem_stride` 2 the first convolution halves the resolution and a sub-pixel convolution restores it at the
    end: most of the computing happens at an eighth of the voxels, which suits targets smoother than the source.

    Args:
        in_channels: source channels.
        out_channels: target channels.
        channels: features per level.
        stem_stride: 1, or 2 to work at half resolution inside.
        residual_units: convolutions per residual unit.
        dropout: probability.
        final_bias: initial value of the output's bias, near the target's mean.
    """

    def __init__(
        self,
        in_channels: Count = 1,
        out_channels: Count = 1,
        channels: Sequence[Count] = (32, 64, 96, 128),
        stem_stride: Literal[1, 2] = 2,
        residual_units: CountOrZero = 2,
        dropout: Share = 0.0,
        final_bias: float = 0.0,
    ) -> None:
        super().__init__()
        if stem_stride not in (1, 2) or len(channels) < 2:
            raise ValueError("stem_stride must be 1 or 2 and channels must name at least two levels")
        self.stem = Convolution(
            3, in_channels, channels[0], strides=stem_stride, kernel_size=3, adn_ordering="A",
            act="LEAKYRELU",
        )  # fmt: skip

        def unit(before: int, after: int, strides: int = 1) -> nn.Module:
            return ResidualUnit(
                3, before, after, strides=strides, subunits=residual_units, norm=("INSTANCE", {"affine": True}),
                act="LEAKYRELU", dropout=dropout, adn_ordering="NDA",
            )  # fmt: skip

        self.encoder = nn.ModuleList(
            unit(channels[max(level - 1, 0)], after, strides=1 if level == 0 else 2)
            for level, after in enumerate(channels)
        )
        self.lateral = nn.ModuleList(
            nn.Conv3d(deep, skip, kernel_size=1) for skip, deep in itertools.pairwise(channels)
        )
        self.decoder = nn.ModuleList(unit(skip, skip) for skip in channels[:-1])
        if stem_stride == 2:
            self.head: nn.Module = SubpixelUpsample(
                3, channels[0], out_channels, scale_factor=2, conv_block="default", apply_pad_pool=False
            )
        else:
            self.head = nn.Conv3d(channels[0], out_channels, kernel_size=1)
        self.bias = nn.Parameter(torch.full((out_channels, 1, 1, 1), float(final_bias)))

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """(batch, channel, depth, height, width) -> the same spatial size, any size."""
        features = self.stem(source)
        skips = []
        for unit in self.encoder:
            features = unit(features)
            skips.append(features)
        for level in reversed(range(len(self.decoder))):
            skip = skips[level]
            features = self.lateral[level](features)
            features = functional.interpolate(features, skip.shape[2:], mode="trilinear", align_corners=False)
            features = self.decoder[level](features + skip)
        depth, height, width = source.shape[2:]
        return self.head(features)[:, :, :depth, :height, :width] + self.bias
