"""Rigid, then affine registration of a brain to the MNI152 template, with a figure that says whether it worked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.resources import resource

# Coarse to fine; the share of voxels sampled at each keeps the cost of all three alike.
LEVELS_MM = (8.0, 4.0, 2.0)
_SAMPLED_SHARE = {8.0: 1.0, 4.0: 0.5, 2.0: 0.1}
# Starts tried, as rotations about x, y, z in degrees: heads are tilted most in pitch.
_STARTS = [
    (0, 0, 0), (20, 0, 0), (-20, 0, 0), (40, 0, 0), (-40, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 20), (0, 0, -20),
    (20, 0, 20), (20, 0, -20), (-20, 20, 0), (-20, -20, 0),
]  # fmt: skip


@dataclass(frozen=True)
class Template:
    """A brain to register to: its intensities (0 outside) and its mask (uint8) at 2 mm, and coarser copies.

    Attributes:
        brain: float32, 2 mm.
        mask: uint8, same grid.
        levels: voxel size in mm -> blurred, subsampled `brain`.
    """

    brain: sitk.Image
    mask: sitk.Image
    levels: dict[float, sitk.Image]


@dataclass(frozen=True)
class Registration:
    """Transform from template points to points of the moving volume, and the Dice overlap of the two brains."""

    transform: sitk.AffineTransform
    dice: float


@lru_cache(maxsize=1)
def mni152() -> Template:
    """The shipped ICBM152 template."""
    image = sitk.ReadImage(str(resource("Atlases", "mni152_T1w_1mm.nii.gz")), sitk.sitkFloat32)
    mask = sitk.ReadImage(str(resource("Atlases", "mni152_brainmask_1mm.nii.gz")), sitk.sitkUInt8)
    image, mask = (sitk.DICOMOrient(volume, "LPS") for volume in (image, mask))
    return _working_template(image, mask)


def register_to_template(image: sitk.Image, mask: sitk.Image, template: Template | None = None) -> Registration:
    """Register a brain to the template.

    Several starts are compared by mutual information at low resolution, the best two are refined rigidly, the better
    one affinely (Mattes mutual information, fixed seed, one thread: the same volume gives the same transform).

    Args:
        image: float32 volume.
        mask: uint8 brain mask on the same grid.
        template: default MNI152.

    Returns:
        The transform and the Dice overlap of the template's brain with the moved brain.

    Raises:
        BadInputError: the optimizer found no overlap at all.
    """
    template = template or mni152()
    moving = _working_template(image, mask)
    with one_thread():
        affine = _search(template, moving)
    return Registration(transform=affine, dice=mask_dice(template.mask, moving.mask, affine))


def head_pose(image: sitk.Image, mask: sitk.Image) -> sitk.Euler3DTransform | None:
    """Roughly how a head is turned, to a few degrees; a fifth of a CPU second.

    Args:
        image: float32 volume.
        mask: uint8 brain mask on the same grid; a quarter too large does no harm.

    Returns:
        From points of the MNI152 template to points of the volume; None where the two do not overlap.
    """
    level = LEVELS_MM[0]
    brain = resample_isotropic(sitk.Mask(image, mask), level)
    template, moving = mni152(), Template(brain=brain, mask=mask, levels={level: brain})
    with one_thread():
        try:
            start = min(_start_transforms(template, moving), key=lambda start: _value(template, moving, start, level))
            return _optimize(template, moving, start, level, iterations=60)[0]
        except RuntimeError:
            return None


def _search(template: Template, moving: Template) -> sitk.AffineTransform:
    try:
        starts = sorted(_start_transforms(template, moving), key=lambda start: _value(template, moving, start, 8.0))
        refined = [_optimize(template, moving, start, 8.0, iterations=80) for start in starts[:3]]
        best = min(refined, key=lambda found: found[1])[0]
        rigid = _optimize(template, moving, best, 4.0, iterations=60)[0]
        affine = _as_affine(rigid)
        for level, iterations in ((8.0, 80), (4.0, 80), (2.0, 25)):
            affine = _improve(template, moving, affine, level, iterations=iterations)
    except RuntimeError as error:
        raise BadInputError(f"Registration to the template failed: {str(error).splitlines()[-1]}") from error
    return affine


@contextmanager
def one_thread() -> Iterator[None]:
    """The metric's threads add up in the order they happen to finish: only one thread gives the same sum each time."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def mask_dice(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Dice overlap of two masks, the second one moved onto the first one's grid."""
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0)) > 0
    still = sitk.GetArrayFromImage(fixed) > 0
    total = np.count_nonzero(moved) + np.count_nonzero(still)
    return float(2 * np.count_nonzero(moved & still) / total) if total else 0.0


def _working_template(image: sitk.Image, mask: sitk.Image) -> Template:
    """The brain alone, at the working resolution, cropped with a margin."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(mask)
    box = shapes.GetBoundingBox(1)
    margins = [round(10.0 / spacing) for spacing in mask.GetSpacing()]
    start = [max(low - margin, 0) for low, margin in zip(box[:3], margins, strict=True)]
    stop = [
        min(low + size + margin, limit)
        for low, size, margin, limit in zip(box[:3], box[3:], margins, mask.GetSize(), strict=True)
    ]
    size = [high - low for low, high in zip(start, stop, strict=True)]
    image, mask = (sitk.RegionOfInterest(volume, size, start) for volume in (image, mask))
    brain = resample_isotropic(sitk.Mask(image, mask), LEVELS_MM[-1])
    levels = {level: resample_isotropic(brain, level) for level in LEVELS_MM}
    return Template(brain=brain, mask=resample_isotropic(mask, LEVELS_MM[-1], is_mask=True), levels=levels)


