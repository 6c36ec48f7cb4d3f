"""Generators that work slice by slice: a 2-D network behind the volume interface every generator has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.generators.base import Batch, Criterion, Generator, StepReport
from modality_synthesis.generators.convolutions import use_fewer_products
from modality_synthesis.generators.folding import fold_batch_norms

Channels = Literal["repeat", "windows", "neighbors"]
Activation = Literal["none", "sigmoid", "logits"]

# Brain, wide soft tissue, and everything from air to dense bone, HU.
HU_WINDOWS = ((0.0, 80.0), (-20.0, 180.0), (-1024.0, 2000.0))
# What the ImageNet encoders were trained with (per channel of an RGB image in [0, 1]).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Slices per volume and pass in synthesis.
_SLICES = 16


class InputChannels(nn.Module):
    """Makes the three channels of an ImageNet encoder from the source's one, standardized as ImageNet images are.

    `repeat`: the source three times (Li 2022). `windows`: three HU windows, each 0 to 1 between its ends; the source is
    0 at the lower and 1 at the upper end of `source_range`. `neighbors`: the slice below, the slice, the slice above.

    Args:
        channels: which of the three.
        windows: lower and upper end of each HU window.
        source_range: HU of a source value of 0 and of 1; (0, 1) when the source holds HU itself.
    """

    def __init__(self, channels: Channels, windows: Sequence[Sequence[float]], source_range: Sequence[float]) -> None:
        super().__init__()
        if channels not in get_args(Channels):
            raise ValueError(f"channels must be one of {', '.join(get_args(Channels))}")
        if len(windows) != 3 or any(len(window) != 2 or window[0] >= window[1] for window in windows):
            raise ValueError("windows must be three pairs [low, high] with low below high")
        if len(source_range) != 2 or source_range[0] >= source_range[1]:
            raise ValueError("source_range must be a pair [low, high] with low below high")
        self.channels = channels
        self.low, self.high = (float(end) for end in source_range)
        for name, values in (
            ("mean", IMAGENET_MEAN),
            ("std", IMAGENET_STD),
            ("lower", [window[0] for window in windows]),
            ("upper", [window[1] for window in windows]),
        ):
            # Constants of the architecture, not weights: they stay out of the model package.
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)

    @property
    def context(self) -> int:
        """Slices needed on either side of a slice."""
        return 1 if self.channels == "neighbors" else 0

    def forward(self, source: Tensor) -> Tensor:
        """(batch, 1, depth, height, width) -> (batch * (depth - 2 context), 3, height, width)."""
        if source.shape[1] != 1:
            raise ValueError(f"a slice generator takes one source channel, not {source.shape[1]}")
        slices = source[:, 0]
        depth = slices.shape[1] - 2 * self.context
        if self.channels == "neighbors":
            stacked = torch.stack([slices[:, offset : offset + depth] for offset in range(3)], dim=2)
        else:
            stacked = slices[:, :, None].expand(-1, -1, 3, -1, -1)
        images = stacked.reshape(-1, 3, *slices.shape[-2:])
        if self.channels == "windows":
            hounsfield = self.low + images * (self.high - self.low)
            images = ((hounsfield - self.lower) / (self.upper - self.lower)).clamp(0, 1)
        return (images - self.mean) / self.std


class SliceGenerator(Generator):
    """Runs a 2-D network on every slice (along depth) of a volume.

    Slices whose size is no multiple of the network's total stride are padded by repeating their border, and the result
    is cropped.

    What the losses are given and what synthesis returns depends on `activation`: `none` gives both the network's
    output; `sigmoid` gives both its sigmoid; `logits` gives the losses the output itself (for `bce`) and returns its
    sigmoid.

    Args:
        network: (n, 3, height, width) -> (n, 1, height, width) for sizes that are multiples of `multiple`.
        multiple: its total stride.
        channels: how three channels are made from the source's one, see `InputChannels`.
        windows: for `channels: windows`, HU.
        source_range: for `channels: windows`: HU of a source value of 0 and of 1.
        activation: see above.
    """

    def __init__(
        self,
        network: nn.Module,
        multiple: int,
        *,
        channels: Channels = "repeat",
        windows: Sequence[Sequence[float]] = HU_WINDOWS,
        source_range: Sequence[float] = (-1024.0, 2000.0),
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}")
        self.input = InputChannels(channels, windows, source_range)
        self.network, self.multiple, self.activation = network, multiple, activation
        self.context = self.input.context

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """(batch, 1, depth, height, width) -> the same size, any depth, height and width: what the losses see."""
        return self._inner_slices(self._with_context(source))

    def training_step(self, phase: str, batch: Batch, criterion: Criterion) -> StepReport:
        """With neighbor channels, slices that lack a neighbor give context only; they take no part in the losses."""
        if not self.context or batch.source.shape[2] <= 2 * self.context:
            return super().training_step(phase, batch, criterion)
        assert batch.target is not None
        inner = slice(self.context, -self.context)
        target = batch.target[:, :, inner]
        mask = torch.ones_like(target) if batch.mask is None else batch.mask[:, :, inner]
        terms = criterion(self._inner_slices(batch.source), target, mask)
        return StepReport(loss=torch.stack(list(terms.values())).sum(), terms=terms)

    def synthesize(self, batch: Batch, progress: Callable[[float], None] | None = None) -> Tensor:
        """As `forward`, a few slices at a time: memory does not grow with the volume's depth."""
        source, depth = self._with_context(batch.source), batch.source.shape[2]
        parts = []
        for start in range(0, depth, _SLICES):
            stop = min(start + _SLICES, depth)
            parts.append(self._inner_slices(source[:, :, start : stop + 2 * self.context]))
            if progress is not None:
                progress(stop / depth)
        output = torch.cat(parts, dim=2)
        return output.sigmoid() if self.activation == "logits" else output

    def optimize_for_synthesis(self, device: torch.device) -> None:
        """Fold batch normalization into the convolutions, on the CPU cut their products, keep channels innermost."""
        fold_batch_norms(self.network)
        if device.type == "cpu":
            use_fewer_products(self.network)
        self.network.to(memory_format=torch.channels_last)

    def _with_context(self, source: Tensor) -> Tensor:
        if not self.context:
            return source
        # A volume's first and last slice stand in for the neighbors that they lack.
        return functional.pad(source, (0, 0, 0, 0, self.context, self.context), mode="replicate")

    def _inner_slices(self, source: Tensor) -> Tensor:
        """All slices that have their context: (b, 1, depth, h, w) -> (b, 1, depth - 2 context, h, w)."""
        height, width = source.shape[-2:]
        top, left = (-height % self.multiple) // 2, (-width % self.multiple) // 2
        bottom, right = -height % self.multiple - top, -width % self.multiple - left
        images = self.input(source)
        if top or bottom or left or right:
            images = functional.pad(images, (left, right, top, bottom), mode="replicate")
        output = self.network(images)[..., top : top + height, left : left + width]
        if self.activation == "sigmoid":
            output = output.sigmoid()
        return output.reshape(source.shape[0], -1, 1, height, width).transpose(1, 2)
