"""How large is the brain that is found in a head tilted within a straight grid?

    python Testing/benchmarks/tilted_heads.py FOLDER_WITH_REAL_HEADS [--steps 1 2 4] [--degrees 10 15 20 25 35]

Each head is turned about each axis, both ways, on a grid that stays straight. Its mask is held against that of the same
head upright, turned along: volume and Dice of the network's first look along the grid, and of `brain_mask`, which looks
again in the head's own pose. CPU seconds are of the pose and of the second look together.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing import brain_mask as masks
from modality_synthesis.preprocessing.brain_network import SPACING_MM
from modality_synthesis.preprocessing.resampling import antialias, resample_isotropic
from modality_synthesis.volumes import read_image

STRAIGHT = np.eye(3).ravel().tolist()


def turned_grid(image: sitk.Image, degrees: float, axis: str, step: float) -> tuple[sitk.Image, sitk.Euler3DTransform]:
    """A straight grid that holds the turned volume, and the transform from its points to the volume's."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*(np.deg2rad(degrees) if name == axis else 0.0 for name in "xyz"))
    extent = np.array(image.GetSize()) * image.GetSpacing()
    size = np.ceil(np.abs(np.array(turn.GetMatrix()).reshape(3, 3).T) @ extent / step).astype(int)
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in image.GetSize()]))
    turn.SetCenter(middle.tolist())
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing((step,) * 3)
    grid.SetOrigin((middle - (size - 1) / 2 * step).tolist())
    return grid, turn


def dice(first: sitk.Image, second: sitk.Image) -> float:
    a, b = (sitk.GetArrayFromImage(mask) > 0 for mask in (first, second))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def first_look(image: sitk.Image) -> sitk.Image:
    """The mask along the grid, whatever the head's pose."""
    probability = masks._segment(resample_isotropic(image, SPACING_MM), "brain-mask")
    return sitk.Resample(probability, image, sitk.Transform(), sitk.sitkLinear, 0.0) > 0.5


def measure(
    image: sitk.Image, upright: sitk.Image, degrees: float, axis: str, step: float
) -> tuple[float, float, float, float, float]:
    """Volume share and Dice of the first look and of `brain_mask`, CPU seconds that the latter takes more."""
    grid, turn = turned_grid(image, degrees, axis, step)
    tilted = sitk.Resample(antialias(image, (step,) * 3), grid, turn, sitk.sitkLinear, 0.0)
    wanted = sitk.Resample(sitk.Cast(upright, sitk.sitkFloat32), grid, turn, sitk.sitkLinear, 0.0) > 0.5
    start = time.process_time()
    before = first_look(tilted)
    middle = time.process_time()
    after = masks.brain_mask(tilted)
    more = time.process_time() - middle - (middle - start)
    volume = masks.mask_volume_ml(wanted)
    return (masks.mask_volume_ml(before) / volume, dice(before, wanted),
            masks.mask_volume_ml(after) / volume, dice(after, wanted), more)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Brain masks of tilted heads.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--heads", nargs="+", default=["forrest_T1w", "colin27_T1w", "ecog_T1w", "ms04_T2w"])
    parser.add_argument("--steps", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--degrees", type=float, nargs="+", default=[10, 15, 20, 25, 35])
    given = parser.parse_args()
    print("| head | mm | degrees | first look: volume | Dice (lowest) | `brain_mask`: volume | Dice (lowest) | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.heads:
        image = sitk.DICOMOrient(read_image(given.folder / f"sub-{name}.nii.gz"), "LPS")
        image = resample_isotropic(image, 1.0)
        image.SetDirection(STRAIGHT)
        for step in given.steps:
            upright = masks.brain_mask(resample_isotropic(image, step))
            for degrees in given.degrees:
                rows = np.array(
                    [measure(image, upright, sign * degrees, axis, step) for axis in "xyz" for sign in (1, -1)]
                )
                low, high = rows.min(axis=0), rows.max(axis=0)
                print(
                    f"| {name} | {step:g} | {degrees:g} | {low[0]:.2f} to {high[0]:.2f} | {low[1]:.3f} | "
                    f"{low[2]:.2f} to {high[2]:.2f} | {low[3]:.3f} | {rows[:, 4].mean():.1f} |",
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
