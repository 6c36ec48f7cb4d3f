"""The contextual loss against its published formula, and where the textbook form breaks; binary cross-entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses import build_loss
from modality_synthesis.losses.contextual import contextual_loss


def published(synthetic: np.ndarray, real: np.ndarray, h: float = 0.5, epsilon: float = 1e-5) -> float:
    """Mechrez 2018, equations 2 to 5, step by step in double precision."""
    centered = [features - real.mean(axis=0) for features in (synthetic, real)]
    first, second = (features / np.linalg.norm(features, axis=1, keepdims=True) for features in centered)
    distance = np.empty((len(first), len(second)))
    for i in range(len(first)):
        for j in range(len(second)):
            distance[i, j] = 1 - first[i] @ second[j]
    relative = distance / (distance.min(axis=1, keepdims=True) + epsilon)
    w = np.exp((1 - relative) / h)
    cx = w / w.sum(axis=1, keepdims=True)
    return float(-np.log(cx.max(axis=0).mean()))


@pytest.fixture
def features() -> torch.Tensor:
    """150 positions of 32 ReLU features."""
    return torch.randn((150, 32), generator=torch.Generator().manual_seed(0), dtype=torch.float64).relu()


def noisy(features: torch.Tensor, sigma: float) -> torch.Tensor:
    noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(1), dtype=features.dtype)
    return features + sigma * noise


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.6])
@pytest.mark.parametrize("bandwidth", [0.2, 0.5])
def test_value_equals_the_published_formula(sigma, bandwidth, features):
    synthetic = noisy(features, sigma)
    expected = published(synthetic.numpy(), features.numpy(), bandwidth)
    assert expected > 0.01
    assert contextual_loss(synthetic, features, bandwidth).item() == pytest.approx(expected, rel=1e-4)
    single = contextual_loss(synthetic.float(), features.float(), bandwidth)
    assert single.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_gradient_is_that_of_the_value(features):
    real = features[:12, :5]
    synthetic = noisy(real, 0.7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contextual_loss(x, real), synthetic, eps=1e-6, atol=1e-5)


def test_chunks_change_neither_value_nor_gradient(features, monkeypatch):
    results = []
    for rows in (512, 40):
        monkeypatch.setattr("modality_synthesis.losses.contextual._ROWS", rows)
        synthetic = noisy(features, 0.8).requires_grad_()
        loss = contextual_loss(synthetic, features)
        loss.backward()
        results.append((loss.item(), synthetic.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1])


def test_it_sees_what_is_there_but_not_where(features):
    synthetic = noisy(features, 0.8)
    order = torch.randperm(len(synthetic), generator=torch.Generator().manual_seed(2))
    assert contextual_loss(synthetic[order], features).item() == pytest.approx(
        contextual_loss(synthetic, features).item(), rel=1e-12
    )


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_contrast_about_the_mean_is_invisible_to_it(gain, features):
    mean = features.mean(dim=0)
    assert contextual_loss(mean + gain * (features - mean), features).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.72])
def test_a_perfect_image_with_constant_background_does_not_reach_zero(share):
    generator = torch.Generator().manual_seed(3)
    real = torch.randn((1000, 64), generator=generator).relu()
    real[: round(1000 * share)] = 0.1
    expected = -math.log(1 - share + 1 / 1000)
    assert contextual_loss(real, real).item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", ["identical", "constant", "constant real", "mostly zero", "noisy", "shuffled"])
def test_no_nan_whatever_the_features_and_the_precision(case, dtype, features):
    real = features.clone()
    if case == "mostly zero":
        real[: int(0.9 * len(real))] = 0
    if case == "constant real":
        real[:] = 0.3
    synthetic = {
        "constant": torch.full_like(real, 0.7),
        "noisy": noisy(real, 1.0),
        "shuffled": real.flip(0),
    }.get(case, real.clone())
    synthetic = synthetic.to(dtype).requires_grad_()
    loss = contextual_loss(synthetic, real.to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(synthetic.grad).all()
    assert -1e-5 <= loss.item() <= math.log(len(real)) + 1e-5
    if case in ("identical", "shuffled"):
        assert loss.item() == pytest.approx(0, abs=1e-4)


def test_autocast_does_not_reach_the_loss(features):
    synthetic, real = noisy(features, 0.8).float(), features.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contextual_loss(synthetic, real)
    assert inside.item() == contextual_loss(synthetic, real).item()


class PooledFeatures(nn.Module):
    """Stands for a feature network: two maps of random filters at a half and a quarter of the resolution."""

    dimensions = 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(images.detach())
        half = self.first(images).relu()
        return [half, self.second(half).relu()]


@pytest.fixture
def pooled(monkeypatch) -> PooledFeatures:
    network = PooledFeatures()
    monkeypatch.setattr(
        "modality_synthesis.losses.contextual.load_feature_network", lambda name, *, layers, weights: network
    )
    return network


@pytest.fixture
def slices() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    real = torch.rand((1, 1, 3, 32, 40), generator=generator)
    return (real + 0.4 * torch.randn(real.shape, generator=generator)).clamp(0, 1), real


def contextual(**parameters):
    return build_loss("contextual", {"layers": {"half": 1.0, "quarter": 2.0}, **parameters})


def test_layers_are_weighted_and_slices_averaged(pooled, slices):
    synthetic, real = slices
    values = []
    for z in range(3):
        maps = [pooled(volume[:, :, z].expand(-1, 3, -1, -1)) for volume in (synthetic, real)]
        points = [[m[0].flatten(1).T.detach().double().numpy() for m in pair] for pair in zip(*maps, strict=True)]
        values.append(published(*points[0]) + 2 * published(*points[1]))
    loss = contextual()(synthetic, real, torch.ones_like(real))
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-3)


def test_what_lies_outside_the_mask_does_not_matter(pooled, slices):
    synthetic, real = slices
    mask = torch.zeros_like(real)
    mask[..., 4:28, 8:24] = 1
    loss = contextual()
    inside = loss(synthetic, real, mask)
    elsewhere = torch.where(mask > 0, synthetic, torch.rand_like(synthetic))
    assert loss(elsewhere, real, mask).item() == inside.item()
    assert inside.item() > 0.01


def test_a_perfect_masked_image_reaches_zero(pooled, slices):
    real = slices[1]
    mask = torch.zeros_like(real)
    mask[..., 4:28, 8:24] = 1
    assert contextual()(real.clone(), real, mask).item() == pytest.approx(0, abs=1e-3)


def test_slices_outside_the_mask_do_not_count(pooled, slices):
    synthetic, real = slices
    mask = torch.ones_like(real)
    mask[:, :, 1] = 0
    kept = [0, 2]
    expected = contextual()(synthetic[:, :, kept], real[:, :, kept], mask[:, :, kept])
    assert contextual()(synthetic, real, mask).item() == pytest.approx(expected.item(), rel=1e-6)
    prediction = synthetic.clone().requires_grad_()
    nothing = contextual()(prediction, real, torch.zeros_like(real))
    nothing.backward()
    assert nothing.item() == 0
    assert not prediction.grad.any()


def test_the_target_s_range_becomes_an_image_between_0_and_1(pooled, slices):
    real = slices[1]
    contextual(value_range=[-2, 2])(4 * real - 2, 4 * real - 2, torch.ones_like(real))
    torch.testing.assert_close(pooled.seen[-1], real[0, 0][:, None].expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


def test_sampled_positions_estimate_the_same_loss_and_are_repeatable(pooled, slices):
    synthetic, real = slices
    ones = torch.ones_like(real)
    loss = contextual(points=60)
    torch.manual_seed(7)
    first = loss(synthetic, real, ones)
    torch.manual_seed(7)
    assert loss(synthetic, real, ones).item() == first.item()
    assert loss(synthetic, real, ones).item() != first.item()
    assert loss(real.clone(), real, ones).item() == pytest.approx(0, abs=1e-3)


def test_only_so_many_slices_are_taken(pooled, slices):
    synthetic, real = slices
    contextual(slices=2)(synthetic, real, torch.ones_like(real))
    assert pooled.seen[-1].shape[0] == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_train(dtype, pooled, slices):
    synthetic, real = slices
    prediction = synthetic.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        contextual()(prediction, real.to(dtype), torch.ones_like(real)).backward()
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.any()


@pytest.mark.parametrize(
    ("parameters", "word"), [({"bandwidth": 0}, "bandwidth"), ({"value_range": [1, 1]}, "value_range")]
)
def test_impossible_parameters_are_refused(parameters, word, pooled):
    with pytest.raises((BadInputError, ValueError), match=word):
        contextual(**parameters)


def test_with_the_shipped_vgg16_blur_costs_and_the_same_image_is_free():
    generator = torch.Generator().manual_seed(8)
    real = torch.rand((1, 1, 1, 96, 96), generator=generator)
    real = nn.functional.interpolate(real[:, 0, :, ::4, ::4], size=(96, 96), mode="bilinear")[:, None]
    blurred = nn.functional.avg_pool2d(real[:, 0], 9, stride=1, padding=4)[:, None].requires_grad_()
    loss = build_loss("contextual", {"layers": {"relu3_3": 1.0}})
    ones = torch.ones_like(real)
    assert loss(real.clone(), real, ones).item() == pytest.approx(0, abs=1e-3)
    value = loss(blurred, real, ones)
    value.backward()
    assert value.item() > 0.3
    assert blurred.grad.abs().max() > 0
    assert loss.describe()["feature_network"]["name"] == "vgg16"
    # The frozen network is nobody's parameter and nobody's weight.
    assert not list(loss.parameters())
    assert not loss.state_dict()


def test_networks_for_volumes_are_refused():
    with pytest.raises(BadInputError, match="network for volumes"):
        build_loss("contextual", {"network": "brain-mask", "layers": {"down1": 1.0}})


def test_memory_at_112_x_112_stays_bounded():
    """4,096 of 12,544 positions: the similarity matrix is never whole, nor kept for the backward pass."""
    largest = largest_tensor(lambda: contextual_on(4096, 64))
    assert largest <= 512 * 4096 * 4


def contextual_on(points: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn((points, channels), generator=generator)
    synthetic = torch.randn((points, channels), generator=generator).requires_grad_()
    contextual_loss(synthetic, real).backward()


def largest_tensor(work) -> int:
    """Bytes of the largest tensor that any operation makes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, torch.Tensor):
                    sizes.append(value.numel() * value.element_size())
            return result

    with Watch():
        work()
    return max(sizes)


def test_bce_is_the_negative_log_likelihood_of_the_logits():
    generator = torch.Generator().manual_seed(6)
    logits = 3 * torch.randn((2, 1, 2, 5, 6), generator=generator)
    target = torch.rand(logits.shape, generator=generator)
    mask = (torch.rand(logits.shape, generator=generator) > 0.4).float()
    q, y, inside = logits.double().numpy(), target.double().numpy(), mask.numpy() > 0
    probability = 1 / (1 + np.exp(-q))
    expected = -(y * np.log(probability) + (1 - y) * np.log(1 - probability))[inside].mean()
    assert build_loss("bce")(logits, target, mask).item() == pytest.approx(expected, rel=1e-5)


def test_bce_stays_finite_for_certain_predictions_and_targets_beyond_0_and_1():
    logits = torch.tensor([-1e4, 1e4, 200.0]).reshape(1, 1, 1, 1, 3).requires_grad_()
    target = torch.tensor([-0.5, 1.5, 0.0]).reshape(1, 1, 1, 1, 3)
    loss = build_loss("bce")(logits, target, torch.ones_like(target))
    loss.backward()
    assert loss.item() == pytest.approx(200 / 3, rel=1e-6)
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([0.0, 0.0, 1 / 3]))
