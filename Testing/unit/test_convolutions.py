"""Convolutions with fewer products: the same numbers as the direct sum, for any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from modality_synthesis.generators.convolutions import (
    DoublingConv2d,
    PhaseConv2d,
    PointwiseConv2d,
    WinogradConv2d,
    use_fewer_products,
)


def convolution(kind: type[nn.Conv2d], before: int, after: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return kind(before, after, 3, padding=1, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (1, 1), (5, 7), (16, 11)])
def test_winograd_is_the_convolution(size, bias):
    """Lavin & Gray 2016: F(4 x 4, 3 x 3) is exact; in double precision nothing but rounding is left."""
    direct = convolution(nn.Conv2d, 5, 3, bias).double()
    features = torch.randn(2, 5, *size, dtype=torch.float64)
    torch.testing.assert_close(WinogradConv2d(direct)(features), direct(features), atol=1e-12, rtol=1e-12)


def test_in_single_precision_winograd_loses_far_less_than_half_precision_would():
    direct = convolution(nn.Conv2d, 256, 256)
    features = torch.randn(1, 256, 28, 28)
    exact = direct.double()(features.double())
    error = (WinogradConv2d(direct.float())(features).double() - exact).abs().max() / exact.abs().max()
    assert error < 2e-5
    half = functional.conv2d(features.bfloat16(), direct.weight.bfloat16(), direct.bias.bfloat16(), padding=1)
    assert (half.double() - exact).abs().max() / exact.abs().max() > 50 * error


@pytest.mark.parametrize("bias", [True, False])
def test_before_up_sampling_is_as_after_it(bias):
    doubling = convolution(DoublingConv2d, 4, 3, bias).double()
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    repeated = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = functional.conv2d(repeated, doubling.weight, doubling.bias, padding=1)
    torch.testing.assert_close(doubling(features), expected)
    torch.testing.assert_close(PhaseConv2d(doubling)(features), expected)


def test_only_what_gains_is_replaced():
    def network() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 128, 3, padding=1),  # few channels in
            nn.Conv2d(128, 128, 3, padding=1),
            nn.Conv2d(128, 128, 3, padding=1, stride=2),
            nn.Conv2d(128, 128, 3, padding=2, dilation=2),
            nn.Conv2d(128, 128, 3, padding=1, groups=2),
            nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
            nn.Conv2d(128, 128, 1),
            DoublingConv2d(128, 64, 3, padding=1),
            DoublingConv2d(64, 64, 3, padding=1),
            DoublingConv2d(64, 1, 3, padding=1),
        )

    torch.manual_seed(1)
    original = network().eval()
    cheaper = network().eval()
    cheaper.load_state_dict(original.state_dict())
    assert use_fewer_products(cheaper) == 4  # one of them inside the first doubling
    kinds = [type(module) for module in cheaper]
    assert [kinds.index(WinogradConv2d), kinds.index(PhaseConv2d)] == [1, 7]
    assert isinstance(cheaper[7].inner, WinogradConv2d)
    assert kinds[8:] == [DoublingConv2d, PhaseConv2d]
    features = torch.randn(1, 3, 12, 8)
    with torch.inference_mode():
        torch.testing.assert_close(cheaper(features), original(features), atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolutions_are_the_same_elsewhere(stride, bias):
    torch.manual_seed(2)
    direct = nn.Conv2d(20, 12, 1, stride=stride, bias=bias)
    features = torch.randn(2, 20, 9, 7).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(PointwiseConv2d(direct)(features), direct(features), atol=1e-5, rtol=1e-5)
