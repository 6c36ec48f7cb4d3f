"""PASTA over whole heads: slabs, the published path against a plain loop, the joint path, and training."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from test_pasta_network import TINY, randomize

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.generators.pasta.arm import ArmShape
from modality_synthesis.generators.pasta.objective import PathologyWeight, slice_ssim
from modality_synthesis.generators.pasta.samplers import NoiseStream
from modality_synthesis.generators.pasta.schedule import levels
from modality_synthesis.generators.pasta.slabs import disjoint_starts, overlapping_starts, triangular_weights
from modality_synthesis.generators.pasta.volume import Sampling, VolumeSampler


class Oracle:
    """Stands for both arms: the 'denoiser' returns the very slab that the 'conditioner' saw."""

    def __init__(self, slices: int = 15) -> None:
        self.shape = ArmShape(slices=slices)
        self.slabs = self.largest = 0

    def extract(self, slabs):
        self.slabs += len(slabs)
        self.largest = max(self.largest, len(slabs))
        return slabs

    def gains(self, features, clinical):
        return features

    def __call__(self, noisy, timestep, gains):
        self.slabs += len(noisy)
        return gains


def run(oracle: Oracle, volume: torch.Tensor, **sampling: object) -> torch.Tensor:
    with torch.no_grad():
        return VolumeSampler(oracle, oracle, None, Sampling(**sampling), lambda done: None).run(volume, seed=0)


@pytest.mark.parametrize("depth", [5, 15, 16, 33, 96])
@pytest.mark.parametrize("path", ["joint", "independent"])
def test_every_slice_comes_back_to_its_place(path, depth):
    volume = torch.rand(depth, 2, 3) * 2 - 1
    made = run(Oracle(), volume, path=path, steps=4)
    torch.testing.assert_close(made, volume, atol=1e-6, rtol=0)


def test_disjoint_slabs_cover_every_slice_and_their_seams_move():
    seams = []
    for step in range(15):
        starts = disjoint_starts(96, 15, step)
        assert len(starts) <= 8
        assert set(range(96)) == {slice_ for start in starts for slice_ in range(start, start + 15)}
        seams.append(set(starts) - {0, 81})
    assert all(not first & second for first, second in itertools.pairwise(seams))


def test_half_overlapping_triangles_are_a_partition_of_unity():
    total = torch.zeros(99)
    for start in overlapping_starts(99, 15, stride=7):
        total[start : start + 15] += triangular_weights(15)
    torch.testing.assert_close(total[7:-7], torch.ones(85))


def test_the_cost_of_the_published_path_and_of_the_joint_one():
    volume = torch.zeros(96, 1, 1)
    published, joint = Oracle(), Oracle()
    run(published, volume, path="independent", steps=100, spacing="leading")
    run(joint, volume)
    assert published.slabs == 9696
    assert joint.slabs <= published.slabs / 20


@pytest.mark.parametrize("path", ["joint", "independent"])
def test_the_network_sees_no_more_slabs_for_a_longer_volume(path):
    for depth in (20, 80):
        oracle = Oracle(slices=5)
        run(oracle, torch.zeros(depth, 1, 1), path=path, steps=2, slab_batch=3)
        assert oracle.largest == 3


@pytest.fixture(scope="module")
def generator():
    return randomize(build_generator("pasta", {**TINY, "clinical_variables": 2}), seed=1).eval()


@pytest.fixture
def batch():
    source = torch.rand(1, 1, 7, 8, 12, generator=torch.Generator().manual_seed(0))
    return Batch(source, clinical=torch.tensor([[0.4, math.nan]]), seed=11)


def plainly(generator, batch, steps):
    """The published path without any acceleration: slab by slab, everything anew at every step, with gradients on."""
    volume = 2 * batch.source[0, 0] - 1
    depth, (height, width) = len(volume), volume.shape[1:]
    padded = torch.cat([-torch.ones(1, height, width), volume, -torch.ones(1, height, width)])
    weights, total = torch.zeros(depth), torch.zeros_like(volume)
    for center in range(depth):
        slab = padded[center : center + 3][None]
        x = NoiseStream(batch.seed, center).draw(slab.shape[1:])[None]
        for level in levels(steps, "leading"):
            features = generator.conditioner.extract(slab)
            gains = generator.denoiser.gains(features, generator.clinical(batch.clinical))
            clean = generator.denoiser(x, torch.tensor([level.told]), gains).detach().clamp(-1, 1)
            noise = (x - math.sqrt(level.signal) * clean) / math.sqrt(1 - level.signal)
            x = math.sqrt(level.next_signal) * clean + math.sqrt(1 - level.next_signal) * noise
        for offset, weight in ((-1, 0.0), (0, 1.0), (1, 0.0)):
            if 0 <= center + offset < depth:
                total[center + offset] += weight * x[0, 1 + offset]
                weights[center + offset] += weight
    return (total / weights[:, None, None] + 1) / 2


@pytest.mark.parametrize("slab_batch", [1, 4])
def test_the_accelerated_published_path_equals_a_plain_loop(generator, batch, slab_batch):
    generator.sampling = Sampling(path="independent", steps=3, spacing="leading", slab_batch=slab_batch)
    with torch.inference_mode():
        made = generator.synthesize(batch)[0, 0]
    torch.testing.assert_close(made, plainly(generator, batch, 3), atol=2e-5, rtol=0)


def test_half_precision_stays_close(generator, batch):
    made = []
    for precision in ("float32", "bfloat16"):
        generator.sampling = Sampling(steps=1, precision=precision)
        with torch.inference_mode():
            made.append(generator.synthesize(batch))
    assert made[1].dtype == torch.float32
    assert 0 < (made[0] - made[1]).abs().mean() < 0.02


@pytest.mark.parametrize("path", ["joint", "independent"])
def test_the_seed_decides_alone(generator, batch, path):
    generator.sampling = Sampling(path=path, sampler="ddpm", steps=3)
    made = []
    for seed, slab_batch in ((11, 1), (11, 4), (12, 4)):
        torch.manual_seed(slab_batch)
        generator.sampling = Sampling(path=path, sampler="ddpm", steps=3, slab_batch=slab_batch)
        with torch.inference_mode():
            made.append(generator.synthesize(Batch(batch.source, clinical=batch.clinical, seed=seed)))
    torch.testing.assert_close(made[0], made[1], atol=2e-5, rtol=0)
    assert (made[0] - made[2]).abs().mean() > 1e-3


@pytest.mark.parametrize("size", [(2, 8, 8), (7, 9, 11)])
@pytest.mark.parametrize("steps", [0, 2])
def test_any_size_goes_and_the_output_stays_in_its_range(generator, size, steps):
    generator.sampling = Sampling(steps=steps)
    with torch.inference_mode():
        made = generator.synthesize(Batch(torch.rand(2, 1, *size)))
    assert made.shape == (2, 1, *size)
    assert made.min() >= 0
    assert made.max() <= 1


def test_progress_rises_to_the_end_and_can_cancel_between_steps(generator, batch):
    generator.sampling = Sampling(steps=3, slab_batch=1)
    heard: list[float] = []
    with torch.inference_mode():
        generator.synthesize(batch, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) > 10

    class Stop(Exception):
        pass

    def stop(done):
        if done > 0.5:
            raise Stop

    with torch.inference_mode(), pytest.raises(Stop):
        generator.synthesize(batch, stop)


def test_clinical_variables_matter_and_may_all_be_unknown(generator, batch):
    generator.sampling = Sampling(steps=2)
    with torch.inference_mode():
        made = [
            generator.synthesize(Batch(batch.source, clinical=clinical))
            for clinical in (None, torch.full((1, 2), torch.nan), torch.ones(1, 2))
        ]
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])
    with pytest.raises(ValueError, match="takes 2 clinical variables, got 3"):
        generator.synthesize(Batch(batch.source, clinical=torch.ones(1, 3)))


def test_flipped_axes_are_flipped_back(generator, batch):
    flipped = build_generator("pasta", {**TINY, "clinical_variables": 2, "flip": ["y", "x"], "sampling": {"steps": 0}})
    flipped.load_state_dict(generator.state_dict())
    generator.sampling = Sampling(steps=0)
    mirrored = Batch(batch.source.flip(3, 4))
    with torch.inference_mode():
        torch.testing.assert_close(flipped.eval().synthesize(mirrored).flip(3, 4), generator.synthesize(batch))


def no_losses(prediction, target, mask):
    return {}


def toy_batch() -> Batch:
    """Smooth targets that follow from the source."""
    noise = torch.rand(2, 1, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    source = torch.nn.functional.interpolate(noise, (5, 16, 16), mode="trilinear")
    regions = torch.zeros_like(source)
    regions[..., :8] = 1
    return Batch(source, 1 - source, clinical=torch.tensor([[0.0, torch.nan], [1.0, 1.0]]), regions=regions)


def test_training_reduces_the_loss():
    torch.manual_seed(0)
    generator = build_generator("pasta", {**TINY, "clinical_variables": 2, "cycle": False})
    optimizer = torch.optim.AdamW(generator.parameters(), 3e-3)
    losses = []
    for _ in range(24):
        report = generator.training_step("generator", toy_batch(), no_losses)
        optimizer.zero_grad()
        report.loss.backward()
        optimizer.step()
        losses.append(report.loss.item())
    assert sum(losses[-4:]) < 0.85 * sum(losses[:4])


def test_with_cycle_every_weight_is_trained():
    generator = build_generator("pasta", {**TINY, "clinical_variables": 2})
    report = generator.training_step("generator", toy_batch(), no_losses)
    report.loss.backward()
    assert set(report.terms) == {"diffusion", "task", "structure", "reverse", "cycle", "MetaROI weight"}
    assert all(parameter.grad is not None for parameter in generator.parameters())


def passes_of(generator, batch):
    """(conditioner, denoiser, condition, clean, clinical) of each pass."""
    seen, original = [], generator._pass

    def spy(conditioner, denoiser, condition, clean, regions, clinical):
        estimate, terms = original(conditioner, denoiser, condition, clean, regions, clinical)
        seen.append((conditioner, denoiser, condition, clean, clinical is not None, estimate))
        return estimate, terms

    generator._pass = spy
    report = generator.training_step("generator", batch, no_losses)
    return seen, report


@pytest.mark.parametrize("literal", [False, True])
def test_cycle_exchange_swaps_the_arms_as_published(literal):
    generator = randomize(build_generator("pasta", {**TINY, "clinical_variables": 2, "literal": literal}))
    batch = toy_batch()
    small = Batch(batch.source[:, :, :3], batch.target[:, :, :3], clinical=batch.clinical)
    seen, _ = passes_of(generator, small)
    mri, pet = 2 * small.source[:, 0] - 1, 2 * small.target[:, 0] - 1
    model, encoder = generator.denoiser, generator.conditioner
    assert [one[0] for one in seen] == [encoder, model, model, encoder]
    assert [one[1] for one in seen] == [model, encoder, encoder, model]
    assert [one[4] for one in seen] == [True, False, False, True]
    for one, clean in zip(seen, (pet, mri, mri, pet), strict=True):
        torch.testing.assert_close(one[3], clean)
    again = (lambda estimate: 2 * estimate - 1) if literal else (lambda estimate: estimate)
    for one, condition in zip(seen, (mri, again(seen[0][5]), pet, again(seen[2][5])), strict=True):
        torch.testing.assert_close(one[2], condition)
    assert [one[2].requires_grad for one in seen] == [False, True, False, True]


def test_without_cycle_there_is_one_pass_and_recipe_losses_join_it():
    generator = build_generator("pasta", {**TINY, "clinical_variables": 0, "cycle": False, "task_weight": 0.25})
    batch = toy_batch()
    seen, report = passes_of(generator, Batch(batch.source, batch.target))
    assert len(seen) == 1
    assert set(report.terms) == {"diffusion", "task", "structure"}
    report = generator.training_step(
        "generator", batch, lambda made, target, mask: {"extra": (made - target).abs().mean()}
    )
    assert report.loss.item() == pytest.approx(
        sum(report.terms[name].item() for name in ("diffusion", "task", "structure", "extra")), rel=1e-5
    )


def test_the_learned_metaroi_weight_settles_at_the_inverse_error():
    clean, regions = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    estimate = clean - 0.05
    regions[..., :2] = 1
    fixed = PathologyWeight(10.0, learned=False)
    assert fixed(clean, estimate, regions).item() == pytest.approx(0.05 * (10 + 1) / 2)
    assert fixed(clean, estimate, None).item() == pytest.approx(0.05)
    learned = PathologyWeight(10.0)
    optimizer = torch.optim.Adam(learned.parameters(), 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        learned(clean, estimate, regions).backward()
        optimizer.step()
    assert learned.weight.item() == pytest.approx(1 / 0.05, rel=0.02)


def test_slice_ssim_is_wang_s():
    a, b = torch.rand(2, 1, 1, 13, 14, generator=torch.Generator().manual_seed(2))
    line = torch.exp(-0.5 * (torch.arange(-5.0, 6) / 1.5) ** 2)
    window = torch.outer(line, line) / line.sum() ** 2
    values = []
    for y in range(13):
        for x in range(14):
            p, q = (torch.nn.functional.pad(image[0, 0], (5, 5, 5, 5))[y : y + 11, x : x + 11] for image in (a, b))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
            cov = (window * p * q).sum() - mp * mq
            values.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert slice_ssim(a, b, 1.0).item() == pytest.approx(torch.stack(values).mean().item(), abs=1e-5)


def test_training_weights_stay_out_of_the_package_and_mistakes_are_named(generator):
    assert not any(name.startswith("pathology") for name in generator.package_state())
    assert generator.stochastic or generator.sampling.steps == 0
    for parameters, message in (
        ({"sampling": {"sampler": "euler"}}, "'sampler' cannot be 'euler'"),
        ({"sampling": {"step": 3}}, "step"),
        ({"slices": 4}, "odd number"),
        ({"layout": "published", "clinical_variables": 3}, "exactly 6"),
        ({"flip": ["z"]}, "'y' or 'x'"),
        ({"target_range": [1, 0]}, "target_range must rise"),
    ):
        with pytest.raises(BadInputError, match=message):
            build_generator("pasta", {**TINY, **parameters})
