"""Building blocks of an arm: conditioned residual blocks, attention, and resampling.

Shape and order follow guided diffusion (Dhariwal and Nichol 2021) with the conditioning of PASTA:
h' = GN(h) (1 + s_t) + b_t, then h' (1 + h_m) (1 + c_s), with (s_t, b_t) from the time, h_m the conditioner's feature
map at the same place, and c_s from the clinical variables.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 32


def normalization(channels: int) -> nn.GroupNorm:
    """Group normalization with 32 groups, fewer where 32 does not divide the channels."""
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels, eps=1e-5)


def _silent(convolution: nn.Conv2d | nn.Conv1d) -> nn.Module:
    """A convolution that starts at zero, so that its block starts as its skip connection."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


class Downsample(nn.Module):
    """Halve height and width: 3x3 convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width: nearest neighbor, then a 3x3 convolution.

    Without gradients the two are computed as one 2x2 convolution per output phase, which needs 4 instead of 9
    multiplications per output value and gives the same result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return self._by_phases(x)

    def _by_phases(self, x: Tensor) -> Tensor:
        # Row 2i sees source rows (i-1, i, i), row 2i+1 sees (i, i, i+1); likewise in columns. Taps that see the same
        # source value are added up: dimension 0 of `kernel` counts the four phases.
        weight = self.conv.weight
        rows = (torch.stack([weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2]], 2),
                torch.stack([weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]], 2))  # fmt: skip
        kernel = torch.cat(
            [
                torch.stack(taps, 3)
                for row in rows
                for taps in (
                    (row[..., 0], row[..., 1] + row[..., 2]),
                    (row[..., 0] + row[..., 1], row[..., 2]),
                )
            ]
        )
        assert self.conv.bias is not None
        phases = functional.conv2d(x, kernel, self.conv.bias.repeat(4), padding=1)
        batch, _, height, width = x.shape
        result = x.new_empty(batch, weight.shape[0], 2 * height, 2 * width, dtype=phases.dtype)
        for number, phase in enumerate(phases.chunk(4, dim=1)):
            row, column = divmod(number, 2)
            result[:, :, row::2, column::2] = phase[:, :, row : row + height, column : column + width]
        return result


class ResidualBlock(nn.Module):
    """Residual block: at one resolution with full conditioning, or resampling with at most the time.

    Args:
        channels: of the input.
        out_channels: of the output.
        embedding: length of the time embedding; None where the block takes no time.
        clinical: length of the clinical vector; 0 without.
        dropout: probability.
        resample: Downsample or Upsample for a resampling block; both paths get one with its own weights.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        embedding: int | None,
        clinical: int = 0,
        dropout: float = 0.0,
        resample: type[Downsample] | type[Upsample] | None = None,
    ) -> None:
        super().__init__()
        self.norm_in = normalization(channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = None if embedding is None else nn.Linear(embedding, 2 * out_channels)
        width = 256 if embedding is None else embedding
        self.clinical = (
            nn.Sequential(nn.Linear(clinical, width), nn.SiLU(), nn.Linear(width, out_channels)) if clinical else None
        )
        self.norm_out = normalization(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = _silent(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.resample_main = None if resample is None else resample(channels)
        self.resample_skip = None if resample is None else resample(channels)

    def forward(self, x: Tensor, time: Tensor | None = None, gain: Tensor | None = None) -> Tensor:
        """One block.

        Args:
            x: (batch, channel, height, width).
            time: SiLU of the time embedding, (batch, length), or (1, length) when all samples share the time; None
                leaves time out.
            gain: (1 + h_m)(1 + c_s), shaped like the output; None leaves it out.
        """
        h = functional.silu(self.norm_in(x))
        if self.resample_main is not None and self.resample_skip is not None:
            h, x = self.resample_main(h), self.resample_skip(x)
        h = self.conv_in(h)
        h = self._normalize(h, time)
        if gain is not None:
            h = h * gain
        return self.skip(x) + self.conv_out(self.dropout(functional.silu(h)))

    def gain(self, feature: Tensor, clinical: Tensor | None) -> Tensor:
        """What multiplies the normalized activations at every step of a sampling: (1 + h_m)(1 + c_s).

        Args:
            feature: h_m, the conditioner's output at the same place.
            clinical: (batch, length), or (1, length).
        """
        gain = 1 + feature
        if self.clinical is None or clinical is None:
            return gain
        return gain * (1 + self.clinical(clinical)[:, :, None, None])

    def _normalize(self, h: Tensor, time: Tensor | None) -> Tensor:
        norm = self.norm_out
        if time is None or self.time is None:
            return norm(h)
        scale, shift = self.time(time).chunk(2, dim=1)
        if len(scale) == 1:
            # One time for all samples: scale and shift join the normalization's own, at no cost per voxel.
            weight, bias = norm.weight * (1 + scale[0]), norm.bias * (1 + scale[0]) + shift[0]
            return functional.group_norm(h, norm.num_groups, weight.to(norm.weight), bias.to(norm.bias), norm.eps)
        return norm(h) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


class Attention(nn.Module):
    """Self-attention over all places of a feature map, several heads."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be shared by {heads} attention heads")
        self.heads = heads
        self.norm = normalization(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.projection = _silent(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x).flatten(2))
        # Heads first, then query, key, value within a head.
        parts = qkv.reshape(batch, self.heads, 3, channels // self.heads, height * width).transpose(3, 4)
        query, key, value = (part.contiguous() for part in parts.unbind(2))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = self.projection(mixed.transpose(2, 3).reshape(batch, channels, height * width))
        return x + mixed.reshape(batch, channels, height, width)
