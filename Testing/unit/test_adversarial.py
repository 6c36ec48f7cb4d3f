"""Pix2Pix and CycleGAN against their papers: objectives, PatchGAN, image pool, training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.adversarial import adversarial_loss, discriminator_loss, masked_l1, paste
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.generators.discriminator import PatchDiscriminator
from modality_synthesis.generators.image_pool import ImagePool

NETWORK = {"name": "unet", "parameters": {"channels": [4, 8], "strides": [2], "dropout": 0.2}}
TINY = {
    "pix2pix": {"network": NETWORK, "discriminator": {"channels": 4, "layers": 1}},
    "cyclegan": {"network": NETWORK, "discriminator": {"channels": 4, "layers": 1}, "pool_size": 2},
}
SIZE = (1, 1, 12, 14, 12)


def l1(prediction, target, mask):
    return {"l1": 10 * masked_l1(prediction, target, mask)}


def toy_batch(seed=0):
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    source = 3 * nn.functional.avg_pool3d(noise, 3, 1, 1)
    mask = torch.zeros(SIZE)
    mask[..., 1:11, 2:12, 1:11] = 1
    return Batch(source=source, target=(source > 0.2).float(), mask=mask)


def optimizers_of(system):
    return [torch.optim.Adam(system.phase_parameters(phase), lr=2e-3, betas=(0.5, 0.999)) for phase in system.phases()]


def steps(system, optimizers, seeds):
    """One training step per seed; the reports' terms."""
    history = []
    for seed in seeds:
        torch.manual_seed(seed)
        terms = {}
        for phase, optimizer in zip(system.phases(), optimizers, strict=True):
            optimizer.zero_grad()
            report = system.training_step(phase, toy_batch(seed), l1)
            report.loss.backward()
            optimizer.step()
            terms |= {f"{phase}/{name}": value.item() for name, value in report.terms.items()}
        history.append(terms)
    return history


# --- objectives ---


def test_objectives_are_their_formulae():
    scores = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    values = scores.numpy().astype(float)
    squares = {True: ((values - 1) ** 2).mean(), False: (values**2).mean()}
    entropy = {True: np.log1p(np.exp(-values)).mean(), False: np.log1p(np.exp(values)).mean()}
    for real in (True, False):
        assert adversarial_loss(scores, real=real, objective="least-squares").item() == pytest.approx(squares[real])
        assert adversarial_loss(scores, real=real, objective="bce").item() == pytest.approx(entropy[real])
    halved = discriminator_loss(scores, scores + 1, "least-squares").item()
    assert halved == pytest.approx((squares[True] + ((values + 1) ** 2).mean()) / 2)
    # A discriminator that knows nothing: ln 2.
    assert discriminator_loss(torch.zeros(3), torch.zeros(3), "bce").item() == pytest.approx(np.log(2))


def test_objectives_are_computed_in_single_precision():
    scores = torch.full((4,), 300.0, dtype=torch.float16)  # its square is beyond float16
    assert adversarial_loss(scores, real=False, objective="least-squares").item() == 90000.0


def test_masked_l1_counts_only_the_mask():
    first, second, mask = torch.zeros(1, 2, 2, 2, 2), torch.ones(1, 2, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    first[:, 1], mask[..., 0] = 3.0, 1
    second[..., 1] = 100.0
    assert masked_l1(first, second, mask).item() == pytest.approx((1 + 2) / 2)


# --- PatchGAN ---


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_the_published_patch(layers, field):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, channels=1, layers=layers, norm="none")
    volume = torch.rand(1, 1, 96, 24, 24, requires_grad=True)
    scores = discriminator(volume)
    scores[0, 0, scores.shape[2] // 2, 0, 0].backward()
    seen = volume.grad[0, 0].abs().sum(dim=(1, 2)) > 0
    assert int(seen.sum()) == field


def test_score_maps_have_the_published_size():
    with torch.device("meta"):
        discriminator = PatchDiscriminator(2)
        assert discriminator(torch.empty(1, 2, 256, 256, 256)).shape == (1, 1, 30, 30, 30)  # 2-D: 256² -> 30²
        assert discriminator(torch.empty(1, 2, 96, 112, 96)).shape == (1, 1, 10, 12, 10)
    taps = 4**3
    hidden = taps * (64 * 128 + 128 * 256 + 256 * 512)
    expected = (2 * taps * 64 + 64) + hidden + (512 * taps + 1)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == expected


def test_the_weights_start_as_published():
    torch.manual_seed(0)
    weights = PatchDiscriminator(1, channels=16).state_dict()
    first = weights["network.2.conv.weight"]
    assert first.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["network.initial_conv.conv.bias"].abs().max() == 0


def test_spectral_normalization_bounds_every_convolution():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, channels=4, layers=1, spectral=True)
    for _ in range(30):  # one power iteration per pass
        discriminator(torch.rand(1, 1, 8, 8, 8))
    discriminator.eval()
    convolutions = [part for part in discriminator.modules() if isinstance(part, nn.Conv3d)]
    assert len(convolutions) == 3
    for convolution in convolutions:
        norm = torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), ord=2)
        assert norm.item() == pytest.approx(1.0, abs=0.02)