def centroid(mask: sitk.Image) -> np.ndarray:
    """Of a binary mask, mm in the world."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(mask)
    return np.array(shapes.GetCentroid(1))


def _start_transforms(fixed: Template, moving: Template) -> list[sitk.Euler3DTransform]:
    center, target = centroid(fixed.mask), centroid(moving.mask)
    starts = []
    for angles in _STARTS:
        start = sitk.Euler3DTransform()
        start.SetCenter(center.tolist())
        start.SetTranslation((target - center).tolist())
        start.SetRotation(*np.deg2rad(angles).tolist())
        starts.append(start)
    return starts


def _method(level: float) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    if _SAMPLED_SHARE[level] < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(_SAMPLED_SHARE[level], 20)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _value(fixed: Template, moving: Template, start: sitk.Transform, level: float) -> float:
    method = _method(level)
    method.SetInitialTransform(start)
    try:
        return float(method.MetricEvaluate(fixed.levels[level], moving.levels[level]))
    except RuntimeError:  # no overlap from this start
        return float("inf")


def _improve(
    fixed: Template, moving: Template, start: sitk.Transform, level: float, *, iterations: int
) -> sitk.Transform:
    """Optimize with ever smaller steps until the result is better than the start.

    Gradient descent on an affine can leave the basin with its first step and then shrinks the brain to nothing; the
    metric shows it.
    """
    at_start = _value(fixed, moving, start, level)
    for rate in (1.0, 0.3, 0.1):
        found, _ = _optimize(fixed, moving, start, level, iterations=iterations, rate=rate)
        if _value(fixed, moving, found, level) <= at_start:
            return found
    return start


def _optimize(
    fixed: Template,
    moving: Template,
    start: sitk.Transform,
    level: float,
    *,
    iterations: int,
    rate: float = 1.0,
) -> tuple[sitk.Transform, float]:
    method = _method(level)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=rate, minStep=1e-3 * rate, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(type(start)(start), inPlace=True)
    method.Execute(fixed.levels[level], moving.levels[level])
    return method.GetInitialTransform().Downcast(), float(method.GetMetricValue())


def _as_affine(rigid: sitk.Euler3DTransform) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
