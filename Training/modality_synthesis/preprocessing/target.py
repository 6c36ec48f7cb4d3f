"""The target side of preprocessing: from measured units to network values and back."""

from __future__ import annotations

import SimpleITK as sitk

from modality_synthesis.preprocessing.parameters import TargetMapping
from modality_synthesis.preprocessing.state import Prepared


def target_region(prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Where a target is defined: the brain mask grown by the mapping's margin, on the prepared grid (uint8)."""
    mask = prepared.require_mask()
    radius = [round(mapping.mask_margin_mm / spacing) for spacing in mask.GetSpacing()]
    return sitk.BinaryDilate(mask, radius) if any(radius) else mask


def prepare_target(target: sitk.Image, prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Sample a reference volume on the prepared grid and map it to network values.

    Args:
        target: volume in its own units, aligned in the world with the source volume.
        prepared: the source volume's preprocessing.
        mapping: the model's target mapping.

    Returns:
        float32 volume on the grid of `prepared.image`.
    """
    sampled = prepared.from_native_world(target, mapping.background)
    inside = sitk.Cast(target_region(prepared, mapping), sitk.sitkFloat32)
    sampled = sampled * inside + mapping.background * (1.0 - inside)
    return (sampled - mapping.offset) * (1.0 / mapping.scale)


def restore_target(output: sitk.Image, prepared: Prepared, mapping: TargetMapping) -> sitk.Image:
    """Map network values on the prepared grid to the target's units; background outside the brain region."""
    restored = output * mapping.scale + mapping.offset
    if mapping.minimum is not None:
        restored = sitk.Maximum(restored, mapping.minimum)
    inside = sitk.Cast(target_region(prepared, mapping), sitk.sitkFloat32)
    return restored * inside + mapping.background * (1.0 - inside)
