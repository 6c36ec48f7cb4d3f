"""UNETR (Hatamizadeh 2022, arXiv 2103.10504): a vision transformer encodes, convolutions decode; MONAI's."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import UNETR as MonaiUNETR
from torch import Tensor, nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators.base import Generator
from modality_synthesis.generators.padding import run_padded
from modality_synthesis.signatures import Count, Share


class UNETR(Generator):
    """UNETR with a linear output.

    No configuration is published for tau PET: the defaults are those of UNETR's own paper (ViT-B/16, features 16).
    Its position embedding belongs to one grid: smaller volumes are padded to it, larger ones are refused.

    Args:
        in_channels: source channels.
        out_channels: target channels.
        image_size: depth, height, width of the grid, multiples of 16.
        feature_size: features of the decoder's finest level.
        hidden_size: features of a token.
        mlp_size: features inside the transformer's feed-forward layers.
        heads: of the attention.
        dropout: probability.
    """

    def __init__(
        self,
        in_channels: Count = 1,
        out_channels: Count = 1,
        image_size: Sequence[Count] = (96, 112, 96),
        feature_size: Count = 16,
        hidden_size: Count = 768,
        mlp_size: Count = 3072,
        heads: Count = 12,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        if len(image_size) != 3 or any(length < 16 or length % 16 for length in image_size):
            raise ValueError("image_size must be three multiples of 16")
        self.image_size = tuple(image_size)
        self.network = MonaiUNETR(
            in_channels, out_channels, self.image_size, feature_size=feature_size, hidden_size=hidden_size,
            mlp_dim=mlp_size, num_heads=heads, dropout_rate=dropout,
        )  # fmt: skip
        # MONAI makes a normalization for cross-attention, which UNETR has not: parameters that never get a gradient.
        for block in self.network.vit.blocks:
            block.norm_cross_attn = nn.Identity()

    def forward(self, source: Tensor, clinical: Tensor | None = None) -> Tensor:
        """(batch, channel, depth, height, width) -> the same spatial size, up to `image_size`.

        Raises:
            BadInputError: larger than `image_size`.
        """
        given = tuple(source.shape[2:])
        if any(length > limit for length, limit in zip(given, self.image_size, strict=True)):
            raise BadInputError(
                f"This UNETR takes volumes of up to {_by(self.image_size)} voxels (z, y, x), not {_by(given)}. Set its "
                "image_size to the recipe's grid, or its inference to a sliding window of that size."
            )
        return run_padded(self.network, source, self.image_size)


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
