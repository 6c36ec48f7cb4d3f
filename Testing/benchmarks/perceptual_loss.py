"""The streamed perceptual losses against a loop over slices like the authors': CPU time and peak memory of one step.

One step is the forward and backward pass of MSE + SSIM, alone and with the perceptual term, for one subject. Every
variant runs in a process of its own, so that its peak memory is its own; the value and the gradient of the streamed
form are compared with the loop's.

python Testing/benchmarks/perceptual_loss.py [--size 96 112 96] [--repeats 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

AXES = {"axial": 2, "coronal": 3, "sagittal": 4}
CYCLIC, PLAIN = "perceptual-cyclic-2.5d", "perceptual-2.5d"
MEBIBYTE = 2**20


def authors_loop(planes: tuple[str, ...]) -> Loss:
    """A Python loop over slices that keeps every graph until the backward pass."""
    from modality_synthesis.losses.feature_networks import load_feature_network

    network = load_feature_network("vgg16")

    def features(slices: Tensor) -> Tensor:
        scaled = (slices - slices.min()) / (slices.max() - slices.min() + 1e-8)
        return network(scaled.repeat(1, 3, 1, 1), centered=False)[0]

    def loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        values = []
        for plane in planes:
            axis = AXES[plane]
            slices = zip(prediction.unbind(axis), target.unbind(axis), strict=True)
            terms = [functional.mse_loss(features(ours), features(theirs)) for ours, theirs in slices]
            values.append(torch.stack(terms).mean())
        return torch.stack(values).mean()

    return loss


def variants() -> dict[str, Callable[[], Loss | None]]:
    """The perceptual term of each variant, made when it runs."""
    from modality_synthesis.losses import build_loss

    paper = {"normalization": "paper"}
    return {
        "MSE + SSIM": lambda: None,
        "+ loop, one plane": lambda: authors_loop(("axial",)),
        "+ loop, three planes": lambda: authors_loop(tuple(AXES)),
        "+ cyclic 2.5-D, paper": lambda: build_loss(CYCLIC, paper),
        "+ plain 2.5-D, paper": lambda: build_loss(PLAIN, paper),
        "+ cyclic 2.5-D, paper, kept target": lambda: build_loss(CYCLIC, {**paper, "cache_gigabytes": 1.0}),
        "+ cyclic 2.5-D, robust": lambda: build_loss(CYCLIC),
        "+ plain 2.5-D, robust": lambda: build_loss(PLAIN),
        "+ 3-D": lambda: build_loss("perceptual-3d"),
    }


def subject(size: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and mask: an ellipsoid of smooth uptake that fills about as much as a brain does."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 1, 6, 7, 6), generator=generator)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    mask = (sum(axis**2 for axis in axes) < 0.85).float()[None, None]
    target = functional.interpolate(coarse, size=size, mode="trilinear") * mask
    prediction = (target + 0.1 * torch.randn(target.shape, generator=generator)) * mask
    return prediction.requires_grad_(), target, mask


def measure(name: str, size: tuple[int, int, int], repeats: int, gradient_file: Path) -> dict[str, float]:
    """Median CPU seconds of one step and peak memory above what the process held before the first."""
    from modality_synthesis.losses import build_loss

    torch.set_num_threads(1)
    prediction, target, mask = subject(size)
    mse, ssim, perceptual = build_loss("mse"), build_loss("ssim", {"data_range": 1.0}), variants()[name]()
    before = forget_peak()
    seconds = []
    for _ in range(repeats + (perceptual is not None and "kept" in name)):
        prediction.grad = None
        start = time.process_time()
        loss = mse(prediction, target, mask) + ssim(prediction, target, mask)
        value = perceptual(prediction, target, mask) if perceptual else torch.zeros(())
        (loss + value).backward()
        seconds.append(time.process_time() - start)
    torch.save(prediction.grad, gradient_file)
    # The first step of a variant that keeps the target's features is the one that computes them.
    timed = seconds[1:] if "kept" in name else seconds
    return {"seconds": statistics.median(timed), "peak": peak_memory() - before, "value": float(value)}


def forget_peak() -> float:
    """Make the peak start from what is held now (Linux; elsewhere it stays the peak so far). MiB held."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> float:
    """MiB, the most this process has held since `forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE


def in_own_process(name: str, arguments: argparse.Namespace, gradient_file: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--variant", name, "--gradient", str(gradient_file)]
    command += ["--size", *map(str, arguments.size), "--repeats", str(arguments.repeats)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(arguments: argparse.Namespace) -> None:
    names = list(variants())
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{index}.pt" for index, name in enumerate(names)}
        found = {name: in_own_process(name, arguments, files[name]) for name in names}
        for loop, ours in (
            ("+ loop, one plane", "+ cyclic 2.5-D, paper"),
            ("+ loop, one plane", "+ cyclic 2.5-D, paper, kept target"),
            ("+ loop, three planes", "+ plain 2.5-D, paper"),
        ):
            expected, gradient = (torch.load(files[name], weights_only=True) for name in (loop, ours))
            error = float((gradient - expected).norm() / expected.norm())
            difference = abs(found[ours]["value"] / found[loop]["value"] - 1)
            assert difference < 1e-4, (ours, difference)
            assert error < 1e-3, (ours, error)
            print(f"{ours} equals {loop}: value within {difference:.1e}, gradient within {error:.1e}")
    base, loop = found["MSE + SSIM"], found["+ loop, one plane"]
    term = {name: result["seconds"] - base["seconds"] for name, result in found.items()}
    print("\n| variant | CPU s | peak memory, MiB | perceptual term's time against the loop's |\n|---|---|---|---|")
    for name, result in found.items():
        ratio = "" if name == "MSE + SSIM" else f"{term[name] / term['+ loop, one plane']:.2f}"
        print(f"| {name} | {result['seconds']:.2f} | {result['peak']:.0f} | {ratio} |")
    for form in ("paper", "robust"):
        cyclic, plain = f"+ cyclic 2.5-D, {form}", f"+ plain 2.5-D, {form}"
        share = term[cyclic] / term[plain]
        print(
            f"\n{form}: step {loop['seconds'] / found[cyclic]['seconds']:.2f} times faster than the loop's at "
            f"1/{loop['peak'] / max(found[cyclic]['peak'], 1.0):.1f} of its memory; cyclic {share:.2f} of plain"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Streamed perceptual losses against a loop over slices.")
    parser.add_argument("--size", type=int, nargs=3, default=(96, 112, 96), metavar=("Z", "Y", "X"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--gradient", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant is None:
        compare(arguments)
    else:
        print(json.dumps(measure(arguments.variant, tuple(arguments.size), arguments.repeats, arguments.gradient)))


if __name__ == "__main__":
    main()
