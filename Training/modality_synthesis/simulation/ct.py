"""Simulated head CT in Hounsfield units."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.simulation.images import blur, like, smooth_field
from modality_synthesis.simulation.labels import BRAIN, lookup, membership

# Mean Hounsfield unit per tissue (ranges of Kamalian 2016).
HOUNSFIELD: dict[str, float] = {
    "cortex": 37, "cerebral_white_matter": 28, "lesion": 24, "cerebellum_white_matter": 29,
    "cerebellum_cortex": 37, "thalamus": 39, "caudate": 39, "putamen": 40, "pallidum": 42, "accumbens": 38,
    "hippocampus": 36, "amygdala": 36, "ventral_dc": 33, "brainstem": 31, "lateral_ventricle": 8,
    "inferior_lateral_ventricle": 8, "third_fourth_ventricle": 8, "choroid_plexus": 30, "csf": 8, "vessel": 48,
    "optic": 30, "eye": 15, "soft_tissue": 20, "muscle": 55, "mucosa": 30, "skin": 10, "spinal_cord": 35,
    "cortical_bone": 1100, "cancellous_bone": 450,
}  # fmt: skip
AIR = -1000.0


def simulate_ct(labels: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """A CT of a labelled head: tissue values, texture, point spread, cupping under the skull, noise.

    Returns:
        int16 image in HU on the label map's grid.
    """
    voxels = sitk.GetArrayViewFromImage(labels)
    values = lookup({region: hu * float(rng.normal(1.0, 0.03)) for region, hu in HOUNSFIELD.items()}, AIR)[voxels]
    amplitude = lookup({"cortical_bone": 220.0, "cancellous_bone": 150.0, "soft_tissue": 45.0}, 0.0)[voxels]
    values += amplitude * smooth_field(labels, rng, 6.0)
    values += _cupping(labels)
    image = blur(like(values, labels), 0.45)
    noisy = sitk.GetArrayFromImage(image) + rng.normal(0, 4.0, voxels.shape).astype(np.float32)
    return sitk.Cast(like(np.clip(np.round(noisy), -1024, 3071), labels), sitk.sitkInt16)


def _cupping(labels: sitk.Image) -> np.ndarray:
    """Beam hardening left after correction: + 8 HU at the skull, falling with 12 mm into the brain."""
    voxels = sitk.GetArrayViewFromImage(labels)
    brain = like(membership((*BRAIN, 24))[voxels], labels) > 0.5
    depth = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(brain, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    )
    return np.where(depth > 0, 8.0 * np.exp(-np.maximum(depth, 0) / 12.0), 0.0).astype(np.float32)
