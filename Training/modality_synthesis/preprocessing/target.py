"""The target side of preprocessing: from measured units to network values and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.manufacturers import canonical_manufacturer
from modality_synthesis.preprocessing.normalize import normalize_signal
from modality_synthesis.preprocessing.parameters import TargetMapping
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, coverage_finding, filled, find_coverage, image_like, resample_covered
from modality_synthesis.volumes.coverage import cuts

# NumPy array, torch tensor, SimpleITK image or number.
Values = TypeVar("Values")
POOLED = "pooled"


@dataclass(frozen=True)
class TargetScaling:
    """A target mapping with its numbers for one scan: target = scale * network + offset, at least `minimum`.

    Attributes:
        statistics: whose statistics they are, a manufacturer or `pooled`; None without a standardization.
    """

    scale: float
    offset: float
    minimum: float | None
    background: float
    statistics: str | None = None

    def to_network(self, values: Values) -> Values:
        """From the target's units to network values."""
        return (values - self.offset) * (1.0 / self.scale)  # type: ignore[operator, return-value]

    def to_units(self, network: np.ndarray, region: np.ndarray) -> np.ndarray:
        """From network values to the target's units.

        Args:
            network: any shape.
            region: same shape, above 0 where the target is defined; elsewhere the result is the background.

        Returns:
            float32, same shape.
        """
        restored = network * self.scale + self.offset
        if self.minimum is not None:
            restored = np.maximum(restored, self.minimum)
        return np.where(region > 0, restored, self.background).astype(np.float32)


def target_scaling(mapping: TargetMapping, manufacturer: str | None = None) -> TargetScaling:
    """The scaling of a scan, by its manufacturer; pooled statistics when the mapping does not know it.

    Args:
        mapping: the model's; a standardization must have been fitted.
        manufacturer: as a file or table writes it; None or `pooled` asks for the pooled statistics.

    Raises:
        BadInputError: the standardization has no statistics yet.
    """
    standardization = mapping.standardization
    if standardization is None:
        return TargetScaling(mapping.scale, mapping.offset, mapping.minimum, mapping.background)
    if standardization.pooled is None:
        raise BadInputError("The target's standardization has no statistics. Training fits them; a package has them.")
    name = canonical_manufacturer(manufacturer)
    known = name is not None and name in standardization.statistics
    figures = standardization.statistics[str(name)] if known else standardization.pooled
    if standardization.method == "min-max":
        scale, offset = figures.maximum - figures.minimum, figures.minimum
    else:
        scale, offset = figures.std, figures.mean
    return TargetScaling(scale, offset, mapping.minimum, mapping.background, str(name) if known else POOLED)


def measured_region(target: sitk.Image, prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """`target_region` without what of it the target was not measured in, on the prepared grid (uint8).

    NaN and what lies outside the target's field of view never count; slabs and zones of one value (`find_coverage`)
    where they cut into the brain: outside it, a target may be without its skull.

    Args:
        target: volume as it was read; NaN may mark what was not measured.
        prepared: the source volume's preprocessing.
        mapping: the model's target mapping.
    """
    grid, known = prepared.image, np.isfinite(sitk.GetArrayViewFromImage(target))
    plain = filled(target)
    seen = resample_covered(plain, known, grid, transform=prepared.to_native, interpolator="nearest")[1]
    shown = resample_covered(plain, find_coverage(target), grid, transform=prepared.to_native, interpolator="nearest")[
        1
    ]
    brain = array(prepared.require_mask()) > 0
    missing = cuts(seen & ~shown, brain, grid.GetSpacing()[::-1])
    region = array(target_region(prepared, mapping)) > 0
    return image_like(region & seen & ~missing, grid)


def check_target_coverage(region: sitk.Image, prepared: Prepared, name: str, reporter: Reporter) -> float:
    """How much of the brain the target was measured in, percent.

    Args:
        region: `measured_region`.
        prepared: the source volume's preprocessing.
        name: of the target's file.
        reporter: receives the finding `target-coverage`.

    Raises:
        BadInputError: less than half of it.
    """
    brain = array(prepared.require_mask()) > 0
    percent = 100 * float((brain & (array(region) > 0)).sum() / max(brain.sum(), 1))
    coverage_finding(
        "target-coverage", f"{name}: the brain", percent, reporter,
        action="Leave this visit out, or take a volume whose field of view holds the whole brain.",
    )  # fmt: skip
    return percent


def target_region(prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Where a target is defined: the brain mask grown by the mapping's margin, on the prepared grid (uint8)."""
    return grown_mask(prepared.require_mask(), mapping)


def grown_mask(mask: sitk.Image, mapping: TargetMapping) -> sitk.Image:
    """A brain mask (uint8) grown by the mapping's margin."""
    radius = [round(mapping.mask_margin_mm / spacing) for spacing in mask.GetSpacing()]
    return sitk.BinaryDilate(mask, radius) if any(radius) else mask


def sample_target(target: sitk.Image, prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Sample a reference volume on the prepared grid, background outside the region and where it holds no value.

    Args:
        target: volume in its own units, aligned in the world with the source volume; NaN is what was not measured.
        prepared: the source volume's preprocessing.
        mapping: the model's target mapping.

    Returns:
        float32 volume in the target's units, on the grid of `prepared.image`.
    """
    known = np.isfinite(sitk.GetArrayViewFromImage(target))
    values, seen = resample_covered(
        sitk.Cast(target, sitk.sitkFloat32), known, prepared.image, transform=prepared.to_native
    )
    sampled = image_like(np.where(seen, array(values), np.float32(mapping.background)), values)
    if mapping.normalization is not None:
        sampled = normalize_signal(sampled, prepared.require_mask(), mapping.normalization)
    inside = sitk.Cast(target_region(prepared, mapping), sitk.sitkFloat32)
    return sampled * inside + mapping.background * (1.0 - inside)


def prepare_target(
    target: sitk.Image, prepared: Prepared, mapping: TargetMapping, manufacturer: str | None = None
) -> sitk.Image:
    """`sample_target`, mapped to network values."""
    return target_scaling(mapping, manufacturer).to_network(sample_target(target, prepared, mapping))


def restore_target(
    output: sitk.Image, prepared: Prepared, mapping: TargetMapping, manufacturer: str | None = None
) -> sitk.Image:
    """Map network values on the prepared grid to the target's units; background outside the brain region."""
    region = array(target_region(prepared, mapping))
    return image_like(target_scaling(mapping, manufacturer).to_units(array(output), region), output)
