"""What each way of sampling a PASTA volume costs, and how memory grows with the number of slices. Random weights.

python Testing/benchmarks/pasta_sampling.py [--channels 16] [--slices 7] [--size 48 56 48]

Quality needs a trained model: `modality-synthesis evaluate`, with packages that differ in their `sampling` only.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch
from modality_synthesis.generators.pasta.volume import Sampling

WAYS: dict[str, dict[str, Any]] = {
    "published: independent, 100 steps": {"path": "independent", "steps": 100, "spacing": "leading"},
    "independent, 10 steps": {"path": "independent", "steps": 10},
    "joint, 10 steps": {"steps": 10},
    "joint, 10 steps, bfloat16": {"steps": 10, "precision": "bfloat16"},
    "joint, 5 steps": {"steps": 5},
    "joint, 1 step": {"steps": 1},
}


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
    generator = build_generator("pasta", parameters).to(arguments.device).eval()

    def seconds(depth: int, sampling: dict[str, Any]) -> float:
        generator.sampling = Sampling(**sampling)
        batch = Batch(torch.rand(1, 1, depth, *arguments.size[1:], device=arguments.device))
        start = time.perf_counter()
        with torch.inference_mode():
            generator.synthesize(batch).cpu()
        return time.perf_counter() - start

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
