"""Find the brain with the shipped network, in any orientation and contrast, without a download."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.networks import shipped_weights
from modality_synthesis.preprocessing.registration import centroid, head_pose, mask_dice, mni152
from modality_synthesis.preprocessing.resampling import resample_along, resample_isotropic, tilt_degrees

if TYPE_CHECKING:
    from modality_synthesis.preprocessing.brain_network import BrainNetwork

# Adult brains (ventricles included) measure 900 to 1900 ml; these bounds only catch what is certainly no whole brain.
SMALLEST_ML = 500.0
LARGEST_ML = 2500.0
# Share of the mask that must be brighter than air; fluid is dark in T1w, but most of a brain is not fluid.
LEAST_SIGNAL_SHARE = 0.6
# Of the brightest tissue: what is darker is no head.
AIR_SHARE = 0.05
# Air left around the head.
MARGIN_MM = 10.0
# A head tilted in the grid by less than this is as good as upright.
STRAIGHT_DEGREES = 8.0
# A brain found in the head's own pose counts when it is smaller by so much: less is within what two looks differ by
# (three upright heads: 0.3, 0.3 and 3 %), and the masks that the shipped models were trained with stay. One of less
# than half is a failure, no better answer.
_SMALLER_AT_LEAST, _LEAST_OF_OTHER = 0.05, 0.5
# Of the smaller of two brains, the template's and the second one, this share lies in the other. Measured: tilted heads
# 0.98 and 0.99; axes exchanged or mirrored, for which no pose is right, 0.81 and 0.69: their doubts must stay.
_OVERLAP_AT_LEAST = 0.9


def brain_mask(image: sitk.Image, network: str = "brain-mask", name: str = "The volume") -> sitk.Image:
    """Segment the brain, ventricles and sulci included.

    Args:
        image: head or skull-stripped brain, stored axes close to Left-Posterior-Superior.
        network: file name, without ending, in Resources/Networks.
        name: what messages call the volume.

    Returns:
        uint8 mask on the image's grid.

    Raises:
        BadInputError: nothing like a whole brain was found.
    """
    probability = sitk.Resample(_probability(image, network), image, sitk.Transform(), sitk.sitkLinear, 0.0)
    mask = probability > 0.5
    volume = mask_volume_ml(mask)
    if not SMALLEST_ML <= volume <= LARGEST_ML or _signal_share(image, mask) < LEAST_SIGNAL_SHARE:
        raise BadInputError(
            f"{name}: no whole brain was found ({volume:.0f} ml looked like brain). The program needs a head or a "
            "skull-stripped brain with the complete brain in the field of view; check orientation and modality."
        )
    return mask


def _signal_share(image: sitk.Image, mask: sitk.Image) -> float:
    """The share of the mask brighter than 5 % of the volume's brightest tissue."""
    values, inside = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(mask) > 0
    bright = float(np.percentile(values[::2, ::2, ::2], 99.5))
    return float((values[inside] > 0.05 * bright).mean())


def hold_to_template(mask: sitk.Image, inside_mm: float, outside_mm: float) -> sitk.Image:
    """Correct gross errors of a mask in template space with the template's own brain mask.

    Args:
        mask: uint8, on a grid in template space.
        inside_mm: voxels deeper than this in the template's brain become brain.
        outside_mm: voxels farther than this from the template's brain become background.
    """
    depth = sitk.Resample(_template_depth(), mask, sitk.Transform(), sitk.sitkLinear, -1000.0)
    inside, outside = (sitk.Cast(part, sitk.sitkUInt8) for part in (depth > inside_mm, depth > -outside_mm))
    return sitk.BinaryFillhole(sitk.And(sitk.Or(mask, inside), outside))


@lru_cache(maxsize=1)
def _template_depth() -> sitk.Image:
    """How deep each point lies in the template's brain, mm (negative outside)."""
    return sitk.SignedMaurerDistanceMap(
        sitk.ConstantPad(mni152().mask, [20] * 3, [20] * 3), insideIsPositive=True, squaredDistance=False,
        useImageSpacing=True,
    )  # fmt: skip


def mask_volume_ml(mask: sitk.Image) -> float:
    """The volume of a binary mask, ml."""
    return float(sitk.GetArrayViewFromImage(mask).sum()) * float(np.prod(mask.GetSpacing())) / 1000.0


