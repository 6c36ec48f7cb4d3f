"""One arm: a 2-D U-Net over slabs of slices. Conditioner and denoiser have the same shape and can swap roles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.generators.pasta.blocks import Attention, Downsample, ResidualBlock, Upsample, normalization

_TIME_PERIOD = 10_000


@dataclass(frozen=True)
class ArmShape:
    """Numbers of an arm; the defaults are the published ones (44 547 855 parameters with `unused_layers`).

    Attributes:
        slices: channels in and out: consecutive axial slices.
        channels: features at full resolution; also the length of the sinusoidal time embedding.
        multipliers: features per level, times `channels`; each level halves height and width.
        blocks: residual blocks per level and side (the decoder has one more).
        attention_levels: levels whose blocks are followed by attention.
        heads: of the attention.
        dropout: in the residual blocks.
        clinical: length of the clinical vector; 0 without.
        resampling_time: whether the resampling blocks take the time too. The published code has the layers for it and
            never calls them.
    """

    slices: int = 15
    channels: int = 64
    multipliers: Sequence[int] = (1, 2, 3, 4)
    blocks: int = 4
    attention_levels: Sequence[int] = (2, 3)
    heads: int = 4
    dropout: float = 0.0
    clinical: int = 9
    resampling_time: bool = False

    @property
    def divisor(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class Features:
    """What the conditioner hands to the denoiser.

    Attributes:
        maps: one feature map per conditioned residual block, in order: encoder, middle (twice the same), decoder.
        image: the conditioner's own image, (batch, slice, height, width).
    """

    maps: list[Tensor]
    image: Tensor


class Stage(nn.Module):
    """A residual block and, on some levels, attention."""

    def __init__(self, residual: ResidualBlock, attention: Attention | None) -> None:
        super().__init__()
        self.residual, self.attention = residual, attention

    @property
    def conditioned(self) -> bool:
        """Whether the conditioner's features enter here (not where the resolution changes)."""
        return self.residual.resample_main is None

    def forward(self, x: Tensor, time: Tensor | None, gain: Tensor | None) -> Tensor:
        x = self.residual(x, time, gain)
        return x if self.attention is None else self.attention(x)


class Arm(nn.Module):
    """The U-Net.

    As conditioner it runs without time (`extract`), and returns its feature maps; as denoiser (`forward`) it takes a
    noisy slab, the time, and the gains made from the other arm's features (`gains`).
    """

    def __init__(self, shape: ArmShape) -> None:
        super().__init__()
        if len(shape.multipliers) < 2 or shape.blocks < 1 or shape.slices < 1 or shape.slices % 2 == 0:
            raise ValueError("an arm needs two levels, a block per level, and an odd number of slices")
        self.shape = shape
        width = shape.channels
        embedding = 4 * width
        self.embed_time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = nn.Conv2d(shape.slices, width * shape.multipliers[0], 3, padding=1)

        def stage(before: int, after: int, level: int) -> Stage:
            block = ResidualBlock(before, after, embedding=embedding, clinical=shape.clinical, dropout=shape.dropout)
            return Stage(block, Attention(after, shape.heads) if level in shape.attention_levels else None)

        def resampling(channels: int, kind: type[Downsample] | type[Upsample]) -> Stage:
            return Stage(
                ResidualBlock(channels, channels, embedding=embedding, dropout=shape.dropout, resample=kind), None
            )

        channels = width * shape.multipliers[0]
        skips = [channels]
        encoder: list[Stage] = []
        for level, multiplier in enumerate(shape.multipliers):
            for _ in range(shape.blocks):
                encoder.append(stage(channels, width * multiplier, level))
                channels = width * multiplier
                skips.append(channels)
            if level + 1 < len(shape.multipliers):
                encoder.append(resampling(channels, Downsample))
                skips.append(channels)
        self.encoder = nn.ModuleList(encoder)

        self.middle = nn.ModuleList(
            [
                Stage(stage(channels, channels, -1).residual, Attention(channels, shape.heads)),
                stage(channels, channels, -1),
            ]
        )

        decoder: list[Stage] = []
        upsample: list[Stage] = []
        for level in reversed(range(len(shape.multipliers))):
            for _ in range(shape.blocks + 1):
                decoder.append(stage(channels + skips.pop(), width * shape.multipliers[level], level))
                channels = width * shape.multipliers[level]
            if level > 0:
                upsample.append(resampling(channels, Upsample))
        self.decoder, self.upsample = nn.ModuleList(decoder), nn.ModuleList(upsample)

        output = nn.Conv2d(channels, shape.slices, 3, padding=1)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)
        self.head = nn.Sequential(normalization(channels), nn.SiLU(), output)

    def extract(self, x: Tensor) -> Features:
        """The arm as conditioner: features and its own image of the target modality.

        Args:
            x: (batch, slice, height, width), -1..1.
        """
        maps: list[Tensor] = []
        image = self._run(x, None, None, maps)
        return Features(maps, image)

    def gains(self, features: Features, clinical: Tensor | None) -> list[Tensor]:
        """The factors of this arm's conditioned blocks, the same at every time: computed once per slab.

        Args:
            features: of the other arm.
            clinical: (batch or 1, length); None leaves the clinical variables out.
        """
        blocks = [stage.residual for stage in self._conditioned()]
        return [block.gain(feature, clinical) for block, feature in zip(blocks, features.maps, strict=True)]

    def forward(self, noisy: Tensor, timestep: Tensor, gains: list[Tensor]) -> Tensor:
        """The arm as denoiser: the clean slab as it estimates it.

        Args:
            noisy: (batch, slice, height, width).
            timestep: (batch,), or (1,) when all samples share it; 0..T-1.
            gains: from `gains`.
        """
        embedding = self.embed_time(time_embedding(timestep, self.shape.channels).to(self.stem.weight))
        return self._run(noisy, functional.silu(embedding), gains, None)

    def _conditioned(self) -> list[Stage]:
        return [stage for stage in (*self.encoder, *self.middle, *self.decoder) if stage.conditioned]

    def _run(self, x: Tensor, time: Tensor | None, gains: list[Tensor] | None, maps: list[Tensor] | None) -> Tensor:
        gain = iter(gains or [])
        resampling_time = time if self.shape.resampling_time else None

        def apply(stage: nn.Module, x: Tensor) -> Tensor:
            if not stage.conditioned:
                return stage(x, resampling_time, None)
            x = stage(x, time, next(gain, None))
            if maps is not None:
                maps.append(x)
            return x

        x = self.stem(x)
        skips = [x]
        for stage in self.encoder:
            x = apply(stage, x)
            skips.append(x)
        for stage in self.middle:
            x = apply(stage, x)
        if maps is not None:
            maps[-2] = x  # both blocks of the middle take its output
        per_level = self.shape.blocks + 1
        for number, stage in enumerate(self.decoder):
            x = apply(stage, torch.cat([x, skips.pop()], dim=1))
            if (number + 1) % per_level == 0 and number + 1 < len(self.decoder):
                x = apply(self.upsample[number // per_level], x)
        return self.head(x)


def time_embedding(timestep: Tensor, length: int) -> Tensor:
    """Sinusoidal embedding [cos | sin] (Vaswani 2017), (batch, length), float32."""
    half = length // 2
    rates = torch.exp(-math.log(_TIME_PERIOD) * torch.arange(half, device=timestep.device) / half)
    angles = timestep.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)
