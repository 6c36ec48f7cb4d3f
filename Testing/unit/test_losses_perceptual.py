"""Perceptual losses against independent loops, and what the robust form is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses import WeightedLosses, build_loss
from modality_synthesis.losses.feature_architectures import ARCHITECTURES
from modality_synthesis.losses.feature_networks import FeatureNetwork, load_feature_network
from modality_synthesis.losses.perceptual import mean_square_response
from modality_synthesis.losses.streaming import streamed_sum
from modality_synthesis.losses.target_features import TargetFeatures

AXES = {"axial": 2, "coronal": 3, "sagittal": 4}
# The first block only: the loop is what is tested here, and the whole network in test_losses_feature_networks.py.
SHALLOW = {"layers": ["relu2_1"]}


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    return load_feature_network("vgg16", layers=["relu2_1"])


@pytest.fixture
def volumes() -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target, mask (2, 1, 16, 20, 24); the mask leaves whole slices empty in every plane."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((2, 1, 4, 5, 6), generator=generator)
    target = 3 * functional.interpolate(coarse, scale_factor=4, mode="trilinear") - 1
    prediction = target + 0.4 * torch.randn(target.shape, generator=generator)
    mask = torch.zeros_like(target)
    mask[0, :, 2:14, 3:18, 2:20] = 1
    mask[1, :, 4:15, 2:17, 5:22] = 1
    return prediction.requires_grad_(), target, mask


def authors_loop(network: FeatureNetwork, prediction: Tensor, target: Tensor, plane: str) -> Tensor:
    """The published form: a Python loop over the slices, every graph kept."""

    def features(slices: Tensor) -> Tensor:
        scaled = (slices - slices.min()) / (slices.max() - slices.min() + 1e-8)
        return network(scaled.repeat(1, 3, 1, 1), centered=False)[0]

    axis = AXES[plane]
    losses = [
        functional.mse_loss(features(prediction.select(axis, index)), features(target.select(axis, index)))
        for index in range(target.shape[axis])
    ]
    return torch.stack(losses).mean()


def extent(filled: Tensor) -> slice:
    """From the first to the last True, made up to 16, 32, ... around its middle within the length there is."""
    places = filled.nonzero().flatten().tolist()
    length = next(size for size in (16, 32, 48) if size >= places[-1] - places[0] + 1)
    length = min(length, len(filled))
    start = int((places[0] + places[-1] + 1 - length) / 2)
    start = max(0, min(start, len(filled) - length))
    return slice(start, start + length)


def robust_loop(network: FeatureNetwork, prediction: Tensor, target: Tensor, mask: Tensor, plane: str) -> Tensor:
    """The robust form, slice by slice."""
    unit = mean_square_response(network)[0]
    subjects = []
    for ours, theirs, weight in zip(prediction[:, 0], target[:, 0], mask[:, 0], strict=True):
        inside = weight > 0
        low, high = (float(np.quantile(theirs[inside].numpy(), q)) for q in (0.005, 0.995))
        total, area = torch.zeros(()), 0.0
        axis = AXES[plane] - 2
        shadow = inside.any(dim=axis)
        rows, columns = extent(shadow.any(dim=1)), extent(shadow.any(dim=0))
        for index in range(theirs.shape[axis]):
            chosen = [volume.select(axis, index)[rows, columns] for volume in (ours, theirs, weight)]
            first, second = (((v - low) / (high - low) * (chosen[2] > 0)).expand(1, 3, -1, -1) for v in chosen[:2])
            difference = ((network(first)[0] - network(second)[0]) ** 2).mean(dim=(0, 1))
            pooled = chosen[2].unfold(0, 2, 2).unfold(1, 2, 2).mean(dim=(2, 3))
            total = total + (difference * pooled).mean() / unit
            area += float(chosen[2].mean())
        subjects.append(total / area)
    return torch.stack(subjects).mean()


def value_and_gradient(loss: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    return loss.detach(), torch.autograd.grad(loss, prediction)[0]


def assert_same(ours: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-5, atol=0)
    scale = float(expected[1].abs().max())
    torch.testing.assert_close(ours[1], expected[1], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("plane", AXES)
def test_papers_form_equals_the_authors_loop(plane, volumes, network):
    prediction, target, mask = volumes
    loss = build_loss("perceptual-2d", {"plane": plane, "normalization": "paper", "chunk": 3, **SHALLOW})
    ours = value_and_gradient(loss(prediction, target, mask), prediction)
    assert_same(ours, value_and_gradient(authors_loop(network, prediction, target, plane), prediction))


def test_papers_form_at_the_papers_layer(volumes):
    prediction, target, mask = (volume[:1] for volume in volumes)
    prediction = prediction.detach().requires_grad_()
    loss = build_loss("perceptual-2d", {"normalization": "paper"})
    ours = value_and_gradient(loss(prediction, target, mask), prediction)
    full = load_feature_network("vgg16", layers=["relu4_3"])
    assert_same(ours, value_and_gradient(authors_loop(full, prediction, target, "axial"), prediction))


@pytest.mark.parametrize("plane", AXES)
def test_robust_form_equals_a_loop(plane, volumes, network):
    prediction, target, mask = volumes
    loss = build_loss("perceptual-2d", {"plane": plane, "chunk": 3, **SHALLOW})
    ours = value_and_gradient(loss(prediction, target, mask), prediction)
    assert_same(ours, value_and_gradient(robust_loop(network, prediction, target, mask, plane), prediction))


def test_plain_is_the_mean_of_the_planes_and_cyclic_one_of_them(volumes):
    single = {plane: build_loss("perceptual-2d", {"plane": plane, **SHALLOW})(*volumes).item() for plane in AXES}
    plain = build_loss("perceptual-2.5d", SHALLOW)
    assert plain(*volumes).item() == pytest.approx(sum(single.values()) / 3, rel=1e-6)
    cyclic = build_loss("perceptual-cyclic-2.5d", {"duration": 1, "factor": 1.0, **SHALLOW})
    for epoch, plane in enumerate(("axial", "coronal", "sagittal", "axial")):
        cyclic.set_epoch(epoch)
        assert cyclic(*volumes).item() == pytest.approx(single[plane], rel=1e-6)


def test_layer_weights(volumes):
    both = build_loss("perceptual-2d", {"layers": {"relu1_1": 0.25, "relu2_1": 2.0}})(*volumes)
    first = build_loss("perceptual-2d", {"layers": ["relu1_1"]})(*volumes)
    second = build_loss("perceptual-2d", SHALLOW)(*volumes)
    assert both.item() == pytest.approx(0.25 * first.item() + 2 * second.item(), rel=1e-5)


@pytest.mark.parametrize("normalization", ["paper", "robust"])
def test_the_number_of_slices_at_once_changes_nothing(normalization, volumes):
    options = {"normalization": normalization, **SHALLOW}
    one, all_at_once = (
        value_and_gradient(build_loss("perceptual-2d", {**options, "chunk": chunk})(*volumes), volumes[0])
        for chunk in (1, 100)
    )
    assert_same(one, all_at_once)


def test_near_empty_slices_hijack_the_papers_gradient_but_not_the_robust_one(volumes):
    """The published form divides by the slice's range: noise of 0.001 in an empty slice outweighs the brain."""
    _, target, mask = (volume[:1] for volume in volumes)
    target = target * mask
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    prediction = (target + torch.where(mask > 0, 0.4, 0.001) * noise).requires_grad_()
    empty = mask.mean(dim=(1, 3, 4), keepdim=True).expand_as(mask) == 0
    shares = {}
    for normalization in ("paper", "robust"):
        loss = build_loss("perceptual-2d", {"normalization": normalization, **SHALLOW})
        _, gradient = value_and_gradient(loss(prediction, target, mask), prediction)
        shares[normalization] = (gradient[empty].norm() / gradient[~empty].norm()).item()
    assert shares["paper"] > 10
    assert shares["robust"] == 0


