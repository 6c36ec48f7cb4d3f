"""The 3-D U-Net of the cyclic 2.5-D perceptual loss (arXiv 2406.12632), MONAI's, in its authors' configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai.networks.nets import UNet as MonaiUNet
from torch import Tensor

from modality_synthesis.generators.base import Generator
from modality_synthesis.generators.padding import divisible_size, run_padded
from modality_synthesis.signatures import Count, CountOrZero, Share


class UNet(Generator):
    """U-Net whose convolutions stride down and transposed convolutions lead up (Kerfoot 2018; Cicek 2016).

    The defaults are the authors': 31,636,937 parameters, instance normalization, PReLU, linear output. Their code
    takes only sizes that the strides divide; here others are padded and the output is cropped.

    Args:
        in_channels: source channels.
        out_channels: target channels.
        channels: features per level.
        strides: between the levels, one fewer than `channels`.
        kernel_size: of all convolutions.
        residual_units: convolutions per residual unit; 0 for plain convolutions.
        dropout: probability.
    """

    def __init__(
        self,
        in_channels: Count = 1,
        out_channels: Count = 1,
        channels: Sequence[Count] = (64, 128, 256, 512, 1024),
        strides: Sequence[Count] = (2, 2, 2, 2),
        kernel_size: Count = 3,
        residual_units: CountOrZero = 0,
        dropout: Share = 0.2,
    ) -> None:
        super().__init__()
        if len(strides) != len(channels) - 1:
            raise ValueError("strides must name one number fewer than channels")
        self.divisor = math.prod(strides)
        self.network = MonaiUNet(
            3, in_channels, out_channels, channels, strides, kernel_size=kernel_size, up_kernel_size=kernel_size,
            num_res_units=residual_units, dropout=dropout,
        )  # fmt: skip

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """(batch, channel, depth, height, width) -> the same spatial size, any size."""
        return run_padded(self.network, source, divisible_size(source.shape[2:], self.divisor))
