"""Random changes of a training sample that leave the relation of source and target true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modality_synthesis.datasets.parameters import Augmentation, AugmentationPreset
from modality_synthesis.preprocessing import ChainParameters, Normalize
from modality_synthesis.preprocessing.parameters import Window

# Arrays of a sample, each (1, depth, height, width): source, target, mask, brain and, with MetaROIs, regions.
Sample = dict[str, Tensor]
_IMAGES = ("source", "target")


@dataclass(frozen=True)
class Layout:
    """How a sample's axes lie in the head.

    Attributes:
        slab: depth runs through a slab's slices; turning happens within the slices.
        left_right: the axis of a (1, depth, height, width) tensor that runs from left to right.
        target_fill: network value of the target outside the brain region.
    """

    slab: bool = False
    left_right: int = -1
    target_fill: float = 0.0

    def fill(self, name: str) -> float:
        """What lies beyond the edge of an array."""
        return self.target_fill if name == "target" else 0.0


class Augmenter(Protocol):
    """Changes a sample at random."""

    square: bool  # slices must be square: they are turned by 90 degrees

    def __call__(self, sample: Sample, layout: Layout, rng: np.random.Generator) -> Sample:
        """The changed sample, same shapes; its randomness comes from `rng` alone."""
        ...


def make_augmenter(
    choice: bool | AugmentationPreset | Augmentation, source: str, chain: ChainParameters
) -> Augmenter | None:
    """The augmenter a recipe asks for; None for no augmentation.

    `default` (or true): mirroring, small affine changes, and intensity changes that fit the source's modality.
    `right-angles`: slices turned by 0, 90, 180 or 270 degrees and nothing else, as published for DRUNet. There every
    slice was stored in all four positions, those of the test patients too; here only training samples are turned.
    `cyclic-2.5d`: as published for the cyclic 2.5D perceptual loss.

    Args:
        choice: the recipe's `training.augment`.
        source: the source's modality.
        chain: tells where the source's tissues lie and how it is clipped.
    """
    if choice is False:
        return None
    if choice == "right-angles":
        return RightAngles()
    if choice == "cyclic-2.5d":
        from modality_synthesis.datasets.published import CyclicAugmentation

        return CyclicAugmentation()
    if isinstance(choice, Augmentation):
        return RandomChanges(choice, chain)
    return RandomChanges(Augmentation(intensities="ct" if source == "CT" else "mri"), chain)


class RightAngles:
    """Slices turned by 0, 90, 180 or 270 degrees, each as likely (Li et al. 2022, DRUNet)."""

    square = True

    def __call__(self, sample: Sample, layout: Layout, rng: np.random.Generator) -> Sample:
        turns = int(rng.integers(4))
        return {name: volume.rot90(turns, (-2, -1)) for name, volume in sample.items()}


class RandomChanges:
    """Mirroring and affine changes of all arrays, then intensity changes of the source."""

    square = False

    def __init__(self, parameters: Augmentation, chain: ChainParameters) -> None:
        self.parameters = parameters
        steps = [step for step in chain.source if isinstance(step, (Normalize, Window))]
        last = steps[-1] if steps else Normalize()
        self.clip = last.clip if isinstance(last, Normalize) else (0.0, 1.0)
        self.per_hu = 1.0 / (last.high - last.low) if isinstance(last, Window) else None
        # Network values of gray and white matter; a z-score says where the mean and one deviation above it lie.
        by_tissue = isinstance(last, Normalize) and last.method == "tissue"
        self.tissues = (0.5, 1.0) if by_tissue else (0.0, 1.0)

    def __call__(self, sample: Sample, layout: Layout, rng: np.random.Generator) -> Sample:
        settings = self.parameters
        # A source that preprocessing masked stays masked; interpolation would blur it over the mask's edge.
        masked = not bool(sample["source"][sample["brain"] == 0].any())
        if rng.random() < settings.mirror:
            sample = {name: volume.flip(layout.left_right) for name, volume in sample.items()}
        if rng.random() < settings.affine:
            sample = _transform(sample, layout, _random_affine(settings, layout, rng))
        source = sample["source"]
        if settings.intensities == "mri":
            source = change_mri(source, rng, self.tissues, settings.low_contrast).clamp(*self.clip)
        elif settings.intensities == "ct":
            source = change_ct(source, sample["brain"], rng, self.per_hu).clamp(*self.clip)
        return {**sample, "source": source * sample["brain"] if masked else source}


def change_mri(source: Tensor, rng: np.random.Generator, tissues: tuple[float, float], low_contrast: float) -> Tensor:
    """Another scanner, another protocol: contrast, bias field, sharpness and noise.

    Normalization holds gray and white matter at fixed values. A scan in which they lie r times closer together
    therefore arrives with r times the noise and the residual bias field, and with fluid and vessels r times farther
    off. So does this: r is 0.8 to 1.25, or 1.25 to 8 with the probability `low_contrast`. In units of the distance
    between gray and white matter, before r: bias field 0.03 (standard deviation of its nodes), noise 0 to 0.1,
    uncertainty of the two anchors 0.06 (scale) and 0.04 (offset). For comparison, measured in real heads on the 2 mm
    grid: gray matter 32 % below white, high-pass noise in white matter 0.16 of their distance; 12 %, 0.26; 4 %, 0.5.

    Args:
        source: (1, depth, height, width), network values.
        rng: the sample's generator.
        tissues: network values of gray and white matter.
        low_contrast: probability of a poor contrast.
    """
    gray, white = tissues
    ratio = float(np.exp(rng.uniform(*np.log([0.8, 1.25]))))
    if rng.random() < low_contrast:
        ratio = float(np.exp(rng.uniform(*np.log([1.25, 8.0]))))
    signal = (source - gray) / (white - gray)
    signal = signal + float(rng.normal(0, 0.12)) * torch.sin(torch.pi * signal.clamp(0, 1))
    signal = torch.where(signal < 0, signal * ratio, torch.where(signal > 1, 1 + (signal - 1) * ratio, signal))
    signal = signal * float(rng.normal(1, 0.06)) + float(rng.normal(0, 0.04))
    signal = signal + _smooth_field(signal, rng, 0.03 * ratio)
    if rng.random() < 0.3:
        signal = _blur(signal, float(rng.uniform(0.2, 0.5)))
    signal = signal + float(rng.uniform(0, 0.1)) * ratio * _noise(signal, rng)
    return gray + signal * (white - gray)


def change_ct(source: Tensor, brain: Tensor, rng: np.random.Generator, per_hu: float | None = None) -> Tensor:
    """Another CT scanner, tube voltage, kernel and slice thickness.

    Standard deviations, in HU unless said otherwise: offset 4, cupping field 2; distances from the brain's mean times
    exp(N(0, 0.12)), because tube voltage and beam hardening change how far tissues lie apart; noise 0 to 4, grainy or
    as fine as the grid; with a probability of 0.3 blurred, with 0.4 averaged along depth as thicker slices are. No
    tissue changes its place among the others. For comparison, brains of two real head CTs: medians of 24 and 31 HU,
    noise of 5.2 and 1.7 HU. What the window clips (bone, air) stays clipped.

    Args:
        source: (1, depth, height, width), network values; a window's ends are 0 and 1.
        brain: mask of the same shape.
        rng: the sample's generator.
        per_hu: network values per HU; None for a source that was normalized: then the brain's standard deviation stands
            for 10 HU.
    """
    inside = source[brain > 0]
    mean, spread = (inside.mean(), inside.std()) if inside.numel() > 1 else (source.mean(), source.std())
    unit = float(spread) / 10.0 if per_hu is None else per_hu
    changed = mean + (source - mean) * float(np.exp(rng.normal(0, 0.12)))
    changed = changed + unit * (float(rng.normal(0, 4)) + _smooth_field(source, rng, 2.0))
    if rng.random() < 0.3:
        changed = _blur(changed, float(rng.uniform(0.2, 0.5)))
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(1, 4))):
            changed = _blur(changed, 0.5, axes=(0,))
    noise = _noise(source, rng)
    if rng.random() < 0.5:
        noise = _blur(noise, float(rng.uniform(0.2, 0.5)))
    changed = changed + unit * float(rng.uniform(0, 4)) * noise / noise.std()
    return changed if per_hu is None else torch.where((source <= 0) | (source >= 1), source, changed)


def _smooth_field(like: Tensor, rng: np.random.Generator, spread: float) -> Tensor:
    nodes = torch.from_numpy(rng.normal(0, spread, (1, 1, 4, 4, 4)).astype(np.float32))
    return functional.interpolate(nodes, like.shape[-3:], mode="trilinear", align_corners=True)[0]


def _noise(like: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(like.shape, dtype=np.float32))


def _blur(volume: Tensor, amount: float, axes: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Mix each voxel with its neighbors along one axis (depth, height, width) after another.

    `amount`, 0..0.5, is the neighbors' share.
    """
    kernel = torch.tensor([amount / 2, 1 - amount, amount / 2], dtype=volume.dtype)
    for axis in axes:
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 3
        # torch names the padding of the last axis first.
        padding = [int(axis == index) for index in (2, 2, 1, 1, 0, 0)]
        padded = functional.pad(volume[None], padding, mode="replicate")
        volume = functional.conv3d(padded, kernel.reshape(shape))[0]
    return volume