def test_only_the_robust_form_sees_a_wrong_scale(volumes):
    _, target, mask = volumes
    wrong = 0.5 * target + 3
    noisy = volumes[0].detach()
    values = {
        name: [build_loss("perceptual-2d", {"normalization": name, **SHALLOW})(v, target, mask) for v in (wrong, noisy)]
        for name in ("paper", "robust")
    }
    assert values["paper"][0] < 1e-6 * values["paper"][1]
    assert values["robust"][0] > 0.1 * values["robust"][1]


def test_only_the_robust_form_keeps_subjects_apart(volumes):
    prediction, target, mask = (volume.detach() for volume in volumes)
    brighter = torch.tensor([1.0, 4.0]).view(2, 1, 1, 1, 1)
    for name, apart in (("robust", True), ("paper", False)):
        loss = build_loss("perceptual-2d", {"normalization": name, **SHALLOW})
        alone = [loss(prediction[i : i + 1] * s, target[i : i + 1] * s, mask[i : i + 1]) for i, s in ((0, 1), (1, 4))]
        together = loss(prediction * brighter, target * brighter, mask)
        assert (together.item() == pytest.approx(sum(alone).item() / 2, rel=1e-4)) is apart


def test_perfect_prediction_costs_nothing_and_outside_the_mask_nothing_counts(volumes):
    prediction, target, mask = volumes
    for name in ("perceptual-2.5d", "perceptual-3d"):
        loss = build_loss(name, SHALLOW if "2" in name else {})
        assert loss(target, target, mask).item() == 0
        changed = torch.where(mask > 0, prediction, 100.0)
        assert loss(changed, target, mask).item() == loss(prediction, target, mask).item()


