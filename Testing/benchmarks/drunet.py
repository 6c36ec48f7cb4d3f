"""DRUNet on a whole CT, slice by slice: time and memory as shipped, against plain eager execution, in one run.

python Testing/benchmarks/drunet.py [--name drunet-34] [--size 448] [--slices 4] [--depth 160]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference
from modality_synthesis.synthesis.inference import run_generator


def cpu_seconds(generator: Generator, source: torch.Tensor, batch_size: int) -> tuple[float, torch.Tensor]:
    """CPU seconds of one synthesis, and its output."""
    start = time.process_time()
    output = run_generator(
        generator, Batch(source=source), Inference(mode="slices", batch_size=batch_size), torch.device("cpu")
    )
    return time.process_time() - start, output


def main() -> None:
    parser = argparse.ArgumentParser(description="DRUNet slice by slice: plain eager against as shipped.")
    parser.add_argument("--name", default="drunet-34")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--slices", type=int, default=4, help="slices measured")
    parser.add_argument("--depth", type=int, default=160, help="slices of the volume the time is extrapolated to")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    plain = build_generator(arguments.name).eval()
    shipped = build_generator(arguments.name).eval()
    shipped.load_state_dict(plain.state_dict())
    shipped.optimize_for_synthesis(torch.device("cpu"))
    source = torch.rand(1, 1, arguments.slices, arguments.size, arguments.size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {"plain eager": [], "as shipped": []}
    outputs = {}
    for repeat in range(arguments.repeats + 1):
        for name, generator in (("plain eager", plain), ("as shipped", shipped)):
            seconds, outputs[name] = cpu_seconds(generator, source, arguments.batch_size)
            if repeat:  # the first round warms up
                times[name].append(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    medians = {name: statistics.median(values) for name, values in times.items()}
    eager, ours = outputs["plain eager"], outputs["as shipped"]
    for name, seconds in medians.items():
        whole = seconds / arguments.slices * arguments.depth
        print(f"{name}: {seconds / arguments.slices:.2f} CPU s per slice, {whole:.0f} for {arguments.depth} slices")
    print(f"{arguments.name} at {arguments.size}^2: {medians['plain eager'] / medians['as shipped']:.2f} times cheaper")
    print(
        f"largest difference, share of the range: {float((eager - ours).abs().max() / (eager.max() - eager.min())):.1e}"
    )
    print(f"memory above the loaded networks: {(after - before) / 2**20:.2f} GiB, whatever the number of slices")


if __name__ == "__main__":
    main()