def test_a_volume_smaller_than_a_patch_is_refused():
    with pytest.raises(BadInputError, match=r"24 voxels .* fewer layers"):
        PatchDiscriminator(1, channels=2)(torch.rand(1, 1, 24, 24, 23))
    assert PatchDiscriminator(1, channels=2)(torch.rand(1, 1, 24, 24, 24)).shape == (1, 1, 1, 1, 1)


# --- image pool ---


def number(value):
    return torch.full((1, 1), float(value))


def test_the_pool_exchanges_half_of_the_volumes_as_defined():
    torch.manual_seed(0)
    pool = ImagePool()
    assert pool.size == 50
    for value in range(50):
        assert pool(number(value)).item() == value
    kept = set(range(50))
    exchanged = []
    for value in range(50, 1050):
        shown = int(pool(number(value)).item())
        if shown != value:
            assert shown in kept
            kept = kept - {shown} | {value}
            exchanged.append(value)
        assert {int(volume.item()) for volume in pool.volumes} == kept
    assert len(exchanged) == pytest.approx(500, abs=4 * np.sqrt(250))


def test_the_pool_is_part_of_the_state():
    torch.manual_seed(0)
    pool, other = ImagePool(3), ImagePool(3)
    for value in range(5):
        pool(number(value))
    other.load_state_dict(copy.deepcopy(pool.state_dict()))
    torch.manual_seed(1)
    expected = [pool(number(value)).item() for value in range(10, 30)]
    torch.manual_seed(1)
    assert [other(number(value)).item() for value in range(10, 30)] == expected


def test_a_pool_of_no_size_shows_what_it_is_given_without_gradient():
    volume = torch.rand(2, 1, 3, 3, 3, requires_grad=True)
    shown = ImagePool(0)(volume)
    assert torch.equal(shown, volume)
    assert not shown.requires_grad


# --- the systems ---


class Affine(Generator):
    """slope · x + offset, with whatever outside the mask."""

    def __init__(self, slope, offset):
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.tensor(slope)), offset

    def forward(self, source, clinical=None):
        return self.slope * source + self.offset


class Mean(nn.Module):
    """A discriminator whose one score is the mean of what it is shown."""

    def forward(self, volume):
        return volume.mean().reshape(1, 1)


def test_pix2pix_minimizes_its_published_terms():
    system = build_generator("pix2pix", {**TINY["pix2pix"], "adversarial_weight": 0.7})
    system.network, system.discriminator = Affine(2.0, 1.0), Mean()
    batch = toy_batch()
    x, y, inside = batch.source.numpy(), batch.target.numpy(), batch.mask.numpy() > 0
    fake = np.where(inside, 2 * x + 1, y)  # outside the mask nobody sees the prediction
    real_score, fake_score = np.stack([x, y]).mean(), np.stack([x, fake]).mean()

    report = system.training_step("generator", batch, l1)
    expected = {
        "l1": 10 * np.abs(2 * x + 1 - y)[inside].mean(),
        "adversarial": 0.7 * np.log1p(np.exp(-fake_score)),
    }
    assert {name: value.item() for name, value in report.terms.items()} == pytest.approx(expected, rel=1e-5)
    assert report.loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)

    report = system.training_step("discriminator", batch, l1)
    expected = (np.log1p(np.exp(-real_score)) + np.log1p(np.exp(fake_score))) / 2
    assert report.loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("paired", [True, False])
def test_cyclegan_minimizes_its_published_terms(paired):
    system = build_generator("cyclegan", {**TINY["cyclegan"], "paired": paired})
    system.network, system.reverse = Affine(2.0, 1.0), Affine(0.5, -0.3)
    system.source_discriminator, system.target_discriminator = Mean(), Mean()
    batch = toy_batch()
    x, y, inside = batch.source.numpy(), batch.target.numpy(), batch.mask.numpy() > 0

    def forward(volume):
        return 2 * volume + 1

    def back(volume):
        return 0.5 * volume - 0.3

    def distance(first, second):
        return np.abs(first - second)[inside].mean()

    fake_y, fake_x = np.where(inside, forward(x), y), np.where(inside, back(y), x)
    report = system.training_step("generator", batch, l1)
    expected = {
        "adversarial": (fake_y.mean() - 1) ** 2 + (fake_x.mean() - 1) ** 2,
        "cycle": 10 * (distance(back(forward(x)), x) + distance(forward(back(y)), y)),
        "identity": 0.5 * 10 * (distance(forward(y), y) + distance(back(x), x)),
    }
    if paired:
        expected["l1"] = 10 * distance(forward(x), y)
    assert {name: value.item() for name, value in report.terms.items()} == pytest.approx(expected, rel=1e-5)
    assert report.loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)

    report = system.training_step("discriminator", batch, l1)
    expected = {
        "source": ((x.mean() - 1) ** 2 + fake_x.mean() ** 2) / 2,
        "target": ((y.mean() - 1) ** 2 + fake_y.mean() ** 2) / 2,
    }
    assert {name: value.item() for name, value in report.terms.items()} == pytest.approx(expected, rel=1e-5)


