"""Simulated FDG and tau PET in SUVR (reference region: cerebellar gray matter).

Regional uptake follows the literature's orderings (FDG: Hoffman 1990, Landau 2011, Jagust 2010; tau: Jack 2017,
Schoell 2016, off-target binding of Marquie 2015, Lowe 2016); severity acts on the regions of Alzheimer's disease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from modality_synthesis.simulation.images import FWHM_TO_SIGMA, blur, like, regrid, smooth_field
from modality_synthesis.simulation.labels import CORTEX, LABEL_COUNT, PARCELS, STRUCTURES, labels_of, lookup

Tracer = Literal["FDG", "TAU"]

# FDG uptake relative to cerebellar gray matter in a healthy brain.
FDG_UPTAKE: dict[str, float] = {
    "cortex": 1.35, "precuneus": 1.65, "pericalcarine": 1.65, "cuneus": 1.60, "isthmuscingulate": 1.60,
    "posteriorcingulate": 1.54, "lingual": 1.54, "rostralmiddlefrontal": 1.50, "caudalmiddlefrontal": 1.50,
    "parsopercularis": 1.48, "parstriangularis": 1.48, "inferiorparietal": 1.48, "superiorfrontal": 1.38,
    "superiorparietal": 1.38, "supramarginal": 1.38, "lateraloccipital": 1.42, "superiortemporal": 1.32,
    "middletemporal": 1.26, "inferiortemporal": 1.21, "fusiform": 1.24, "temporalpole": 1.00,
    "parahippocampal": 0.95, "entorhinal": 0.80, "insula": 1.21, "hippocampus": 0.82, "amygdala": 0.77,
    "putamen": 1.45, "caudate": 1.32, "accumbens": 1.25, "thalamus": 1.22, "pallidum": 0.80, "ventral_dc": 0.70,
    "brainstem": 0.62, "spinal_cord": 0.45, "cerebellum_cortex": 1.0, "cerebellum_white_matter": 0.55,
    "cerebral_white_matter": 0.42, "lesion": 0.30, "csf": 0.08, "lateral_ventricle": 0.06,
    "inferior_lateral_ventricle": 0.08, "third_fourth_ventricle": 0.08, "choroid_plexus": 0.30, "vessel": 0.30,
    "optic": 0.40, "eye": 0.15, "muscle": 0.55, "mucosa": 0.35, "soft_tissue": 0.20, "skin": 0.18,
    "cortical_bone": 0.10, "cancellous_bone": 0.15,
}  # fmt: skip
# Relative loss of FDG uptake at severity 1 (AD meta-ROI 15 to 30 %).
FDG_LOSS: dict[str, float] = {
    "cortex": 0.04, "posteriorcingulate": 0.30, "isthmuscingulate": 0.30, "precuneus": 0.30,
    "inferiorparietal": 0.30, "bankssts": 0.28, "middletemporal": 0.25, "inferiortemporal": 0.25,
    "supramarginal": 0.22, "entorhinal": 0.20, "hippocampus": 0.20, "superiorparietal": 0.18,
    "rostralmiddlefrontal": 0.14, "caudalmiddlefrontal": 0.12, "superiorfrontal": 0.10, "precentral": 0.0,
    "postcentral": 0.0, "paracentral": 0.0, "pericalcarine": 0.0, "cuneus": 0.0,
}  # fmt: skip

TAU_UPTAKE: dict[str, float] = {
    "cortex": 1.15, "hippocampus": 1.15, "amygdala": 1.15, "cerebral_white_matter": 0.95, "lesion": 0.95,
    "cerebellum_cortex": 1.0, "cerebellum_white_matter": 1.0, "brainstem": 1.05, "spinal_cord": 0.8,
    "putamen": 1.4, "pallidum": 1.5, "caudate": 1.2, "accumbens": 1.2, "ventral_dc": 1.25, "thalamus": 1.2,
    "choroid_plexus": 1.4, "csf": 0.60, "lateral_ventricle": 0.55, "inferior_lateral_ventricle": 0.6,
    "third_fourth_ventricle": 0.55, "vessel": 0.8, "optic": 0.8, "eye": 0.5, "muscle": 0.45, "mucosa": 0.6,
    "soft_tissue": 0.35, "skin": 0.35, "cortical_bone": 0.25, "cancellous_bone": 0.35,
}  # fmt: skip
# Added tau uptake A / (1 + exp(-(severity - onset) / 0.07)): (onset, A), in the order of the Braak stages.
TAU_GAIN: dict[str, tuple[float, float]] = {
    "entorhinal": (0.15, 0.9), "hippocampus": (0.25, 0.5), "amygdala": (0.32, 0.9), "parahippocampal": (0.35, 0.8),
    "fusiform": (0.40, 0.9), "inferiortemporal": (0.45, 1.2), "middletemporal": (0.50, 1.1),
    "isthmuscingulate": (0.55, 1.0), "posteriorcingulate": (0.60, 0.9), "inferiorparietal": (0.65, 1.1),
    "precuneus": (0.65, 1.0), "lateraloccipital": (0.70, 0.9), "superiortemporal": (0.70, 0.7),
    "bankssts": (0.60, 1.0), "supramarginal": (0.68, 0.9), "superiorparietal": (0.70, 0.8),
    "rostralmiddlefrontal": (0.75, 0.65), "caudalmiddlefrontal": (0.75, 0.65), "superiorfrontal": (0.75, 0.65),
    "lateralorbitofrontal": (0.75, 0.65), "medialorbitofrontal": (0.75, 0.65), "parsopercularis": (0.75, 0.65),
    "parsorbitalis": (0.75, 0.65), "parstriangularis": (0.75, 0.65), "cuneus": (0.90, 0.4),
    "precentral": (0.95, 0.15), "postcentral": (0.95, 0.15), "paracentral": (0.95, 0.15),
}  # fmt: skip


@dataclass(frozen=True)
class Scanner:
    """A PET scanner: point spread (FWHM, mm) and a SUVR gain that reconstruction leaves (harmonisation: Joshi 2009)."""

    manufacturer: str
    fwhm_mm: float
    gain: float


SCANNERS = (Scanner("Siemens", 5.5, 1.0), Scanner("GE", 6.0, 1.03), Scanner("Philips", 6.5, 0.97))


def regional_uptake(tracer: Tracer, severity: float, asymmetry: float = 0.0) -> np.ndarray:
    """Noise-free SUVR per label, shape (LABEL_COUNT,).

    Args:
        tracer: which tracer.
        severity: 0 to 1.
        asymmetry: -1..1; positive makes the left hemisphere the more affected one.
    """
    if tracer == "FDG":
        table = lookup(FDG_UPTAKE)
        loss = lookup(FDG_LOSS)
        return table * (1 - np.minimum(loss * severity * _side(asymmetry), 0.95))
    table = lookup(TAU_UPTAKE)
    late = 1 + 0.4 * max(severity - 0.6, 0) / 0.4
    gain = {
        region: late * amount / (1 + float(np.exp(-(severity - onset) / 0.07)))
        for region, (onset, amount) in TAU_GAIN.items()
    }
    return table + lookup(gain) * _side(asymmetry)


def simulate_pet(
    labels: sitk.Image,
    tracer: Tracer,
    severity: float,
    rng: np.random.Generator,
    scanner: Scanner = SCANNERS[0],
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
) -> sitk.Image:
    """A SUVR PET image of a labelled head: `scan` of `true_uptake`.

    Returns:
        float32 SUVR image at `spacing` over the label map's field of view.
    """
    return scan(true_uptake(labels, tracer, severity, rng), labels, rng, scanner, spacing)


def true_uptake(labels: sitk.Image, tracer: Tracer, severity: float, rng: np.random.Generator) -> sitk.Image:
    """What the tracer does in this person: regional uptake, small per-region variation, a smooth subject field.

    Returns:
        float32 image on the label map's grid, free of blur and noise; SUVR but for the scale (`true_suvr`).
    """
    voxels = sitk.GetArrayViewFromImage(labels)
    table = regional_uptake(tracer, severity, asymmetry=float(np.clip(rng.normal(0, 0.5), -1, 1)))
    table = table * _regional_variation(rng)
    return like(table[voxels] * (1 + 0.04 * smooth_field(labels, rng, 45.0)), labels)


def true_suvr(uptake: sitk.Image, labels: sitk.Image, regions: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The mean uptake of each region, a set of labels, over that of the cerebellar cortex."""
    voxels, values = (sitk.GetArrayFromImage(image).ravel() for image in (labels, uptake))
    size = 1 + max(int(voxels.max()), *(max(codes) for codes in (STRUCTURES["cerebellum_cortex"], *regions.values())))
    counts, sums = np.bincount(voxels, minlength=size), np.bincount(voxels, values, size)

    def mean(codes: Sequence[int]) -> float:
        members = sorted(set(codes))
        return float(sums[members].sum() / counts[members].sum())

    level = mean(STRUCTURES["cerebellum_cortex"])
    return {name: mean(codes) / level for name, codes in regions.items()}


