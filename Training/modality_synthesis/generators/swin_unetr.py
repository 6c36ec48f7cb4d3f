"""SwinUNETR (Hatamizadeh 2022, arXiv 2201.01266): shifted-window transformers encode; MONAI's."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import Tensor

from modality_synthesis.generators.base import Generator
from modality_synthesis.generators.padding import divisible_size, run_padded
from modality_synthesis.signatures import Count, Share

_PATCH = 2
_DIVISOR = _PATCH**5


class SwinUNETR(Generator):
    """SwinUNETR with a linear output.

    No configuration is published for tau PET: the defaults are those of SwinUNETR's own paper (features 48, depths 2,
    heads 3 to 24, window 7; 62.2 million parameters). Sizes that 32 does not divide are padded.

    Args:
        in_channels: source channels.
        out_channels: target channels.
        feature_size: features of the finest level, a multiple of 12.
        depths: transformer blocks per stage.
        heads: of the attention, per stage.
        window_size: of the attention, tokens per axis.
        dropout: probability.
        attention_dropout: probability, of the attention weights.
        path_dropout: probability that a block is skipped, rising to this value with depth (stochastic depth).
        checkpointing: compute the encoder twice in training instead of keeping its activations.
    """

    def __init__(
        self,
        in_channels: Count = 1,
        out_channels: Count = 1,
        feature_size: Count = 48,
        depths: Sequence[Count] = (2, 2, 2, 2),
        heads: Sequence[Count] = (3, 6, 12, 24),
        window_size: Count = 7,
        dropout: Share = 0.0,
        attention_dropout: Share = 0.0,
        path_dropout: Share = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(depths) != 4 or len(heads) != 4:
            raise ValueError("depths and heads must name four stages")
        self.network = MonaiSwinUNETR(
            in_channels=in_channels, out_channels=out_channels, patch_size=_PATCH, feature_size=feature_size,
            depths=depths, num_heads=heads, window_size=window_size, drop_rate=dropout,
            attn_drop_rate=attention_dropout, dropout_path_rate=path_dropout, use_checkpoint=checkpointing,
        )  # fmt: skip

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """(batch, channel, depth, height, width) -> the same spatial size, any size."""
        return run_padded(self.network, source, divisible_size(source.shape[2:], _DIVISOR))
