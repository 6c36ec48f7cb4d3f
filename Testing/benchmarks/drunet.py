"""DRUNet on a whole head CT, slice by slice: time and memory as shipped, against plain eager execution, in one run.

python Testing/benchmarks/drunet.py [--name drunet-101] [--size 448] [--slices 2] [--depth 160]

Each of the two runs in a process of its own, in turns; the plain one with PyTorch's defaults.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference
from modality_synthesis.synthesis.allocator import keep_freed_memory
from modality_synthesis.synthesis.inference import run_generator

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Round:
    """One synthesis: CPU seconds, output, and what the process held at most beyond its imports, bytes."""

    seconds: float
    output: torch.Tensor
    memory: int


_loaded: tuple[Generator, int] | None = None


def load(name: str, shipped: bool) -> None:
    """Build the same random network in each process; as it ships, or plainly."""
    global _loaded
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = peak_memory()
    generator = build_generator(name).eval()
    if shipped:
        keep_freed_memory()
        generator.optimize_for_synthesis(CPU)
    _loaded = generator, before


def synthesize(source: torch.Tensor, batch_size: int) -> Round:
    """Run the loaded network on slices (1, 1, slices, height, width)."""
    assert _loaded is not None
    generator, before = _loaded
    start = time.process_time()
    output = run_generator(generator, Batch(source=source), Inference(mode="slices", batch_size=batch_size), CPU)
    return Round(time.process_time() - start, output, peak_memory() - before)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="DRUNet slice by slice: plain eager against as shipped.")
    parser.add_argument("--name", default="drunet-101")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--slices", type=int, default=2, help="slices measured")
    parser.add_argument("--depth", type=int, default=160, help="slices of the volume the time is extrapolated to")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(1)
    source = torch.rand(1, 1, arguments.slices, arguments.size, arguments.size)
    spawn = multiprocessing.get_context("spawn")
    workers = {
        name: ProcessPoolExecutor(1, mp_context=spawn, initializer=load, initargs=(arguments.name, shipped))
        for name, shipped in (("plain eager", False), ("as shipped", True))
    }
    rounds: dict[str, list[Round]] = {name: [] for name in workers}
    for repeat in range(arguments.repeats + 1):
        for name, worker in workers.items():
            done = worker.submit(synthesize, source, arguments.batch_size).result()
            if repeat:  # the first round warms up
                rounds[name].append(done)
    for name, found in rounds.items():
        seconds = statistics.median(one.seconds for one in found) / arguments.slices
        memory = max(one.memory for one in found) / 2**30
        print(
            f"{name}: {seconds:.2f} CPU s per slice, {seconds * arguments.depth:.0f} for {arguments.depth} slices;",
            end="",
        )
        print(f" {memory:.2f} GiB with the network, whatever the number of slices")
    ratios = [one.seconds / two.seconds for one, two in zip(rounds["plain eager"], rounds["as shipped"], strict=True)]
    print(f"{arguments.name} at {arguments.size}^2: {statistics.median(ratios):.2f} times cheaper", end="")
    print(f" ({min(ratios):.2f} to {max(ratios):.2f})")
    eager, ours = rounds["plain eager"][0].output, rounds["as shipped"][0].output
    share = float((eager - ours).abs().max() / (eager.max() - eager.min()))
    print(f"largest difference, share of the range: {share:.1e}")
    for worker in workers.values():
        worker.shutdown()


if __name__ == "__main__":
    main()