def scan(
    uptake: sitk.Image,
    labels: sitk.Image,
    rng: np.random.Generator,
    scanner: Scanner = SCANNERS[0],
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
) -> sitk.Image:
    """What a scanner makes of an uptake.

    The scanner's point spread, correlated noise, a misregistration below 1 mm / 1 degree, and scaling to the
    cerebellar cortex.

    Returns:
        float32 SUVR image at `spacing` over the uptake's field of view.
    """
    blurred = point_spread(uptake, scanner)
    # The reference mean belongs to the image the scanner measured, so it is taken after the blur and before the shift.
    reference = np.isin(sitk.GetArrayViewFromImage(labels), STRUCTURES["cerebellum_cortex"])
    level = float(sitk.GetArrayViewFromImage(blurred)[reference].mean())
    image = regrid(blurred, spacing, _misregistration(labels, rng))
    clean = sitk.GetArrayFromImage(image) * (scanner.gain / level)
    noise = smooth_field(image, rng, 5.0)
    return like(np.clip(clean + 0.05 * np.sqrt(np.maximum(clean, 0)) * noise, 0, None), image)


def point_spread(uptake: sitk.Image, scanner: Scanner) -> sitk.Image:
    """An uptake blurred as the scanner blurs it, on the same grid."""
    return blur(uptake, scanner.fwhm_mm * FWHM_TO_SIGMA)


