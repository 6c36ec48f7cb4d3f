"""What each way of sampling a PASTA volume costs, what each exact acceleration brings, and how memory grows with the
number of slices. Random weights.

python Testing/benchmarks/pasta_sampling.py [--channels 16] [--slices 7] [--size 48 56 48]

Quality needs a trained model: `modality-synthesis evaluate`, with packages that differ in their `sampling` only.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from typing import Any

import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.generators.pasta.samplers import sample
from modality_synthesis.generators.pasta.volume import Sampling

WAYS: dict[str, dict[str, Any]] = {
    "published: independent, 100 steps": {"path": "independent", "steps": 100, "spacing": "leading"},
    "independent, 10 steps": {"path": "independent", "steps": 10},
    "joint, 10 steps": {"steps": 10},
    "joint, 10 steps, bfloat16": {"steps": 10, "precision": "bfloat16"},
    "joint, 5 steps": {"steps": 5},
    "joint, 1 step": {"steps": 1},
}


def chain(generator: Any, slabs: torch.Tensor, *, once: bool, together: bool, innermost: bool) -> torch.Tensor:
    """DDIM over some slabs, step by step, with or without what makes it cheaper.

    Args:
        generator: PASTA.
        slabs: of the source, (slab, slice, height, width), -1..1.
        once: the conditioner runs once per slab, not at every step.
        together: all slabs at a time, not one after another.
        innermost: channels innermost in memory.
    """
    layout = torch.channels_last if innermost else torch.contiguous_format
    steps = Sampling(path="independent", steps=10).levels()
    noise = torch.randn(slabs.shape, generator=torch.Generator().manual_seed(0))
    done = []
    for group, start in zip(slabs.split(len(slabs) if together else 1), noise.split(len(slabs) if together else 1),
                            strict=True):  # fmt: skip
        group = group.contiguous(memory_format=layout)
        gains = None

        def denoise(x: torch.Tensor, level: Any, _: int, group: torch.Tensor = group) -> torch.Tensor:
            nonlocal gains
            if gains is None or not once:
                gains = generator.denoiser.gains(generator.conditioner.extract(group), None)
            told = torch.tensor([level.told], device=x.device)
            return generator.denoiser(x.contiguous(memory_format=layout), told, gains)

        done.append(sample(denoise, start.to(slabs.device), steps, sampler="ddim", eta=0.0, draw=None))
    return torch.cat(done)


def accelerations(generator: Any, size: list[int], device: str) -> None:
    """Each exact acceleration on top of the ones before, in one run."""
    slabs = torch.rand(4, generator.denoiser.shape.slices, *size[1:], device=device) * 2 - 1
    variants = {
        "plain loop: conditioner at every step": {"once": False, "together": False, "innermost": False},
        "+ conditioner once per slab": {"once": True, "together": False, "innermost": False},
        "+ four slabs at a time": {"once": True, "together": True, "innermost": False},
        "+ channels innermost (as shipped)": {"once": True, "together": True, "innermost": True},
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    made = {}
    with torch.inference_mode():
        for repeat in range(4):
            for name, options in variants.items():
                start = time.process_time()
                made[name] = chain(generator, slabs, **options).cpu()
                if repeat:  # the first round warms up
                    seconds[name].append(time.process_time() - start)
    plain = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        error = float((made[name] - next(iter(made.values()))).abs().max())
        cost = statistics.median(values)
        print(f"{name:<40} {cost:6.2f} CPU s  {plain / cost:5.2f} times cheaper, largest difference {error:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of sampling.")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=3, default=[48, 56, 48])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    parameters = {
        "slices": arguments.slices, "channels": arguments.channels, "channel_multipliers": [1, 2, 3],
        "blocks_per_level": 1, "attention_levels": [2], "heads": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    generator = build_generator("pasta", parameters).to(arguments.device).eval()
    for parameter in generator.parameters():
        if not parameter.any():  # last layers start at zero: every way would give the same empty image
            torch.nn.init.normal_(parameter, std=0.02)

    def seconds(depth: int, sampling: dict[str, Any]) -> float:
        generator.sampling = Sampling(**sampling)
        batch = Batch(torch.rand(1, 1, depth, *arguments.size[1:], device=arguments.device))
        start = time.perf_counter()
        with torch.inference_mode():
            generator.synthesize(batch).cpu()
        return time.perf_counter() - start

    accelerations(generator, arguments.size, arguments.device)
    seconds(arguments.slices, {"steps": 1})
    costs = {name: seconds(arguments.size[0], sampling) for name, sampling in WAYS.items()}
    first = next(iter(costs.values()))
    for name, cost in costs.items():
        print(f"{name:<36} {cost:8.2f} s  {first / cost:6.1f} times the published path's speed")
    for depth in (arguments.size[0], 2 * arguments.size[0], 4 * arguments.size[0]):
        seconds(depth, {"steps": 2})
        print(f"{depth:4d} slices: peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
