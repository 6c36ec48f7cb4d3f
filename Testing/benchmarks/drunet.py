"""DRUNet on a whole head CT, slice by slice: time and memory as shipped, against plain eager execution, in one run.

python Testing/benchmarks/drunet.py [--name drunet-101] [--size 448] [--slices 2] [--depth 160]

Slices beyond the brain region are not computed as shipped. How many that saves is counted on the simulated head CT that
ships, in a stack of `depth` slices of 1 mm around its brain; eager execution computes them all.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference
from modality_synthesis.preprocessing.ct import ct_brain_mask
from modality_synthesis.preprocessing.parameters import CTBrainMask
from modality_synthesis.synthesis.allocator import keep_freed_memory
from modality_synthesis.synthesis.inference import run_generator
from modality_synthesis.volumes import read_image

HEAD = Path(__file__).parents[2] / "Resources" / "SampleData" / "sub-simulated_CT.nii.gz"
# What the recipes keep around the brain mask, mm.
MARGIN = 3.0


def cpu_seconds(generator: Generator, batch: Batch, batch_size: int) -> tuple[float, torch.Tensor]:
    """CPU seconds of one synthesis, and its output."""
    start = time.process_time()
    output = run_generator(generator, batch, Inference(mode="slices", batch_size=batch_size), torch.device("cpu"))
    return time.process_time() - start, output


def brain_slices(depth: int) -> int:
    """How many of `depth` axial slices of 1 mm the head's brain region reaches."""
    head = sitk.DICOMOrient(read_image(HEAD), "LPS")
    mask = sitk.GetArrayFromImage(ct_brain_mask(head, CTBrainMask()))
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    height = (planes[-1] - planes[0] + 1) * head.GetSpacing()[2] + 2 * MARGIN
    return min(depth, int(np.ceil(height)))


def main() -> None:
    parser = argparse.ArgumentParser(description="DRUNet slice by slice: plain eager against as shipped.")
    parser.add_argument("--name", default="drunet-101")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--slices", type=int, default=2, help="slices measured")
    parser.add_argument("--depth", type=int, default=160, help="slices of the volume the time is extrapolated to")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    keep_freed_memory()
    plain = build_generator(arguments.name).eval()
    shipped = build_generator(arguments.name).eval()
    shipped.load_state_dict(plain.state_dict())
    shipped.optimize_for_synthesis(torch.device("cpu"))
    batch = Batch(source=torch.rand(1, 1, arguments.slices, arguments.size, arguments.size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[float]] = {"plain eager": [], "as shipped": []}
    outputs = {}
    for repeat in range(arguments.repeats + 1):
        for name, generator in (("plain eager", plain), ("as shipped", shipped)):
            seconds, outputs[name] = cpu_seconds(generator, batch, arguments.batch_size)
            if repeat:  # the first round warms up
                times[name].append(seconds / arguments.slices)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slices = {"plain eager": arguments.depth, "as shipped": brain_slices(arguments.depth)}
    whole = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        whole[name] = median * slices[name]
        print(f"{name}: {median:.2f} CPU s per slice, {slices[name]} slices, {whole[name]:.0f} CPU s")
    ratios = [one / other for one, other in zip(times["plain eager"], times["as shipped"], strict=True)]
    print(f"{arguments.name} at {arguments.size}^2, per slice: {statistics.median(ratios):.2f} times cheaper", end="")
    print(f" ({min(ratios):.2f} to {max(ratios):.2f}); per volume: {whole['plain eager'] / whole['as shipped']:.2f}")
    eager, ours = outputs["plain eager"], outputs["as shipped"]
    share = float((eager - ours).abs().max() / (eager.max() - eager.min()))
    print(f"largest difference, share of the range: {share:.1e}")
    print(f"memory above the loaded networks: {(after - before) / 2**20:.2f} GiB, whatever the number of slices")


if __name__ == "__main__":
    main()