def _random_affine(settings: Augmentation, layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """(3, 4): from voxels of the result to voxels of the sample, both (x, y, z) from the center."""
    angles = np.deg2rad(rng.uniform(-settings.rotation_degrees, settings.rotation_degrees, 3))
    factors = 1 + rng.uniform(-settings.scale, settings.scale, 3)
    shift = rng.uniform(-settings.shift_voxels, settings.shift_voxels, 3)
    if layout.slab:
        angles[:2], factors[2], shift[2] = 0.0, 1.0, 0.0
    matrix = np.diag(factors)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return np.column_stack([matrix, shift])


def _transform(sample: Sample, layout: Layout, affine: np.ndarray) -> Sample:
    """Sample all arrays at transformed positions: images linearly, masks nearest."""
    half = np.array(sample["source"].shape[:0:-1]) / 2  # x, y, z
    theta = np.column_stack([affine[:, :3] * half / half[:, None], affine[:, 3] / half])
    result = {}
    for names, mode in ((_IMAGES, "bilinear"), (tuple(name for name in sample if name not in _IMAGES), "nearest")):
        # grid_sample knows only 0 beyond the edge.
        fills = [layout.fill(name) for name in names]
        stack = torch.cat([sample[name] - fill for name, fill in zip(names, fills, strict=True)])[None]
        grid = functional.affine_grid(
            torch.from_numpy(theta.astype(np.float32))[None], list(stack.shape), align_corners=False
        )
        moved = functional.grid_sample(stack, grid, mode=mode, padding_mode="zeros", align_corners=False)[0]
        result.update({name: moved[index : index + 1] + fills[index] for index, name in enumerate(names)})
    return result
