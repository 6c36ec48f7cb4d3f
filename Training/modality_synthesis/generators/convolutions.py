"""2-D convolutions that give the same result with fewer multiplications, for synthesis on the CPU.

Graphics libraries choose such algorithms themselves; the CPU's do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Below so many channels the transforms cost more than the products save.
_FEWEST_CHANNELS = 128

# Winograd's minimal filtering F(4 x 4, 3 x 3): Lavin & Gray 2016 (CVPR, arXiv 1509.09308), section 4.3.
_TILE, _OUTPUT = 6, 4
_INPUT_TRANSFORM = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL_TRANSFORM = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT_TRANSFORM = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]

# A 3-tap kernel on repeated pixels is, at even and at odd pixels, a 3-tap kernel on the pixels before repetition.
_PHASES = [[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]]


class DoublingConv2d(nn.Conv2d):
    """Nearest-neighbor up-sampling by two, then a convolution: (n, c, h, w) -> (n, c', 2 h, 2 w)."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(functional.interpolate(features, scale_factor=2, mode="nearest"))


class WinogradConv2d(nn.Module):
    """A 3x3 convolution with stride 1 and one pixel of zeros around, by Winograd's F(4 x 4, 3 x 3).

    36 products for 16 pixels and each pair of channels, instead of 144. The result differs from the direct sum by
    float32's rounding, about 1e-5 of its range. Channels lie innermost in memory.

    Args:
        convolution: the original; not changed.
    """

    weight: Tensor
    bias: Tensor | None
    before: Tensor
    after: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        kernel, before, after = (
            torch.tensor(matrix, dtype=torch.float64)
            for matrix in (_KERNEL_TRANSFORM, _INPUT_TRANSFORM, _OUTPUT_TRANSFORM)
        )
        transformed = torch.einsum("ai,ocij,bj->abco", kernel, weight.double(), kernel).flatten(0, 1)
        self.register_buffer("weight", transformed.to(weight.dtype).contiguous())  # (36, in, out)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        # Both of a tile's axes in one product.
        self.register_buffer("before", torch.kron(before, before).to(weight.dtype))  # (36, 36)
        self.register_buffer("after", torch.kron(after, after).to(weight.dtype))  # (16, 36)

    def forward(self, features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        down, across = -(-height // _OUTPUT), -(-width // _OUTPUT)
        padding = (1, across * _OUTPUT + 1 - width, 1, down * _OUTPUT + 1 - height)
        padded = functional.pad(features, padding).permute(0, 2, 3, 1)
        tiles = padded.unfold(1, _TILE, _OUTPUT).unfold(2, _TILE, _OUTPUT).permute(4, 5, 0, 1, 2, 3)
        spectrum = (self.before @ tiles.reshape(_TILE**2, -1)).view(_TILE**2, -1, channels)
        products = torch.bmm(spectrum, self.weight)
        pixels = (self.after @ products.view(_TILE**2, -1)).view(_OUTPUT, _OUTPUT, count, down, across, -1)
        image = pixels.permute(2, 3, 0, 4, 1, 5).reshape(count, down * _OUTPUT, across * _OUTPUT, -1)
        image = image[:, :height, :width]
        return (image if self.bias is None else image + self.bias).permute(0, 3, 1, 2)


class PhaseConv2d(nn.Module):
    """`DoublingConv2d` with a 3x3 kernel, computed before the up-sampling.

    One convolution makes the four pixels that each pixel becomes: repeated pixels are neither kept nor read.

    Args:
        convolution: the original; not changed.
    """

    def __init__(self, convolution: DoublingConv2d) -> None:
        super().__init__()
        phases = torch.tensor(_PHASES, dtype=torch.float64)  # (phase, tap before repetition, tap)
        kernels = torch.einsum("pai,qbj,ocij->pqocab", phases, phases, convolution.weight.detach().double())
        self.inner = nn.Conv2d(
            convolution.in_channels, 4 * convolution.out_channels, 3, padding=1, bias=convolution.bias is not None
        )
        self.inner.weight.data = kernels.flatten(0, 2).to(convolution.weight)
        if convolution.bias is not None:
            self.inner.bias.data = convolution.bias.detach().repeat(4)

    def forward(self, features: Tensor) -> Tensor:
        count, _, height, width = features.shape
        phases = self.inner(features).permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, -1)
        return phases.permute(0, 1, 3, 2, 4, 5).reshape(count, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class PointwiseConv2d(nn.Module):
    """A 1x1 convolution that always goes to oneDNN; PyTorch's choice for channels-last tensors is a slower product.

    Args:
        convolution: the original; not changed.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("weight", convolution.weight.detach())
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())
        self.stride = convolution.stride

    def forward(self, features: Tensor) -> Tensor:
        return torch.mkldnn_convolution(features, self.weight, self.bias, (0, 0), self.stride, (1, 1), 1)


def use_fewer_products(module: nn.Module) -> int:
    """Replace the convolutions of a network that gain by it, in place; it cannot be trained further.

    Returns:
        The number of 3x3 convolutions replaced; 1x1 ones change only who computes them.
    """
    replaced = _replace(module, DoublingConv2d, _gains_before_doubling, PhaseConv2d)
    if torch.backends.mkldnn.is_available():
        _replace(module, nn.Conv2d, _is_pointwise, PointwiseConv2d)
    return replaced + _replace(module, nn.Conv2d, _gains_by_winograd, WinogradConv2d)


def _replace(
    module: nn.Module,
    kind: type[nn.Conv2d],
    gains: Callable[[nn.Conv2d], bool],
    replacement: Callable[[Any], nn.Module],
) -> int:
    places = [
        (parent, name)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, kind) and gains(child)
    ]
    for parent, name in places:
        setattr(parent, name, replacement(getattr(parent, name)))
    return len(places)


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    return convolution.kernel_size == (1, 1) and convolution.padding == (0, 0) and convolution.groups == 1


def _is_plain(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.stride == (1, 1)
        and convolution.padding == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )


def _gains_by_winograd(convolution: nn.Conv2d) -> bool:
    return (
        _is_plain(convolution)
        and not isinstance(convolution, DoublingConv2d)
        and min(convolution.in_channels, convolution.out_channels) >= _FEWEST_CHANNELS
    )


def _gains_before_doubling(convolution: nn.Conv2d) -> bool:
    # Either Winograd follows, which cuts the products to a quarter, or so little is computed that reading counts.
    gains = convolution.in_channels >= _FEWEST_CHANNELS or convolution.out_channels == 1
    return _is_plain(convolution) and gains
