"""PASTA's diffusion: the schedule's published values and what every sampler must do."""

from __future__ import annotations

import math

import pytest
import torch

from modality_synthesis.generators.pasta.samplers import SAMPLERS, NoiseStream, sample
from modality_synthesis.generators.pasta.schedule import cosine_signal, levels, spaced_timesteps

SPREAD = 0.1


def gaussian(x, level, number):
    """The best estimate of the clean value when clean values are normal with standard deviation `SPREAD`."""
    variance = level.signal * SPREAD**2 + 1 - level.signal
    return math.sqrt(level.signal) * SPREAD**2 / variance * x


def test_the_schedule_has_the_published_values():
    signal = cosine_signal()
    assert spaced_timesteps(100, "leading") == list(range(0, 1000, 10))
    spaced = signal[spaced_timesteps(100, "leading")]
    assert spaced[[0, 1, 50]] == pytest.approx([0.999959, 0.999279, 0.492285], abs=1e-6)
    assert spaced[[98, 99]] == pytest.approx([8.77e-4, 1.97e-4], rel=2e-3)


def test_all_steps_are_the_full_schedule_whatever_the_spacing():
    signal = cosine_signal()
    for spacing in ("leading", "trailing"):
        steps = levels(1000, spacing)
        assert [level.timestep for level in steps] == list(range(999, -1, -1))
        assert [level.signal for level in reversed(steps)] == pytest.approx(signal.tolist())
        assert steps[-1].next_signal == 1.0


def test_trailing_steps_start_at_noise_and_raw_ones_are_miscounted():
    assert [level.timestep for level in levels(4, "trailing")] == [999, 749, 499, 249]
    published = levels(100, "leading", raw_timesteps=True)
    assert (published[0].timestep, published[0].told) == (990, 99)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 5])
def test_a_perfect_denoiser_gives_the_image_exactly(sampler, steps):
    image = torch.rand(2, 3, 4, 4) * 2 - 1
    noise = torch.randn(image.shape)
    made = sample(lambda *_: image, noise, levels(steps), sampler=sampler, draw=lambda: torch.randn(image.shape))
    assert torch.equal(made, image)


def test_a_ddim_step_is_the_published_formula():
    seen = []

    def denoise(x, level, number):
        seen.append(x)
        return 0.3 * x.clamp(-1, 1)

    sample(denoise, torch.randn(50, generator=torch.Generator().manual_seed(1)), levels(10, "leading"))
    first, second = seen[:2]
    clean = 0.3 * first.clamp(-1, 1)
    signal, following = (cosine_signal()[timestep] for timestep in (900, 800))
    noise = (first / math.sqrt(signal) - clean) / math.sqrt(1 / signal - 1)
    torch.testing.assert_close(second, clean * math.sqrt(following) + math.sqrt(1 - following) * noise)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_deterministic_samplers_approach_the_exact_flow(sampler):
    noise = torch.linspace(-3, 3, 13)
    errors = [
        (sample(gaussian, noise, levels(steps), sampler=sampler) - SPREAD * noise).abs().max().item()
        for steps in (10, 100, 1000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02 * 3 * SPREAD


def test_the_second_order_sampler_follows_the_flow_more_closely():
    noise = torch.linspace(-3, 3, 13, dtype=torch.float64)
    errors = []
    for sampler in ("ddim", "dpm-solver++"):
        seen = []

        def denoise(x, level, number, seen=seen):
            seen.append((x, level))
            return gaussian(x, level, number)

        sample(denoise, noise, levels(20), sampler=sampler)
        x, level = seen[-1]  # where the sampler is before its last step, which is the same for both
        exact = noise * math.sqrt(level.signal * SPREAD**2 + 1 - level.signal)
        errors.append((x - exact).abs().max())
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize(("sampler", "eta"), [("ddpm", 0.0), ("ddim", 1.0)])
def test_stochastic_samplers_draw_from_the_right_distribution(sampler, eta):
    stream = NoiseStream(0)
    made = sample(
        gaussian, stream.draw([4000]), levels(250), sampler=sampler, eta=eta, draw=lambda: stream.draw([4000])
    )
    assert made.std().item() == pytest.approx(SPREAD, rel=0.08)
    assert abs(made.mean().item()) < 0.01


def test_noise_depends_on_seed_and_slab_alone():
    torch.manual_seed(0)
    first = NoiseStream(3, 2).draw([4])
    torch.manual_seed(1)
    assert torch.equal(first, NoiseStream(3, 2).draw([4]))
    others = [NoiseStream(3, 1), NoiseStream(4, 2), NoiseStream(2, 3)]
    assert all(not torch.equal(first, other.draw([4])) for other in others)
