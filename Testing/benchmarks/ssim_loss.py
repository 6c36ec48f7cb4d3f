"""The separable SSIM loss against MONAI's: same value, ratio of CPU time, in one run.

python Testing/benchmarks/ssim_loss.py [--size 96]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch


def cpu_seconds(step: Callable[[], torch.Tensor], repeats: int) -> float:
    """Median CPU seconds of one forward and backward pass."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step().backward()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    from monai.losses import SSIMLoss as MonaiSSIMLoss

    from modality_synthesis.losses import build_loss

    parser = argparse.ArgumentParser(description="SSIM loss, separable against MONAI's.")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    first, second = (torch.rand(1, 1, *[arguments.size] * 3) for _ in range(2))
    first.requires_grad_()
    ones = torch.ones_like(second)
    ours, monai = build_loss("ssim", {"data_range": 1.0, "masked": False}), MonaiSSIMLoss(3, data_range=1.0)
    difference = abs(ours(first, second, ones).item() - monai(first, second).item())
    mine = cpu_seconds(lambda: ours(first, second, ones), 3 * arguments.repeats)
    theirs = cpu_seconds(lambda: monai(first, second), arguments.repeats)
    print(
        f"{arguments.size}^3: separable {mine:.3f} CPU s, MONAI {theirs:.2f} CPU s: {theirs / mine:.0f} times cheaper"
    )
    print(f"difference of the values {difference:.1e}")


if __name__ == "__main__":
    main()
