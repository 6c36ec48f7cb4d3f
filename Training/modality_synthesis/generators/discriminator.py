"""The PatchGAN discriminator (Isola 2017, section 3.2.2) in 3-D: MONAI's layers."""

from __future__ import annotations

from typing import Literal, get_args

from monai.networks.nets import PatchDiscriminator as MonaiPatchDiscriminator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators.adversarial import initialize_convolutions
from modality_synthesis.signatures import Count, NotNegative

Norm = Literal["instance", "batch", "none"]


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of a volume; a fully convolutional network, kernels 4, LeakyReLU 0.2.

    `layers` convolutions of stride 2 are followed by two of stride 1. A score sees 70 voxels along each axis with
    three layers (the published size), 34 with two, 16 with one.

    Args:
        in_channels: source and target channels together when conditional.
        channels: features after the first convolution, doubled by each following one.
        layers: convolutions of stride 2.
        norm: of all hidden layers but the first. With a batch of one, as published, batch and instance
            normalization are the same in training.
        spectral: bound every convolution's spectral norm by 1 (Miyato 2018).
        initial_std: of the weights.
    """

    def __init__(
        self,
        in_channels: Count,
        channels: Count = 64,
        layers: Count = 3,
        norm: Norm = "instance",
        spectral: bool = False,
        initial_std: NotNegative = 0.02,
    ) -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, not {norm!r}")
        if layers < 1:
            raise ValueError("a discriminator needs at least one layer")
        self.layers = layers
        self.network = MonaiPatchDiscriminator(
            spatial_dims=3, channels=channels, in_channels=in_channels, num_layers_d=layers, kernel_size=4,
            norm=None if norm == "none" else norm.upper(), bias=norm == "none",
        )  # fmt: skip
        initialize_convolutions(self.network, initial_std)
        if spectral:
            for part in self.network.modules():
                if isinstance(part, nn.Conv3d):
                    spectral_norm(part)

    def forward(self, volume: Tensor) -> Tensor:
        """(batch, channel, depth, height, width) -> scores (batch, 1, ...), unbounded, one per patch.

        Raises:
            BadInputError: a volume too small for a single patch.
        """
        size = volume.shape[2:]
        if min(size) < 3 * 2**self.layers:
            raise BadInputError(
                f"A discriminator of {self.layers} layers needs {3 * 2**self.layers} voxels along each axis, and a "
                f"volume has {' x '.join(map(str, size))}. Give it fewer layers."
            )
        return self.network(volume)[-1]
