"""The networks behind perceptual losses in plain torch, cut after the last layer that is wanted.

Each builder returns a module whose parameters carry the names of the published files, and the steps to run through, in
order: (layer name, module). Nothing here reads files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Steps = list[tuple[str, nn.Module]]

_VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_VGG_CHANNELS = (64, 128, 256, 512, 512)


@dataclass(frozen=True)
class Architecture:
    """A network to take features from.

    Attributes:
        module: holds the parameters under the names of the published file.
        steps: (layer name, module) in the order of computing; each takes the output of the one before.
    """

    module: nn.Module
    steps: Steps

    def until(self, layers: Sequence[str]) -> Architecture:
        """Without the steps after the last of `layers`, and without their parameters.

        Raises:
            KeyError: a layer that the network does not have.
        """
        names = [name for name, _ in self.steps]
        for layer in layers:
            if layer not in names:
                raise KeyError(layer)
        kept = self.steps[: max(names.index(layer) for layer in layers) + 1]
        return Architecture(self.module, kept)

    def tensor_names(self) -> list[str]:
        """Names of the parameters and running statistics that the steps use."""
        used = {id(tensor) for _, step in self.steps for tensor in (*step.parameters(), *step.buffers())}
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        return [name for name, tensor in named if id(tensor) in used and not name.endswith("num_batches_tracked")]


def vgg_layers(name: str) -> list[str]:
    """conv1_1, relu1_1, conv1_2, ..., pool5."""
    names = []
    for block, count in enumerate(_VGG_BLOCKS[name], start=1):
        for index in range(1, count + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    return names


def vgg(name: str) -> Architecture:
    """VGG-16 or VGG-19 (Simonyan & Zisserman 2015, configurations D and E), convolutional part.

    Layers as in `vgg_layers`; parameters named as torchvision's (`features.0.weight`, ...).
    """
    layers: list[nn.Module] = []
    before = 3
    for count, after in zip(_VGG_BLOCKS[name], _VGG_CHANNELS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers)
    return Architecture(nn.ModuleDict({"features": features}), list(zip(vgg_layers(name), features, strict=True)))


class _Fire(nn.Module):
    def __init__(self, before: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, kernel_size=1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, kernel_size=1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, kernel_size=3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        values = self.squeeze(values).relu()
        return torch.cat([self.expand1x1(values).relu(), self.expand3x3(values).relu()], dim=1)


def squeezenet() -> Architecture:
    """SqueezeNet 1.1 (Iandola 2016), convolutional part: `conv1`, `relu1`, `pool1`, `fire2`, ..., `fire9`.

    Parameters named as torchvision's (`features.0.weight`, `features.3.squeeze.weight`, ...).
    """

    def pool() -> nn.Module:
        return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

    steps: Steps = [("conv1", nn.Conv2d(3, 64, kernel_size=3, stride=2)), ("relu1", nn.ReLU()), ("pool1", pool())]
    steps += [("fire2", _Fire(64, 16, 64)), ("fire3", _Fire(128, 16, 64)), ("pool3", pool())]
    steps += [("fire4", _Fire(128, 32, 128)), ("fire5", _Fire(256, 32, 128)), ("pool5", pool())]
    steps += [("fire6", _Fire(256, 48, 192)), ("fire7", _Fire(384, 48, 192))]
    steps += [("fire8", _Fire(384, 64, 256)), ("fire9", _Fire(512, 64, 256))]
    return Architecture(nn.ModuleDict({"features": nn.Sequential(*(step for _, step in steps))}), steps)


@dataclass(frozen=True)
class ResNetForm:
    """What differs between the published residual networks.

    Attributes:
        dimensions: 2 or 3.
        channels: of the input.
        blocks: per stage.
        bottleneck: blocks of three convolutions (1, 3, 1) instead of two (3, 3).
        strides: of the four stages.
        dilations: of the four stages.
        bias: convolutions have one.
        stride_first: a bottleneck's stride sits in its first convolution (He 2016, Keras) instead of its second.
        epsilon: of the batch normalization.
    """

    dimensions: int
    channels: int
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)
    bias: bool = False
    stride_first: bool = False
    epsilon: float = 1e-5

    def convolution(self, before: int, after: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Module:
        make: Callable[..., nn.Module] = nn.Conv2d if self.dimensions == 2 else nn.Conv3d
        padding = dilation * (size // 2)
        return make(before, after, size, stride=stride, padding=padding, dilation=dilation, bias=self.bias)

    def norm(self, channels: int) -> nn.Module:
        make: Callable[..., nn.Module] = nn.BatchNorm2d if self.dimensions == 2 else nn.BatchNorm3d
        return make(channels, eps=self.epsilon)


RESNETS = {
    # He 2016 in torchvision's form (the stride in the 3 x 3 convolution).
    "resnet50": ResNetForm(2, 3, (3, 4, 6, 3), bottleneck=True),
    # Mei 2022, converted from Keras.
    "radimagenet-resnet50": ResNetForm(
        2, 3, (3, 4, 6, 3), bottleneck=True, bias=True, stride_first=True, epsilon=1.001e-5
    ),
    # Chen 2019: the last two stages are dilated instead of strided.
    "medicalnet-resnet10": ResNetForm(
        3, 1, (1, 1, 1, 1), bottleneck=False, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
    ),
    "medicalnet-resnet50": ResNetForm(
        3, 1, (3, 4, 6, 3), bottleneck=True, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)
    ),
}


class _Residual(nn.Module):
    def __init__(self, form: ResNetForm, before: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        after = width * (4 if form.bottleneck else 1)
        if form.bottleneck:
            first, second = (stride, 1) if form.stride_first else (1, stride)
            self.conv1 = form.convolution(before, width, 1, stride=first)
            self.conv2 = form.convolution(width, width, 3, stride=second, dilation=dilation)
            self.conv3 = form.convolution(width, after, 1)
        else:
            self.conv1 = form.convolution(before, width, 3, stride=stride, dilation=dilation)
            self.conv2 = form.convolution(width, width, 3, dilation=dilation)
        self.bn1, self.bn2 = form.norm(width), form.norm(width)
        if form.bottleneck:
            self.bn3 = form.norm(after)
        self.bottleneck = form.bottleneck
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(form.convolution(before, after, 1, stride=stride), form.norm(after))

    def forward(self, values: Tensor) -> Tensor:
        shortcut = values if self.downsample is None else self.downsample(values)
        values = self.bn2(self.conv2(self.bn1(self.conv1(values)).relu()))
        if self.bottleneck:
            values = self.bn3(self.conv3(values.relu()))
        return (values + shortcut).relu()


def resnet(name: str) -> Architecture:
    """A residual network: layers `conv1`, `bn1`, `relu1`, `pool1`, `layer1` to `layer4` (after each stage)."""
    form = RESNETS[name]
    module = nn.Module()
    module.conv1 = form.convolution(form.channels, 64, 7, stride=2)
    module.bn1 = form.norm(64)
    pool: Callable[..., nn.Module] = nn.MaxPool2d if form.dimensions == 2 else nn.MaxPool3d
    steps: Steps = [("conv1", module.conv1), ("bn1", module.bn1), ("relu1", nn.ReLU()), ("pool1", pool(3, 2, 1))]
    before = 64
    for stage, count in enumerate(form.blocks):
        width, dilation = 64 * 2**stage, form.dilations[stage]
        blocks = nn.Sequential()
        for index in range(count):
            blocks.append(_Residual(form, before, width, form.strides[stage] if index == 0 else 1, dilation))
            before = width * (4 if form.bottleneck else 1)
        setattr(module, f"layer{stage + 1}", blocks)
        steps.append((f"layer{stage + 1}", blocks))
    return Architecture(module, steps)


class _IntoBlocks(nn.Module):
    """The brain network's own first step; sizes must be even."""

    def forward(self, volume: Tensor) -> Tensor:
        from modality_synthesis.preprocessing.brain_network import blocks_to_channels

        return blocks_to_channels(volume)


def brain_network() -> Architecture:
    """This project's 3-D brain segmentation network: `down1` to `down4`, at 1/2 to 1/16 of the resolution."""
    from modality_synthesis.preprocessing.brain_network import BrainNetwork

    module = BrainNetwork()
    steps: Steps = [("blocks", _IntoBlocks())]
    for level, block in enumerate(module.down, start=1):
        if level > 1:
            steps.append((f"pool{level - 1}", nn.MaxPool3d(2)))
        steps.append((f"down{level}", block))
    return Architecture(module, steps)


ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    **{name: functools.partial(vgg, name) for name in _VGG_BLOCKS},
    **{name: functools.partial(resnet, name) for name in RESNETS},
    "squeezenet1_1": squeezenet,
    "brain-mask": brain_network,
}
