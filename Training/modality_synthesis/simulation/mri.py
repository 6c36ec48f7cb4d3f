"""Simulated T1w and T2w MRI: tissue intensities, texture, bias field, resolution, Rician noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from modality_synthesis.simulation.images import blur, like, regrid, smooth_field
from modality_synthesis.simulation.labels import lookup

# Mean signal per tissue, white matter about 1; relaxation-time orderings of Stanisz 2005 and Bojorquez 2017.
T1W_SIGNAL: dict[str, float] = {
    "cerebral_white_matter": 0.95, "lesion": 0.80, "cortex": 0.62, "hippocampus": 0.63, "amygdala": 0.64,
    "cerebellum_white_matter": 0.93, "cerebellum_cortex": 0.62, "thalamus": 0.77, "caudate": 0.67,
    "putamen": 0.71, "pallidum": 0.85, "accumbens": 0.66, "ventral_dc": 0.84, "brainstem": 0.88,
    "lateral_ventricle": 0.14, "inferior_lateral_ventricle": 0.18, "third_fourth_ventricle": 0.15,
    "choroid_plexus": 0.35, "csf": 0.17, "vessel": 0.35, "optic": 0.75, "eye": 0.20, "soft_tissue": 0.60,
    "muscle": 0.50, "mucosa": 0.55, "skin": 0.85, "spinal_cord": 0.85, "cortical_bone": 0.06,
    "cancellous_bone": 0.50,
}  # fmt: skip
T2W_SIGNAL: dict[str, float] = {
    "cerebral_white_matter": 0.40, "lesion": 0.65, "cortex": 0.55, "hippocampus": 0.57, "amygdala": 0.56,
    "cerebellum_white_matter": 0.40, "cerebellum_cortex": 0.54, "thalamus": 0.48, "caudate": 0.49,
    "putamen": 0.46, "pallidum": 0.36, "accumbens": 0.50, "ventral_dc": 0.43, "brainstem": 0.43,
    "lateral_ventricle": 1.00, "inferior_lateral_ventricle": 0.95, "third_fourth_ventricle": 0.97,
    "choroid_plexus": 0.80, "csf": 0.95, "vessel": 0.20, "optic": 0.45, "eye": 1.00, "soft_tissue": 0.35,
    "muscle": 0.25, "mucosa": 0.70, "skin": 0.40, "spinal_cord": 0.45, "cortical_bone": 0.04,
    "cancellous_bone": 0.35,
}  # fmt: skip
SIGNAL = {"T1w": T1W_SIGNAL, "T2w": T2W_SIGNAL}
_FAT_TEXTURE = ("soft_tissue", "skin", "mucosa", "muscle")


@dataclass(frozen=True)
class Acquisition:
    """What differs from scan to scan."""

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: float = 0.02
    bias: float = 0.12
    contrast: float = 1.0
    gain: float = 800.0

    @staticmethod
    def draw(rng: np.random.Generator) -> Acquisition:
        """A plausible protocol: mostly 1 mm isotropic, sometimes thicker slices along one axis."""
        spacing = [float(rng.choice([0.9, 1.0, 1.0, 1.0, 1.1, 1.2]))] * 3
        if rng.random() < 0.2:
            spacing[rng.integers(3)] = float(rng.choice([1.5, 2.0, 3.0]))
        return Acquisition(
            spacing=(spacing[0], spacing[1], spacing[2]),
            noise=float(rng.uniform(0.01, 0.04)),
            bias=float(rng.uniform(0.05, 0.20)),
            contrast=float(rng.normal(1.0, 0.12)),
            gain=float(np.exp(rng.uniform(np.log(100), np.log(2000)))),
        )


def simulate_mri(
    labels: sitk.Image,
    weighting: Literal["T1w", "T2w"],
    rng: np.random.Generator,
    acquisition: Acquisition | None = None,
) -> sitk.Image:
    """An MR image of a labelled head.

    Args:
        labels: label map at about 1 mm.
        weighting: which contrast.
        rng: the subject's generator.
        acquisition: protocol; the default is 1 mm, 2 % noise, 12 % bias field.

    Returns:
        int16 image, arbitrary units, over the label map's field of view at the protocol's spacing.
    """
    acquisition = acquisition or Acquisition()
    voxels = sitk.GetArrayViewFromImage(labels)
    table = _jittered(SIGNAL[weighting], rng, acquisition.contrast)
    signal = table[voxels]
    texture = smooth_field(labels, rng, 7.0)
    signal *= 1 + _texture_amplitude()[voxels] * texture
    signal *= np.exp(acquisition.bias * smooth_field(labels, rng, 140.0))
    sigma = tuple(0.45 + 0.35 * max(step - 1.0, 0.0) for step in acquisition.spacing)
    image = regrid(blur(like(signal, labels), (sigma[0], sigma[1], sigma[2])), acquisition.spacing)
    clean = sitk.GetArrayFromImage(image)
    noisy = np.hypot(
        clean + rng.normal(0, acquisition.noise, clean.shape).astype(np.float32),
        rng.normal(0, acquisition.noise, clean.shape).astype(np.float32),
    )
    return sitk.Cast(like(np.round(acquisition.gain * noisy), image), sitk.sitkInt16)


def _jittered(signal: dict[str, float], rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Subject-specific tissue means: a common contrast factor around the mean of gray and white, then 3 % each."""
    middle = (signal["cortex"] + signal["cerebral_white_matter"]) / 2
    brain = ("cortex", "cerebral_white_matter", "cerebellum_cortex", "cerebellum_white_matter")
    values = {
        region: (middle + contrast * (value - middle) if region in brain else value) * float(rng.normal(1.0, 0.03))
        for region, value in signal.items()
    }
    values["vessel"] = float(rng.uniform(0.1, 1.1))
    return lookup(values)


def _texture_amplitude() -> np.ndarray:
    values = dict.fromkeys(T1W_SIGNAL, 0.02)
    values.update(dict.fromkeys(_FAT_TEXTURE, 0.30))
    return lookup(values)
