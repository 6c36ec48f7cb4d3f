"""U-Net, UNETR and SwinUNETR: the published sizes, any volume, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet as MonaiUNet

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.generators.padding import divisible_size

TINY = {
    "unet": {"channels": [8, 16, 16], "strides": [2, 2], "dropout": 0.0},
    "unetr": {"image_size": [16, 32, 16], "feature_size": 4, "hidden_size": 24, "mlp_size": 48, "heads": 3},
    "swin-unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window_size": 4},
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_u_net_is_the_authors():
    with torch.device("meta"):
        ours = build_generator("unet")
        theirs = MonaiUNet(
            spatial_dims=3, in_channels=1, out_channels=1, channels=(64, 128, 256, 512, 1024), strides=(2, 2, 2, 2),
            dropout=0.2,
        )  # fmt: skip
        volume = torch.empty(1, 1, 96, 112, 96)
    assert count(ours) == 31_636_937
    shapes = {f"network.{name}": value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.package_state().items()} == shapes
    assert str(ours.network) == str(theirs)
    assert ours(volume).shape == volume.shape
    assert ours(volume[:, :, :91, :109, :91]).shape == (1, 1, 91, 109, 91)  # the authors' code stops here


def test_unetr_has_its_paper_s_size():
    with torch.device("meta"):
        generator = build_generator("unetr")
        volume = torch.empty(1, 1, 96, 112, 96)
    # MONAI's network less the 12 layer normalizations (2 x 768 numbers) that it never uses.
    assert count(generator) == 92_829_905 - 12 * 2 * 768
    assert generator(volume).shape == volume.shape


@pytest.mark.parametrize(("feature_size", "millions"), [(24, 15.7), (48, 62.2)])
def test_swin_unetr_has_its_paper_s_size(feature_size, millions):
    generator = build_generator("swin-unetr", {"feature_size": feature_size})
    assert round(count(generator) / 1e6, 1) == millions


@pytest.mark.parametrize("name", TINY)
def test_output_is_linear_and_has_the_input_s_size(name):
    torch.manual_seed(0)
    generator = build_generator(name, TINY[name]).eval()
    with torch.no_grad():
        output = generator(100 * torch.randn(1, 1, 15, 23, 10))
    assert output.shape == (1, 1, 15, 23, 10)
    assert output.min() < -1
    assert output.max() > 1


def test_sizes_that_do_not_divide_are_padded_with_their_border_and_cropped():
    torch.manual_seed(0)
    generator = build_generator("unet", TINY["unet"]).eval()
    volume = torch.randn(1, 1, 13, 18, 16)
    padded = np.pad(volume.numpy(), ((0, 0), (0, 0), (1, 2), (1, 1), (0, 0)), mode="edge")
    with torch.no_grad():
        expected = generator.network(torch.from_numpy(padded))[:, :, 1:14, 1:19]
        assert torch.equal(generator(volume), expected)


@pytest.mark.parametrize(
    ("size", "divisor", "fitting"),
    [
        ((96, 112, 96), 16, [96, 112, 96]),
        ((91, 109, 91), 16, [96, 112, 96]),
        ((96, 112, 96), 32, [96, 128, 96]),
        ((9, 16, 3), 16, [32, 16, 16]),
    ],
)
def test_divisible_sizes(size, divisor, fitting):
    assert divisible_size(size, divisor) == fitting


def test_unetr_refuses_what_its_position_embedding_does_not_cover():
    generator = build_generator("unetr", TINY["unetr"])
    with pytest.raises(BadInputError, match=r"16 x 32 x 16 .*not 16 x 33 x 16"):
        generator(torch.zeros(1, 1, 16, 33, 16))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("unet", {"channels": [4, 8], "strides": [2, 2]}, "strides"),
        ("unetr", {"image_size": [96, 100, 96]}, "multiples of 16"),
        ("unetr", {"hidden_size": 100, "heads": 3}, "divisible"),
        ("swin-unetr", {"feature_size": 20}, "divisible by 12"),
        ("swin-unetr", {"depths": [2, 2]}, "four stages"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(name, parameters, message):
    with pytest.raises(BadInputError, match=message):
        build_generator(name, parameters)


@pytest.mark.parametrize("name", TINY)
def test_training_lowers_the_loss_through_every_parameter(name):
    torch.manual_seed(0)
    generator = build_generator(name, TINY[name])
    optimizer = torch.optim.Adam(generator.phase_parameters("generator"), lr=1e-2)
    source = torch.nn.functional.avg_pool3d(torch.randn(1, 1, 16, 20, 16), 3, 1, 1) * 3
    batch = Batch(source=source, target=(source > 0.2).float())
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        report = generator.training_step("generator", batch, lambda p, t, m: {"l1": (p - t).abs().mean()})
        report.loss.backward()
        assert all(parameter.grad is not None for parameter in generator.parameters())  # DDP waits for each
        optimizer.step()
        losses.append(report.loss.item())
    assert losses[-1] < 0.8 * losses[0]