def test_the_defaults_are_the_papers():
    with torch.device("meta"):
        pix2pix, cyclegan = build_generator("pix2pix"), build_generator("cyclegan")
    assert (pix2pix.objective, cyclegan.objective) == ("bce", "least-squares")
    assert (cyclegan.cycle_weight, cyclegan.identity_weight, cyclegan.source_pool.size) == (10.0, 0.5, 50)
    u_net = 31_636_937
    assert sum(value.numel() for value in pix2pix.package_state().values()) == u_net
    assert sum(value.numel() for value in cyclegan.package_state().values()) == u_net


def test_outside_the_mask_a_synthetic_volume_is_the_real_one():
    prediction, real, mask = torch.full(SIZE, 9.0), torch.zeros(SIZE), toy_batch().mask
    assert torch.equal(paste(prediction, real, mask), 9 * mask)


@pytest.mark.parametrize("name", TINY)
def test_each_phase_reaches_all_of_its_parameters_and_no_others(name):
    torch.manual_seed(0)
    system = build_generator(name, TINY[name])
    owners = {phase: {id(parameter) for parameter in system.phase_parameters(phase)} for phase in system.phases()}
    assert set.union(*owners.values()) == {id(parameter) for parameter in system.parameters()}
    assert sum(map(len, owners.values())) == len(list(system.parameters()))
    for phase in system.phases():
        for parameter in system.parameters():
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in owners[phase])  # as the trainer does
        system.training_step(phase, toy_batch(), l1).loss.backward()
        assert {id(parameter) for parameter in system.parameters() if parameter.grad is not None} == owners[phase]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name == "cyclegan" else name for name in TINY]
)
def test_training_lowers_the_generators_loss_and_is_repeatable(name):
    histories = []
    for _ in range(2):
        torch.manual_seed(0)
        system = build_generator(name, TINY[name])
        histories.append(steps(system, optimizers_of(system), [0] * 25))
    assert histories[0] == histories[1]
    for term in ("generator/l1", "generator/cycle") if name == "cyclegan" else ("generator/l1",):
        assert histories[0][-1][term] < 0.7 * histories[0][0][term]


@pytest.mark.parametrize("name", TINY)
def test_a_restored_system_goes_on_as_if_nothing_had_happened(name):
    torch.manual_seed(0)
    system = build_generator(name, TINY[name])
    optimizers = optimizers_of(system)
    steps(system, optimizers, range(4))
    saved = copy.deepcopy([system.state_dict(), *(optimizer.state_dict() for optimizer in optimizers)])
    expected = steps(system, optimizers, range(4, 8))

    restored = build_generator(name, TINY[name])
    restored.load_state_dict(saved[0])
    others = optimizers_of(restored)
    for optimizer, state in zip(others, saved[1:], strict=True):
        optimizer.load_state_dict(state)
    assert steps(restored, others, range(4, 8)) == expected


@pytest.mark.parametrize("name", TINY)
def test_a_package_holds_the_network_alone(name):
    torch.manual_seed(0)
    system = build_generator(name, TINY[name])
    steps(system, optimizers_of(system), range(3))
    state = system.package_state()
    assert all(part.startswith("network.") for part in state)
    loaded = build_generator(name, TINY[name])
    loaded.load_state_dict(state, strict=False)
    loaded.drop_training_parts()
    assert set(loaded.state_dict()) == set(state)
    source = toy_batch(9).source
    with torch.no_grad():
        assert torch.equal(loaded.eval()(source), system.eval()(source))


@pytest.mark.parametrize("name", ["residual-unet", "unetr", "swin-unetr"])
def test_any_registered_network_can_be_the_generator(name):
    parameters = {
        "residual-unet": {"channels": [4, 8]},
        "unetr": {"image_size": [16, 16, 16], "feature_size": 2, "hidden_size": 12, "mlp_size": 12, "heads": 2},
        "swin-unetr": {"feature_size": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1]},
    }[name]
    choice = {"network": {"name": name, "parameters": parameters}, "discriminator": {"channels": 2, "layers": 1}}
    system = build_generator("pix2pix", choice)
    report = system.training_step("generator", toy_batch(), l1)
    assert torch.isfinite(report.loss)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("pix2pix", {"objective": "hinge"}, "objective"),
        ("pix2pix", {"network": {"name": "cyclegan", "parameters": {"network": NETWORK}}}, "system of its own"),
        ("pix2pix", {"network": {"name": "resnet"}}, "Unknown generator 'resnet'"),
        ("pix2pix", {"network": "unet"}, "name: ..., parameters"),
        ("pix2pix", {"network": NETWORK, "discriminator": {"depth": 3}}, "depth"),
        ("pix2pix", {"network": NETWORK, "discriminator": {"norm": "layer"}}, "'norm' cannot be 'layer'"),
        ("cyclegan", {"network": NETWORK, "in_channels": 2}, "identity_weight 0"),
        ("cyclegan", {"network": NETWORK, "pool_size": -1}, "pool"),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(name, parameters, message):
    with pytest.raises(BadInputError, match=message):
        build_generator(name, parameters)