def _probability(image: sitk.Image, network: str) -> sitk.Image:
    """Of brain, on a grid of its own.

    The network was trained on upright heads in a field of view of 240 x 240 x 200 mm. Of a head that is tilted in its
    grid, or that a larger field of view holds with its neck, it makes a brain that is up to 37 % too large, and never
    one that is too small. A tilted head is looked at again in its own pose and that field of view, and the smaller
    brain is the right one.
    """
    from modality_synthesis.preprocessing.brain_network import FIELD, SPACING_MM

    along_grid = resample_isotropic(image, SPACING_MM)
    first = _segment(along_grid, network)
    pose = _pose(along_grid, first)
    if pose is None:
        return first
    axes = np.array(pose.GetMatrix()).reshape(3, 3)
    if tilt_degrees(np.array(image.GetDirection()).reshape(3, 3).T @ axes) <= STRAIGHT_DEGREES:
        return first
    center = pose.TransformPoint(centroid(mni152().mask).tolist())
    second = _segment(resample_along(image, axes, center, FIELD[::-1], SPACING_MM), network)
    share = mask_volume_ml(second > 0.5) / mask_volume_ml(first > 0.5)
    better = _LEAST_OF_OTHER <= share < 1 - _SMALLER_AT_LEAST and _overlap(second > 0.5, pose) >= _OVERLAP_AT_LEAST
    return second if better else first


def _overlap(mask: sitk.Image, pose: sitk.Transform) -> float:
    """Of the smaller of two brains, the template's and this one, the share that lies in the other."""
    template = mni152().mask
    volumes = mask_volume_ml(mask), mask_volume_ml(template)
    return mask_dice(template, mask, pose) * sum(volumes) / 2 / max(min(volumes), 1e-6)


def _pose(image: sitk.Image, probability: sitk.Image) -> sitk.Euler3DTransform | None:
    """How the head is turned; None without a brain."""
    mask = probability > 0.5
    if mask_volume_ml(mask) < SMALLEST_ML:
        return None
    return head_pose(sitk.Resample(image, probability), mask)


def _segment(image: sitk.Image, network: str) -> sitk.Image:
    """The probability of brain on an isotropic grid of the network's voxel size, cut to the head."""
    import torch

    from modality_synthesis.preprocessing.brain_network import DIVISOR, FIELD, scale_intensities

    coarse = _around_head(image)
    volume = torch.from_numpy(sitk.GetArrayFromImage(coarse))
    wanted = [max(-(-size // DIVISOR) * DIVISOR, field) for size, field in zip(volume.shape, FIELD, strict=True)]
    before = [(want - size) // 2 for want, size in zip(wanted, volume.shape, strict=True)]
    padding = [
        amount
        for want, size, low in reversed(list(zip(wanted, volume.shape, before, strict=True)))
        for amount in (low, want - size - low)
    ]
    padded = torch.nn.functional.pad(scale_intensities(volume), padding)
    with torch.inference_mode():
        logits = _load(network)(padded[None, None])[0, 0]
    inside = logits[tuple(slice(low, low + size) for low, size in zip(before, volume.shape, strict=True))]
    result = sitk.GetImageFromArray(inside.sigmoid().numpy())
    result.CopyInformation(coarse)
    return _one_piece(result)


def _around_head(image: sitk.Image) -> sitk.Image:
    """Cut off the air around the head: the network normalizes by the whole field of view."""
    values = sitk.GetArrayViewFromImage(image)
    bright = float(np.percentile(values[::2, ::2, ::2], 99.5))
    # Opening removes noise, and parts the head from what else there is in the field of view.
    signal = sitk.BinaryMorphologicalOpening(image > AIR_SHARE * bright, [1, 1, 1])
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(signal), sortByObjectSize=True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(pieces == 1)
    if not shape.HasLabel(1):
        return image
    box = shape.GetBoundingBox(1)
    margin = round(MARGIN_MM / image.GetSpacing()[0])
    low = [max(start - margin, 0) for start in box[:3]]
    high = [
        min(start + size + margin, count) for start, size, count in zip(box[:3], box[3:], image.GetSize(), strict=True)
    ]
    return image[tuple(slice(first, last) for first, last in zip(low, high, strict=True))]


def _one_piece(probability: sitk.Image) -> sitk.Image:
    """Without the smaller pieces and without holes; done on the coarse grid, where it costs little."""
    components = sitk.RelabelComponent(sitk.ConnectedComponent(probability > 0.5), sortByObjectSize=True)
    brain = components == 1
    holes = sitk.Cast(sitk.BinaryFillhole(brain) - brain, sitk.sitkFloat32)
    # One voxel around the piece keeps its soft border.
    return sitk.Maximum(probability * sitk.Cast(sitk.BinaryDilate(brain, [1, 1, 1]), sitk.sitkFloat32), holes)


@lru_cache(maxsize=2)
def _load(network: str) -> BrainNetwork:
    from safetensors.torch import load_file

    from modality_synthesis.preprocessing.brain_network import BrainNetwork

    module = BrainNetwork()
    module.load_state_dict({name: value.float() for name, value in load_file(shipped_weights(network)).items()})
    return module.eval()