def test_a_subject_without_mask_or_contrast_gives_no_nan(volumes):
    prediction, target, mask = volumes
    for name in ("perceptual-2d", "perceptual-3d"):
        loss = build_loss(name, SHALLOW if "2" in name else {})
        value, gradient = value_and_gradient(loss(prediction, target, torch.zeros_like(mask)), prediction)
        assert value == 0
        assert not gradient.any()
        value, gradient = value_and_gradient(loss(prediction, torch.ones_like(target), mask), prediction)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_mixed_precision_around_it_changes_nothing_but_rounding(volumes):
    prediction, target, mask = volumes
    loss = build_loss("perceptual-2d", SHALLOW)
    exact = value_and_gradient(loss(prediction, target, mask), prediction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same(value_and_gradient(loss(prediction, target, mask), prediction), exact)
    half = prediction.detach().bfloat16().requires_grad_()
    value, gradient = value_and_gradient(loss(half, target, mask), half)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert value.item() == pytest.approx(exact[0].item(), rel=0.02)


def test_bfloat16_network_is_close(volumes):
    exact = build_loss("perceptual-2d", SHALLOW)(*volumes).item()
    assert build_loss("perceptual-2d", {"precision": "bfloat16", **SHALLOW})(*volumes).item() == pytest.approx(
        exact, rel=0.03
    )


def test_every_nth_slice_from_each_start_averages_to_the_papers_form(volumes, monkeypatch):
    prediction, target, mask = volumes
    every = build_loss("perceptual-2d", {"normalization": "paper", **SHALLOW})(prediction, target, mask)
    third = build_loss("perceptual-2d", {"normalization": "paper", "slice_stride": 4, **SHALLOW})
    values = []
    for first in range(4):
        monkeypatch.setattr(torch, "randint", lambda *_, first=first: torch.tensor(first))
        values.append(third(prediction, target, mask).item())
    assert sum(values) / 4 == pytest.approx(every.item(), rel=1e-5)


# Kept target features


@pytest.mark.parametrize("name", ["perceptual-2.5d", "perceptual-3d"])
def test_kept_features_change_no_bit_and_never_match_another_target(name, volumes):
    prediction, target, mask = volumes
    options = SHALLOW if "2" in name else {}
    plain, keeping = build_loss(name, options), build_loss(name, {"cache_gigabytes": 1.0, **options})
    keeping(prediction, target, mask)
    kept = len(keeping.kept)
    again = value_and_gradient(keeping(prediction, target, mask), prediction)
    assert len(keeping.kept) == kept > 0
    expected = value_and_gradient(plain(prediction, target, mask), prediction)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)
    shifted = target.roll(1, dims=4)
    assert keeping(prediction, shifted, mask).item() == plain(prediction, shifted, mask).item()
    assert len(keeping.kept) == 2 * kept


