"""DRUNet: a U-Net whose encoder is an ImageNet ResNet and whose decoder mirrors it (Li 2022, QIMS 12(6):3151-3169).

The encoder has torchvision's parameter names, so that ImageNet weights load without renaming. The ten layers of the
paper's Table 1 are `DRUNetwork.layers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.errors import BadInputError
from modality_synthesis.foreign_weights import load_foreign_weights
from modality_synthesis.generators.convolutions import DoublingConv2d
from modality_synthesis.generators.slicewise import HU_WINDOWS, Activation, Channels, SliceGenerator
from modality_synthesis.signatures import Pair, WeightsFile

# Features of the encoder's four residual layers before the bottleneck's expansion.
_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-34). With twice the output's channels in, it is a cat-block."""

    expansion = 1

    def __init__(self, before: int, after: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = _convolution(after, after, 3), nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride) if stride != 1 or before != after else None

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = functional.relu_(self.bn1(self.conv1(features)))
        return functional.relu_(self.bn2(self.conv2(features)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride: ResNet v1.5), 1x1 and a shortcut (ResNet-50, -101); also the cat-block."""

    expansion = 4

    def __init__(self, before: int, after: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(before, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, after, 1), nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride) if stride != 1 or before != after else None

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = functional.relu_(self.bn1(self.conv1(features)))
        features = functional.relu_(self.bn2(self.conv2(features)))
        return functional.relu_(self.bn3(self.conv3(features)) + shortcut)


class UpBasicBlock(nn.Module):
    """Doubles the resolution: nearest x2 and a convolution, then 3x3; the shortcut is nearest x2 and 1x1.

    Args:
        before: channels in.
        after: channels out.
        width: unused; blocks of both kinds are built alike.
        kernel: of the convolution after the up-sampling: 3, or 1 as printed.
    """

    def __init__(self, before: int, after: int, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = _doubling(before, after, kernel), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = _convolution(after, after, 3), nn.BatchNorm2d(after)
        self.upsample = _shortcut(before, after)
        self.pointwise = kernel == 1

    def forward(self, features: Tensor) -> Tensor:
        shortcut = _double(self.upsample(features))
        features = functional.relu_(self.bn1(self.conv1(features)))
        if self.pointwise:
            features = _double(features)
        return functional.relu_(self.bn2(self.conv2(features)) + shortcut)


class UpBottleneck(nn.Module):
    """Doubles the resolution: 1x1, nearest x2 and a convolution, 1x1; the shortcut is nearest x2 and 1x1."""

    def __init__(self, before: int, after: int, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(before, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _doubling(width, width, kernel), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, after, 1), nn.BatchNorm2d(after)
        self.upsample = _shortcut(before, after)
        self.pointwise = kernel == 1

    def forward(self, features: Tensor) -> Tensor:
        shortcut = self.upsample(features)
        features = functional.relu_(self.bn1(self.conv1(features)))
        features = functional.relu_(self.bn2(self.conv2(features)))
        features = self.bn3(self.conv3(features))
        if self.pointwise:
            return _double(functional.relu_(features + shortcut))
        return functional.relu_(features + _double(shortcut))


class Head(nn.Module):
    """UP 4: nearest x2 and the convolution to the target's one channel."""

    def __init__(self, before: int, kernel: int) -> None:
        super().__init__()
        self.conv = _doubling(before, 1, kernel, bias=True)
        self.pointwise = kernel == 1

    def forward(self, features: Tensor) -> Tensor:
        return _double(self.conv(features)) if self.pointwise else self.conv(features)


class Encoder(nn.Module):
    """A ResNet up to its last residual layer; torchvision's names and shapes without `fc`."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], counts: Sequence[int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, _WIDTHS[0], 7, stride=2), nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before = _WIDTHS[0]
        for number, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), start=1):
            after = width * block.expansion
            first = block(before, after, width, stride=1 if number == 1 else 2)
            others = [block(after, after, width) for _ in range(count - 1)]
            setattr(self, f"layer{number}", nn.Sequential(first, *others))
            before = after

    def forward(self, images: Tensor) -> list[Tensor]:
        """The outputs of DOWN 1 to DOWN 4 and D-CENTER, finest first."""
        maps = [self.relu(self.bn1(self.conv1(images)))]
        maps.append(self.layer1(self.maxpool(maps[0])))
        for layer in (self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps

    def load_imagenet(self, path: str | Path) -> None:
        """Take the weights of a classification ResNet in torchvision's layout.

        Args:
            path: .safetensors file, or a .pth file of a plain state dict.

        Raises:
            BadInputError: unreadable, or weights of another network.
        """
        weights = {name: value for name, value in _read_weights(Path(path)).items() if not name.startswith("fc.")}
        own = self.state_dict()
        # Counters of seen batches: absent from the older published files, and without use at a fixed momentum.
        wanted = {name for name in own if not name.endswith("num_batches_tracked")}
        missing = sorted(wanted - set(weights))
        if missing or set(weights) - set(own):
            odd = missing[0] if missing else sorted(set(weights) - set(own))[0]
            raise BadInputError(
                f"{path}: no weights for this encoder ({odd!r} is {'missing' if missing else 'not in it'}). Give the "
                "ImageNet weights of the ResNet with the generator's number of layers, in torchvision's layout."
            )
        wrong = next((name for name in sorted(weights) if weights[name].shape != own[name].shape), None)
        if wrong is not None:
            raise BadInputError(
                f"{path}: {wrong!r} has shape {tuple(weights[wrong].shape)}, this encoder needs "
                f"{tuple(own[wrong].shape)}. The weights are those of another ResNet."
            )
        self.load_state_dict(weights, strict=False)


class DRUNetwork(nn.Module):
    """The 2-D network: (n, 3, height, width) -> (n, 1, height, width); sizes are multiples of 32.

    Args:
        block: of the encoder; the decoder mirrors it.
        counts: blocks of the four residual layers.
        literal: 1x1 convolutions after every up-sampling, as the paper prints them. Such a decoder can only draw blocks
            of 4 x 4 equal pixels (2 x 2 with basic blocks).
        skip_stem: also hand DOWN 1 to UP 4; the paper's Table 1 has no such connection.
    """

    # The paper's name of each layer (Table 1) -> the module whose output it is.
    layers: Mapping[str, str] = {
        "DOWN 1": "encoder.relu",
        "DOWN 2": "encoder.layer1",
        "DOWN 3": "encoder.layer2",
        "DOWN 4": "encoder.layer3",
        "D-CENTER": "encoder.layer4",
        "U-CENTER": "center",
        "UP 1": "up1",
        "UP 2": "up2",
        "UP 3": "up3",
        "UP 4": "head",
    }

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        counts: Sequence[int],
        *,
        literal: bool = False,
        skip_stem: bool = False,
    ) -> None:
        super().__init__()
        self.skip_stem = skip_stem
        self.encoder = Encoder(block, counts)
        stem, *features = (_WIDTHS[0], *(width * block.expansion for width in _WIDTHS))
        kernel = 1 if literal else 3

        def scale(level: int, after: int, joined: bool) -> nn.Sequential:
            return _up_layer(block, features[level], after, _WIDTHS[level], counts[level], joined, kernel)

        self.center = scale(3, features[2], joined=False)
        self.up1 = scale(2, features[1], joined=True)
        self.up2 = scale(1, features[0], joined=True)
        self.up3 = scale(0, stem, joined=True)
        self.head = Head(2 * stem if skip_stem else stem, kernel)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        down1, down2, down3, down4, deepest = self.encoder(images)
        features = self.up1(torch.cat([self.center(deepest), down4], dim=1))
        features = self.up2(torch.cat([features, down3], dim=1))
        features = self.up3(torch.cat([features, down2], dim=1))
        return self.head(torch.cat([features, down1], dim=1) if self.skip_stem else features)


class DRUNet(SliceGenerator):
    """DRUNet on every slice of a volume; `drunet-34`, `drunet-50` and `drunet-101` differ in block and counts.

    Args:
        block: of the encoder.
        counts: blocks of its four residual layers.
        literal: the decoder exactly as printed, see `DRUNetwork`.
        skip_stem: one more skip connection, see `DRUNetwork`.
        channels: `repeat`, `windows` or `neighbors`, see `InputChannels`.
        windows: three HU windows.
        source_range: HU of a source value of 0 and of 1.
        activation: `none`, `sigmoid` or `logits`, see `SliceGenerator`.
        encoder_weights: file of ImageNet weights to start training from, see `Encoder.load_imagenet`.
    """

    training_parameters = ("encoder_weights",)

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        counts: Sequence[int],
        *,
        literal: bool = False,
        skip_stem: bool = False,
        channels: Channels = "repeat",
        windows: Sequence[Pair] = HU_WINDOWS,
        source_range: Pair = (-1024.0, 2000.0),
        activation: Activation = "none",
        encoder_weights: WeightsFile | None = None,
    ) -> None:
        network = DRUNetwork(block, counts, literal=literal, skip_stem=skip_stem)
        if encoder_weights is not None:
            network.encoder.load_imagenet(encoder_weights)
        super().__init__(
            network, 32, channels=channels, windows=windows, source_range=source_range, activation=activation
        )


DRUNet34 = partial(DRUNet, BasicBlock, (3, 4, 6, 3))
DRUNet50 = partial(DRUNet, Bottleneck, (3, 4, 6, 3))
DRUNet101 = partial(DRUNet, Bottleneck, (3, 4, 23, 3))


def _up_layer(
    block: type[BasicBlock] | type[Bottleneck],
    features: int,
    after: int,
    width: int,
    count: int,
    joined: bool,
    kernel: int,
) -> nn.Sequential:
    """One decoder layer of `count` blocks: cat-block (where a skip joins), plain blocks, up-block."""
    first = block(2 * features if joined else features, features, width)
    plain = [block(features, features, width) for _ in range(count - 2)]
    up = UpBasicBlock if block is BasicBlock else UpBottleneck
    return nn.Sequential(first, *plain, up(features, after, width, kernel))


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)


def _doubling(before: int, after: int, kernel: int, bias: bool = False) -> nn.Conv2d:
    """The convolution after an up-sampling. With one tap it works on each pixel alone and commutes with repeating
    pixels: the up-sampling is left to its user, who does it later, at a quarter of the cost."""
    kind = nn.Conv2d if kernel == 1 else DoublingConv2d
    return kind(before, after, kernel, padding=kernel // 2, bias=bias)


def _shortcut(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm2d(after))


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def _initialize(network: nn.Module) -> None:
    """He's initialization, as torchvision's ResNets have it.

    Not for the head, its only convolution with a bias: there it would make outputs of tens where targets lie in 0..1,
    and the first steps, led by that error alone, would leave dead units behind.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = load_foreign_weights(path)
    except BadInputError:
        raise
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: no such file. encoder_weights names a file of ImageNet ResNet weights in torchvision's layout "
            "(.safetensors or .pth); leave it out to train from scratch."
        ) from None
    except Exception as error:  # safetensors and torch raise many kinds for a damaged or unsafe file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"{path}: not readable as a file of weights ({reason}).") from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise BadInputError(f"{path}: no plain state dict (names and tensors). Save the network's state_dict().")
    return weights
