"""The ordinary 2-D U-Net that Li 2022 compare DRUNet with (Ronneberger 2015; for sMR: Han 2017), from MONAI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from modality_synthesis.generators.slicewise import HU_WINDOWS, Activation, Channels, SliceGenerator
from modality_synthesis.signatures import Count, Pair


class UNetwork(nn.Module):
    """Five levels of two 3x3 convolutions, max-pooling down and transposed convolutions up."""

    layers: Mapping[str, str] = {
        "DOWN 1": "unet.conv_0",
        "DOWN 2": "unet.down_1",
        "DOWN 3": "unet.down_2",
        "DOWN 4": "unet.down_3",
        "CENTER": "unet.down_4",
        "UP 1": "unet.upcat_4",
        "UP 2": "unet.upcat_3",
        "UP 3": "unet.upcat_2",
        "UP 4": "unet.upcat_1",
        "OUTPUT": "unet.final_conv",
    }

    def __init__(self, features: Sequence[int]) -> None:
        super().__init__()
        self.unet = BasicUNet(
            spatial_dims=2, in_channels=3, out_channels=1, features=(*features, features[0]), act="RELU", norm="BATCH"
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.unet(images)


class UNet2D(SliceGenerator):
    """A plain 2-D U-Net on every slice of a volume: the baseline.

    Args:
        features: per level, finest first; five levels.
        channels: `repeat`, `windows` or `neighbors`, see `InputChannels`.
        windows: three HU windows.
        source_range: HU of a source value of 0 and of 1.
        activation: `none`, `sigmoid` or `logits`, see `SliceGenerator`.
    """

    def __init__(
        self,
        features: Sequence[Count] = (32, 64, 128, 256, 512),
        *,
        channels: Channels = "repeat",
        windows: Sequence[Pair] = HU_WINDOWS,
        source_range: Pair = (-1024.0, 2000.0),
        activation: Activation = "none",
    ) -> None:
        if len(features) != 5:
            raise ValueError("features must name five levels")
        super().__init__(
            UNetwork(features), 16, channels=channels, windows=windows, source_range=source_range,
            activation=activation,
        )  # fmt: skip
