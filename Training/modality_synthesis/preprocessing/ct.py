"""Head CT: where is the head, where is the brain."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.parameters import CTAnchor, CTBrainMask, CTHead
from modality_synthesis.preprocessing.resampling import resample_isotropic

AIR_HU = -1000.0
_WORKING_MM = 1.5
# Adult brains with ventricles and sulci measure 900 to 1900 ml; a head cut off at the skull base loses some.
_PLAUSIBLE_ML = (700.0, 2200.0)
# Gray and white matter lie within this distance of their median, fluid and blood do not.
_TISSUE_HU = 15.0
# 14 ml at the resolution used.
_FEWEST_DEEP = 500


def remove_surroundings(image: sitk.Image, parameters: CTHead) -> sitk.Image:
    """Set everything outside the head (table, head holder, noise in air) to air and clip to the parameters' range.

    The head is the largest piece above -300 HU once structures thinner than `holder_mm` are removed.

    Args:
        image: float32, HU.
        parameters: of the step.

    Returns:
        float32, HU, same grid.
    """
    coarse = resample_isotropic(image, 2 * _WORKING_MM)
    radius = [max(round(parameters.holder_mm / 2 / (2 * _WORKING_MM)), 1)] * 3
    opened = sitk.BinaryMorphologicalOpening(coarse > -300.0, radius)
    head = sitk.BinaryFillhole(_largest(opened))
    # What the opening took from the head itself (ears, nose) comes back with this margin.
    head = sitk.BinaryDilate(head, [2 * size for size in radius])
    inside = sitk.Resample(head, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    low, high = parameters.clip
    return sitk.Mask(sitk.Clamp(image, sitk.sitkFloat32, low, high), inside, max(AIR_HU, low))


def ct_brain_mask(image: sitk.Image, parameters: CTBrainMask, name: str = "The volume") -> sitk.Image:
    """Segment the brain, ventricles and sulci included, in a head CT by a marker-based watershed.

    Bone, air and fat form the barrier. The largest piece of soft tissue deeper than `depth_mm` below it, grown back by
    as much, is the brain without its corners and cut off from the neck, whose canal is narrower. A watershed on the
    gradient's magnitude between it and everything else finds the border (Li 2022 masks CT by a watershed, without
    saying how). When the result is no plausible brain (open skull, metal), the project's brain network takes over.

    Args:
        image: float32, HU, stored axes close to Left-Posterior-Superior.
        parameters: of the step.
        name: what messages call the volume.

    Returns:
        uint8 mask on the image's grid.

    Raises:
        BadInputError: nothing like a whole brain was found.
    """
    from modality_synthesis.preprocessing.brain_mask import brain_mask, mask_volume_ml

    mask = _watershed(image, parameters)
    if mask is not None and _PLAUSIBLE_ML[0] <= mask_volume_ml(mask) <= _PLAUSIBLE_ML[1]:
        return mask
    # The network learned random contrasts; in the brain window a CT looks like one of them.
    return brain_mask(sitk.Clamp(image, sitk.sitkFloat32, 0.0, 90.0), parameters.network, name)


def _watershed(image: sitk.Image, parameters: CTBrainMask) -> sitk.Image | None:
    hu = resample_isotropic(image, _WORKING_MM)
    barrier = sitk.Or(hu > parameters.bone_hu, hu < parameters.fat_hu)
    # Vessels' calcium, blood's brightest voxels and noise are no barrier.
    barrier = _without_specks(barrier, 400)
    if not sitk.GetArrayViewFromImage(barrier).any():
        return None
    depth = _distance_to(barrier)
    core = _largest(depth > parameters.depth_mm)
    if not sitk.GetArrayViewFromImage(core).any():
        return None
    away = _distance_to(core)
    inside = away < parameters.depth_mm - 2.0
    outside = sitk.Or(barrier, away > parameters.depth_mm + parameters.reach_mm)
    markers = sitk.Cast(outside, sitk.sitkUInt8) + 2 * sitk.Cast(sitk.And(inside, sitk.Not(outside)), sitk.sitkUInt8)
    gradient = sitk.GradientMagnitudeRecursiveGaussian(sitk.Clamp(hu, sitk.sitkFloat32, -100.0, 300.0), 1.0)
    basins = sitk.MorphologicalWatershedFromMarkers(gradient, markers, markWatershedLine=False)
    brain = sitk.BinaryMorphologicalOpening(basins == 2, [2, 2, 2])
    brain = sitk.BinaryFillhole(_largest(brain))
    soft = sitk.SmoothingRecursiveGaussian(sitk.Cast(brain, sitk.sitkFloat32), 1.0)
    return sitk.Resample(soft, image, sitk.Transform(), sitk.sitkLinear, 0.0) > 0.5


def anchor_shift(image: sitk.Image, mask: sitk.Image, parameters: CTAnchor, name: str = "The volume") -> float:
    """How many HU to add so that the deep brain's median lies at the parameters' value.

    Tube voltage, beam hardening and calibration shift a whole brain by more HU than gray and white matter differ: deep
    brain of two real head CTs lies at 25.7 and 22.7 HU, of simulated ones at 29.5 to 32.3. Fluid, blood and
    calcifications are left out of the median.

    Args:
        image: HU.
        mask: brain, same grid.
        parameters: of the step.
        name: what messages call the volume.

    Raises:
        BadInputError: no deep brain, or a shift beyond the parameters' limit.
    """
    coarse = resample_isotropic(image, 2 * _WORKING_MM)
    brain = sitk.Resample(mask, coarse, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    distance = _distance_to(brain)
    deep = sitk.GetArrayViewFromImage(distance) < -parameters.depth_mm
    values = sitk.GetArrayViewFromImage(coarse)[deep]
    tissue = values[(values > 0) & (values < 80)]
    if tissue.size < _FEWEST_DEEP:
        raise BadInputError(f"{name}: no brain was found more than {parameters.depth_mm:g} mm below its surface.")
    found = float(np.median(tissue))
    for _ in range(10):
        found = float(np.median(values[np.abs(values - found) < _TISSUE_HU]))
    shift = parameters.deep_brain_hu - found
    if abs(shift) > parameters.largest_hu:
        raise BadInputError(
            f"{name}: the deep brain lies at {found:.0f} HU, {parameters.deep_brain_hu:g} HU are usual. Check that the "
            "values are Hounsfield units, and that the CT shows a whole brain without contrast agent."
        )
    return shift


def window(image: sitk.Image, low: float, high: float) -> sitk.Image:
    """Clip to a range of Hounsfield units and map it to 0..1."""
    return (sitk.Clamp(image, sitk.sitkFloat32, low, high) - low) * (1.0 / (high - low))


def _distance_to(mask: sitk.Image) -> sitk.Image:
    """Distance of each voxel from a mask, mm; negative inside."""
    return sitk.SignedMaurerDistanceMap(mask, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)


def _largest(mask: sitk.Image) -> sitk.Image:
    return sitk.RelabelComponent(sitk.ConnectedComponent(mask), sortByObjectSize=True) == 1


def _without_specks(mask: sitk.Image, voxels: int) -> sitk.Image:
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(mask), minimumObjectSize=voxels)
    return pieces > 0
