"""What the printed decoder of DRUNet cannot draw: one real slice learned by heart, against the block ceilings.

Input and target are the same slice: whatever is missing in the result, the network cannot draw. The ceiling is the best
that any image of constant blocks can reach.

python Testing/benchmarks/drunet_ceiling.py [--steps 200] [--size 96]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from modality_synthesis.generators.drunet import BasicBlock, Bottleneck, DRUNetwork
from modality_synthesis.volumes import array, read_image

HEAD = Path(__file__).parents[2] / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"


def psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    """dB, data range 1."""
    return float(-10 * torch.log10((image - target).square().mean()))


def learn(network: DRUNetwork, target: torch.Tensor, steps: int) -> float:
    """PSNR after so many steps on one slice."""
    source = (target.expand(-1, 3, -1, -1) - 0.45) / 0.225
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(network(source), target).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return psnr(network(source), target)


def main() -> None:
    parser = argparse.ArgumentParser(description="DRUNet's printed and default decoders on one slice.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    volume = array(read_image(HEAD))
    top, left = ((length - arguments.size) // 2 for length in volume.shape[1:])
    plane = volume[int(0.6 * len(volume)), top : top + arguments.size, left : left + arguments.size]
    target = torch.from_numpy((plane / np.percentile(plane, 99.5)).clip(0, 1).astype(np.float32))[None, None]
    for blocks in (2, 4):
        constant = functional.interpolate(functional.avg_pool2d(target, blocks), scale_factor=blocks)
        print(f"ceiling of {blocks} x {blocks} blocks: {psnr(constant, target):.1f} dB")
    for block in (BasicBlock, Bottleneck):
        for literal in (True, False):
            torch.manual_seed(0)
            reached = learn(DRUNetwork(block, (2, 2, 2, 2), literal=literal), target, arguments.steps)
            print(f"{block.__name__}, {'as printed' if literal else 'default'}: {reached:.1f} dB")


if __name__ == "__main__":
    main()
