"""Train the brain segmentation network on images of random contrast made from the training heads' label maps.

python -m modality_synthesis.training.brain_mask --steps 2500 -o Resources/Networks/brain-mask.safetensors
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from modality_synthesis.preprocessing.brain_network import FIELD, SPACING_MM, BrainNetwork, scale_intensities
from modality_synthesis.simulation.labels import BRAIN, HEADS_BY_SPLIT, lookup, membership
from modality_synthesis.simulation.mri import T1W_SIGNAL, T2W_SIGNAL
from modality_synthesis.synthesis.allocator import keep_freed_memory

SIZE = FIELD
SUBSAMPLES = 3


class Head:
    """One head's labels and its brain mask (sulci and ventricles included) as tensors for sampling."""

    def __init__(self, name: str) -> None:
        import SimpleITK as sitk

        from modality_synthesis.simulation.labels import load_head

        labels = sitk.DICOMOrient(load_head(name), "LPS")
        voxels = sitk.GetArrayFromImage(labels)
        brain = sitk.GetImageFromArray(membership(BRAIN)[voxels].astype(np.uint8))
        brain = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(brain, [5, 5, 5]))
        self.labels = torch.from_numpy(voxels.astype(np.int16))
        self.brain = torch.from_numpy(sitk.GetArrayFromImage(brain))
        hits = torch.nonzero(self.brain)
        self.center = hits.float().mean(0)


