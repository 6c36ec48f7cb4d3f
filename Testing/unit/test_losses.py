"""Losses against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import SSIMLoss as MonaiSSIMLoss
from skimage.metrics import structural_similarity

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses import WeightedLosses, build_loss
from modality_synthesis.losses.ssim import ssim_map


@pytest.fixture
def volumes() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    first = torch.rand((2, 1, 20, 23, 19), generator=generator) * 2
    return first, (first + 0.3 * torch.rand(first.shape, generator=generator)).clamp(0, 2)


def test_ssim_equals_monai(volumes):
    first, second = volumes
    ours = build_loss("ssim", {"data_range": 2.0, "masked": False})(first, second, torch.ones_like(first))
    monai = MonaiSSIMLoss(spatial_dims=3, data_range=2.0)(first, second)
    assert ours.item() == pytest.approx(monai.item(), abs=1e-6)


def test_ssim_gradient_equals_monai(volumes):
    first, second = volumes
    gradients = []
    for loss in (
        lambda x: build_loss("ssim", {"data_range": 2.0, "masked": False})(x, second, torch.ones_like(x)),
        lambda x: MonaiSSIMLoss(spatial_dims=3, data_range=2.0)(x, second),
    ):
        x = first.clone().requires_grad_()
        loss(x).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-7, rtol=1e-3)


def test_ssim_map_equals_scikit_image(volumes):
    first, second = (volume[0, 0].double().numpy() for volume in volumes)
    _, expected = structural_similarity(
        first,
        second,
        data_range=2.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    ours = ssim_map(volumes[0][:1], volumes[1][:1], data_range=2.0)[0, 0].numpy()
    np.testing.assert_allclose(ours, expected[5:-5, 5:-5, 5:-5], atol=2e-5)


def test_ssim_refuses_volumes_smaller_than_its_window():
    small = torch.zeros((1, 1, 8, 20, 20))
    with pytest.raises(ValueError, match="11-voxel window"):
        ssim_map(small, small, data_range=1.0)


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("l1", 1)])
def test_masked_voxelwise_losses_ignore_what_lies_outside(name, power, volumes):
    first, second = volumes
    mask = (torch.rand(first.shape, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    expected = ((first - second).abs() ** power)[mask > 0].mean()
    loss = build_loss(name)
    assert loss(first, second, mask).item() == pytest.approx(expected.item(), rel=1e-5)
    changed = torch.where(mask > 0, first, torch.full_like(first, 100.0))
    assert loss(changed, second, mask).item() == pytest.approx(expected.item(), rel=1e-5)


def test_weighted_sum_scales_each_term(volumes):
    first, second = volumes
    ones = torch.ones_like(first)
    terms = WeightedLosses([("mse", 2.0, {}), ("ssim", 0.5, {"data_range": 2.0})])(first, second, ones)
    assert terms["mse"].item() == pytest.approx(2 * ((first - second) ** 2).mean().item(), rel=1e-5)
    alone = build_loss("ssim", {"data_range": 2.0})(first, second, ones)
    assert terms["ssim"].item() == pytest.approx(0.5 * alone.item(), rel=1e-6)


def test_unknown_loss_and_parameter_are_named():
    with pytest.raises(BadInputError, match=r"'mae'.*l1, mse, .*ssim"):
        build_loss("mae")
    with pytest.raises(BadInputError, match="'range'"):
        build_loss("ssim", {"range": 2})


def test_ssim_is_the_same_under_mixed_precision():
    torch.manual_seed(0)
    target = 1 + 0.01 * torch.rand(1, 1, 16, 16, 16)
    prediction, mask = target + 0.001 * torch.randn_like(target), torch.ones_like(target)
    loss = build_loss("ssim", {"data_range": 0.02})
    expected = loss(prediction, target, mask)
    assert expected > 0.01
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(prediction, target, mask), expected)