def _side(asymmetry: float) -> np.ndarray:
    """Per label, how strongly disease acts there: 1 +- 15 % between hemispheres at asymmetry +-1."""
    table = np.ones(LABEL_COUNT, dtype=np.float32)
    left = [label for label in CORTEX if label < 2000] + [min(labels_of(name)) for name in ("hippocampus", "amygdala")]
    right = [label for label in CORTEX if label >= 2000] + [
        max(labels_of(name)) for name in ("hippocampus", "amygdala")
    ]
    table[left] += 0.15 * asymmetry
    table[right] -= 0.15 * asymmetry
    return table


def _regional_variation(rng: np.random.Generator) -> np.ndarray:
    """A factor per region and person (3 % standard deviation), the same in both hemispheres."""
    regions = [*PARCELS, *STRUCTURES]
    return lookup(dict(zip(regions, np.exp(rng.normal(0, 0.03, len(regions))).tolist(), strict=True)), 1.0)


def _misregistration(labels: sitk.Image, rng: np.random.Generator) -> sitk.Transform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(labels.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in labels.GetSize()]))
    angles = np.deg2rad(np.clip(rng.normal(0, 0.4, 3), -1, 1))
    transform.SetRotation(*angles.tolist())
    transform.SetTranslation(np.clip(rng.normal(0, 0.4, 3), -1, 1).tolist())
    return transform