def random_pair(head: Head, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """An image of random contrast and its soft brain mask, both (1, 1, *SIZE)."""
    points = _points(head, rng)
    table = torch.from_numpy(_contrast(rng))
    image, brain = torch.zeros(SIZE), torch.zeros(SIZE)
    # Several samples per voxel give partial volume, which a nearest-label sample would not have.
    for _ in range(SUBSAMPLES):
        index = (points + torch.from_numpy(rng.uniform(-0.5, 0.5, 3).astype(np.float32)) * SPACING_MM).round().long()
        inside = ((index >= 0) & (index < torch.tensor(head.labels.shape))).all(-1)
        index = torch.where(inside[..., None], index, 0)
        z, y, x = index.unbind(-1)
        codes = torch.where(inside, head.labels[z, y, x].long(), 0)
        image += table[codes] / SUBSAMPLES
        brain += torch.where(inside, head.brain[z, y, x].float(), torch.zeros(())) / SUBSAMPLES
    return _corrupt(image, brain, rng)[None, None], brain[None, None]


def _points(head: Head, rng: np.random.Generator) -> Tensor:
    """Where, in the head's voxels (1 mm), each voxel of the sample lies: random affine plus smooth displacement."""
    axes = [(torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * SPACING_MM for size in SIZE]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    angles = np.deg2rad(rng.normal(0, 12, 3).clip(-30, 30))
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        turn[[first, first, second, second], [first, second, first, second]] = [
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        ]  # fmt: skip
        matrix = matrix @ turn
    matrix = matrix @ np.diag(np.exp(rng.normal(0, 0.08, 3)))
    if rng.random() < 0.5:
        matrix[:, 2] *= -1
    shift = torch.from_numpy((head.center.numpy() + rng.normal(0, 12, 3)).astype(np.float32))
    displacement = torch.from_numpy(rng.normal(0, 5, (1, 3, 8, 8, 7)).astype(np.float32))
    displacement = functional.interpolate(displacement, SIZE, mode="trilinear", align_corners=True)[0]
    return grid @ torch.from_numpy(matrix.astype(np.float32)).T + shift + displacement.permute(1, 2, 3, 0)


def _contrast(rng: np.random.Generator) -> np.ndarray:
    draw = rng.random()
    if draw < 0.65:
        base = T1W_SIGNAL
    elif draw < 0.80:
        base = T2W_SIGNAL
    else:
        base = {region: float(rng.uniform(0.05, 1.0)) for region in T1W_SIGNAL}
    spread = float(rng.uniform(0.02, 0.2))
    values = {region: max(value * float(np.exp(rng.normal(0, spread))), 0.0) for region, value in base.items()}
    values["vessel"] = float(rng.uniform(0.05, 1.2))
    # Fat may outshine the brain by far; how much depends on the sequence and on where the coil lies.
    fat = float(np.exp(rng.uniform(np.log(0.6), np.log(3.0))))
    for region in ("skin", "soft_tissue", "mucosa", "cancellous_bone"):
        values[region] *= fat * float(np.exp(rng.normal(0, 0.15)))
    return lookup(values, default=float(rng.choice([0.0, 0.02, 0.05])))


def _smooth_noise(rng: np.random.Generator, cells: int) -> Tensor:
    noise = torch.from_numpy(rng.normal(0, 1, (1, 1, cells, cells, cells)).astype(np.float32))
    return functional.interpolate(noise, SIZE, mode="trilinear", align_corners=True)[0, 0]


def _corrupt(image: Tensor, brain: Tensor, rng: np.random.Generator) -> Tensor:
    tissue = (image > 0.03).float()
    image = image * (1 + tissue * (1 - brain) * 0.25 * _smooth_noise(rng, 40))
    image = image * torch.exp(rng.uniform(0, 0.35) * _smooth_noise(rng, 4))
    image = _blur_some(image, rng)
    image = (image + rng.uniform(0, 0.06) * torch.from_numpy(rng.standard_normal(SIZE).astype(np.float32))).abs()
    image = _hide_some(image, brain, rng)
    image = scale_intensities(image)
    return image ** float(np.exp(rng.normal(0, 0.2)))


def _blur_some(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Thick slices along one axis, now and then."""
    if rng.random() < 0.3:
        axis = int(rng.integers(3))
        kernel = [3 if other == axis else 1 for other in range(3)]
        padding = [size // 2 for size in kernel]
        image = functional.avg_pool3d(image[None, None], kernel, 1, padding, count_include_pad=False)[0, 0]
    return image


def _hide_some(image: Tensor, brain: Tensor, rng: np.random.Generator) -> Tensor:
    """Skull-stripped, defaced and cropped inputs occur in practice: the network must know them."""
    draw = rng.random()
    if draw < 0.15:
        margin = int(rng.integers(0, 4)) * 2 + 1
        image = image * functional.max_pool3d(brain[None, None], margin, 1, margin // 2)[0, 0].gt(0.5)
    elif draw < 0.40:
        grown = functional.max_pool3d(brain[None, None], 5, 1, 2)[0, 0] > 0.3
        z, y, _x = torch.meshgrid(*[torch.linspace(-1, 1, size) for size in SIZE], indexing="ij")
        face = (-y * rng.uniform(0.5, 1.2) - z + rng.uniform(-0.6, 0.0)) > 0
        image = torch.where(face & ~grown, torch.zeros(()), image)
    if rng.random() < 0.5:
        image = _crop_field_of_view(image, brain, rng)
    return image


def _crop_field_of_view(image: Tensor, brain: Tensor, rng: np.random.Generator) -> Tensor:
    """Cut some sides off, up to the brain or a voxel into it."""
    image, hits = image.clone(), torch.nonzero(brain > 0.5)
    for axis in range(3):
        low, high = int(hits[:, axis].min()), int(hits[:, axis].max())
        if rng.random() < 0.5:
            image.narrow(axis, 0, int(rng.integers(0, max(low, 0) + 2))).zero_()
        if rng.random() < 0.5:
            start = int(rng.integers(max(high - 1, 0), SIZE[axis]))
            image.narrow(axis, start, SIZE[axis] - start).zero_()
    return image


def dice(prediction: Tensor, truth: Tensor) -> float:
    """Dice overlap of two boolean tensors."""
    return float(2 * (prediction & truth).sum() / (prediction.sum() + truth.sum()).clamp(min=1))


def _stream(heads: list[Head], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    step = 0
    with ThreadPoolExecutor(1) as pool:
        upcoming = None
        while True:
            rng = np.random.default_rng([seed, step])
            job = pool.submit(random_pair, heads[step % len(heads)], rng)
            if upcoming is not None:
                yield upcoming.result()
            upcoming = job
            step += 1


def train_brain_network(
    steps: int, seed: int, *, start: Path | None = None, rate: float = 2e-3, report_every: int = 100
) -> BrainNetwork:
    """Train, from scratch or from the weights in `start`, and return the network (averaged weights)."""
    torch.manual_seed(seed)
    network = BrainNetwork()
    if start is not None:
        network.load_state_dict(load_file(start))
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    training = _stream([Head(name) for name in HEADS_BY_SPLIT["train"]], seed)
    validation = [Head(name) for name in HEADS_BY_SPLIT["validation"]]
    began = time.monotonic()
    for step in range(steps):
        image, brain = next(training)
        logits = network(image)
        loss = functional.binary_cross_entropy_with_logits(logits, brain) + _dice_loss(logits, brain)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if (step + 1) % report_every == 0:
            score = _validate(average.module.eval(), validation)
            print(
                f"step {step + 1}: loss {loss.item():.3f}, Dice on unseen heads {score:.4f}, "
                f"{time.monotonic() - began:.0f} s",
                flush=True,
            )
    return average.module


def _dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    probability = logits.sigmoid()
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)


@torch.inference_mode()
def _validate(network: torch.nn.Module, heads: list[Head]) -> float:
    scores = []
    for index, head in enumerate(heads * 2):
        image, brain = random_pair(head, np.random.default_rng([99, index]))
        scores.append(dice(network(image) > 0, brain > 0.5))
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the brain segmentation network.")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    keep_freed_memory()
    network = train_brain_network(arguments.steps, arguments.seed, start=arguments.start, rate=arguments.rate)
    save_file(network.state_dict(), arguments.output)


if __name__ == "__main__":
    main()