def test_kept_features_spare_the_network_the_target(volumes, monkeypatch):
    loss = build_loss("perceptual-2d", {"cache_gigabytes": 1.0, "normalization": "paper", **SHALLOW})
    loss(*volumes)
    calls = []
    forward = FeatureNetwork.forward
    monkeypatch.setattr(
        FeatureNetwork, "forward", lambda self, *given, **named: calls.append(1) or forward(self, *given, **named)
    )
    loss(*volumes)
    assert len(calls) == 4  # 16 slices, 4 at once, of the prediction alone


def test_the_store_keeps_to_its_room():
    store = TargetFeatures(gigabytes=8 * 100 / 2**30)
    for number in range(3):
        found = store.get(number, lambda number=number: [torch.full((100,), float(number))])
        assert found[0][0] == number
    assert len(store) == 2
    assert store.get(0, lambda: [torch.zeros(0)])[0].numel() == 100
    assert store.get(2, lambda: [torch.ones(1)])[0].numel() == 1


def test_another_plane_frees_the_store(volumes):
    loss = build_loss("perceptual-cyclic-2.5d", {"duration": 1, "cache_gigabytes": 1.0, **SHALLOW})
    loss(*volumes)
    loss.set_epoch(0)
    assert len(loss.kept) > 0
    loss.set_epoch(1)
    assert len(loss.kept) == 0


# Streaming


def test_a_streamed_sum_has_the_value_and_gradient_of_the_plain_one():
    values = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    parts = [
        (slice(0, 3), lambda piece: piece.sin().prod(dim=1).sum()),
        (torch.tensor([4, 6]), lambda piece: (piece**3).mean()),
    ]
    streamed = streamed_sum(values, parts)
    plain = values[:3].sin().prod(dim=1).sum() + (values[[4, 6]] ** 3).mean()
    torch.testing.assert_close(streamed, plain)
    for scale in (1.0, -2.5):
        ours, theirs = (torch.autograd.grad(scale * s, values, retain_graph=True)[0] for s in (streamed, plain))
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert not streamed_sum(values, parts).requires_grad


# 3-D


def test_3d_equals_a_direct_computation(volumes):
    prediction, target, mask = volumes
    loss = build_loss("perceptual-3d", {"layers": {"down1": 1.0, "down2": 0.5}})
    brain = load_feature_network("brain-mask", layers=["down1", "down2"])
    units = mean_square_response(brain)
    expected = torch.zeros(())
    # 16 x 20 x 24 voxels, made up to 16 x 32 x 32.
    padded = [functional.pad(volume, (0, 8, 0, 12)) for volume in volumes]
    for ours, theirs, weight in zip(*padded, strict=True):
        low, high = (float(np.quantile(theirs[weight > 0].numpy(), q)) for q in (0.005, 0.995))
        first, second = (brain(((v - low) / (high - low) * (weight > 0))[None]) for v in (ours, theirs))
        for index, (stride, layer_weight) in enumerate(((2, 1.0), (4, 0.5))):
            difference = ((first[index] - second[index]) ** 2).mean(dim=(0, 1))
            share = functional.avg_pool3d(weight[None], stride)[0, 0]
            total = (difference * share).sum() / share.sum()
            expected = expected + layer_weight / units[index] * total / 2
    ours = value_and_gradient(loss(prediction, target, mask), prediction)
    assert_same(ours, value_and_gradient(expected, prediction))


def test_medicalnet_from_a_file_ranks_a_worse_prediction_worse(volumes, tmp_path):
    module = ARCHITECTURES["medicalnet-resnet10"]().module
    state = {k: v for k, v in module.state_dict().items() if k.startswith(("conv1", "bn1", "layer1"))}
    save_file(state, tmp_path / "medicalnet.safetensors")
    options = {
        "network": "medicalnet-resnet10",
        "layers": ["layer1"],
        "weights": str(tmp_path / "medicalnet.safetensors"),
    }
    prediction, target, mask = (volume.detach() for volume in volumes)
    loss = build_loss("perceptual-3d", options)
    near, far = (loss(target + share * (prediction - target), target, mask).item() for share in (0.25, 1.0))
    assert 0 < near < far
    # Unlike MONAI's, prediction and target share the target's mean and deviation.
    assert loss(2 * target + 1, target, mask).item() > 0


