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
from modality_synthesis.volumes import array, image_like

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


def target_region(prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Where a target is defined: the brain mask grown by the mapping's margin, on the prepared grid (uint8)."""
    mask = prepared.require_mask()
    radius = [round(mapping.mask_margin_mm / spacing) for spacing in mask.GetSpacing()]
    return sitk.BinaryDilate(mask, radius) if any(radius) else mask


def sample_target(target: sitk.Image, prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Sample a reference volume on the prepared grid, background outside the region.

    Args:
        target: volume in its own units, aligned in the world with the source volume.
        prepared: the source volume's preprocessing.
        mapping: the model's target mapping.

    Returns:
        float32 volume in the target's units, on the grid of `prepared.image`.
    """
    sampled = prepared.from_native_world(target, mapping.background)
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