# Foreground


def test_foreground_weights_missed_and_invented_uptake(volumes):
    _, target, mask = volumes
    inside = mask > 0
    high = torch.zeros_like(target, dtype=torch.bool)
    for subject in range(2):
        values = target[subject][inside[subject]]
        high[subject] = target[subject] > values.sort().values[int(0.9 * len(values)) - 1]
    hot = high & inside
    cold = inside & (target < target[inside].median())
    loss = build_loss("foreground-weighted", {"loss": "mse", "gain": 4.0})
    missed = torch.where(hot, target - 1, target)
    total = mask.sum() + 4 * hot.sum()
    assert loss(missed, target, mask).item() == pytest.approx((5 * hot.sum() / total).item(), rel=1e-4)
    invented = torch.where(cold, target + 5, target)
    total = mask.sum() + 4 * (hot | cold).sum()
    assert loss(invented, target, mask).item() == pytest.approx((25 * 5 * cold.sum() / total).item(), rel=1e-4)


def test_foreground_threshold_and_no_gain(volumes):
    prediction, target, mask = volumes
    plain = build_loss("l1")(prediction, target, mask).item()
    assert build_loss("foreground-weighted", {"loss": "l1", "gain": 0.0})(*volumes).item() == pytest.approx(plain)
    above = {"loss": "l1", "threshold": 1e6}
    assert build_loss("foreground-weighted", above)(*volumes).item() == pytest.approx(plain)
    with pytest.raises(BadInputError, match="robust"):
        build_loss("foreground-weighted", {"loss": "perceptual-2d", "parameters": {"normalization": "paper"}})


def test_foreground_weighted_perceptual_follows_the_schedule(volumes):
    parameters = {"loss": "perceptual-cyclic-2.5d", "parameters": {"duration": 1, **SHALLOW}}
    losses = WeightedLosses([("foreground-weighted", 1.0, parameters)])
    before = losses(*volumes)["foreground-weighted"]
    losses.set_epoch(1)
    assert losses.plane == "coronal"
    assert losses(*volumes)["foreground-weighted"] != before
    plain = build_loss("perceptual-cyclic-2.5d", {"duration": 1, **SHALLOW})(*volumes)
    assert before != plain


# As a recipe's losses


def test_description_names_network_hash_and_schedule():
    losses = WeightedLosses([("mse", 1.0, {}), ("perceptual-cyclic-2.5d", 0.5, {"factor": "2/3"})])
    mse, cyclic = losses.describe()
    assert mse == {"name": "mse", "weight": 1.0, "parameters": {}}
    assert cyclic["feature_network"]["name"] == "vgg16"
    assert len(cyclic["feature_network"]["sha256"]) == 64
    assert cyclic["schedule"]["first_switches"][:4] == [120, 240, 360, 440]
    assert (dict(losses.state_dict()), list(losses.parameters())) == ({}, [])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("perceptual-2d", {"plane": "oblique"}, "oblique.*axial"),
        ("perceptual-2d", {"normalization": "none"}, "none.*robust.*paper"),
        ("perceptual-2d", {"network": "brain-mask"}, "perceptual-3d"),
        ("perceptual-2.5d", {"plane": "axial"}, "no parameter 'plane'.*slice_stride"),
        ("perceptual-2.5d", {"value_range": [1, 0]}, "value_range"),
        ("perceptual-3d", {"network": "vgg16"}, "2-D images"),
    ],
)
def test_wrong_parameters_are_named(name, parameters, message):
    with pytest.raises(BadInputError, match=message):
        build_loss(name, parameters)


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(BadInputError, match="mse more than once"):
        WeightedLosses([("mse", 1.0, {}), ("mse", 0.5, {})])
