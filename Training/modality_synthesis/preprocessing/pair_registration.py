"""Registration of two volumes of one person's head, of any two modalities: rigid, or affine where scanners distort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.registration import one_thread
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import transform_matrix

# Coarse to fine. Sampled shares keep the cost of the levels alike; the seed and one thread keep the result the same.
LEVELS_MM = (8.0, 4.0, 2.0)
_SAMPLED_SHARE = {8.0: 1.0, 4.0: 0.3, 2.0: 0.08}
_SEED = 20
_STARTS = ((0, 0, 0), (20, 0, 0), (-20, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 20), (0, 0, -20))


@dataclass(frozen=True)
class PairRegistration:
    """Where the moving volume lies.

    Attributes:
        transform: from points of the fixed volume's world to points of the moving volume's world (LPS, mm); rigid, or
            affine about the same center.
        mutual_information: Mattes mutual information (nats) at the finest level, before and after.
    """

    transform: sitk.Euler3DTransform | sitk.AffineTransform
    mutual_information: tuple[float, float]

    @property
    def matrix(self) -> np.ndarray:
        """The transform as a (4, 4) matrix."""
        return transform_matrix(self.transform)

    @property
    def rotation_degrees(self) -> float:
        """Angle of the rotation about its axis; of an affine, of the rotation nearest to it."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))

    @property
    def shift_mm(self) -> float:
        """How far the middle of the fixed foreground moves."""
        return float(np.linalg.norm(self.transform.GetTranslation()))

    @property
    def stretch(self) -> tuple[float, float]:
        """Smallest and largest factor by which lengths change; 1 and 1 when rigid."""
        factors = np.linalg.svd(self.matrix[:3, :3], compute_uv=False)
        return float(factors[-1]), float(factors[0])


def register_pair(
    moving: sitk.Image, fixed: sitk.Image, foreground: sitk.Image, moving_foreground: sitk.Image, *,
    affine: bool = False, reporter: Reporter | None = None, stage: str = "Aligning the reference",
) -> PairRegistration:  # fmt: skip
    """Register by Mattes mutual information (Viola 1997, Mattes 2003).

    Starts from the given positions and from the centers of mass, each with rotations of 20 degrees; the three best are
    refined from coarse to fine. The same volumes give the same transform.

    Args:
        moving: float32 volume.
        fixed: float32 volume, stays.
        foreground: uint8, of the fixed volume's head, on its grid.
        moving_foreground: same for the moving volume.
        affine: let the finest level scale and shear, too.
        reporter: receives progress.
        stage: what progress says.

    Raises:
        RuntimeError: ITK found no overlap.
    """
    reporter = reporter or current()
    copies = {level: resample_isotropic(fixed, level) for level in working_levels(fixed, moving)}
    masks = {level: _mask(foreground, image, level) for level, image in copies.items()}
    moved = {level: resample_isotropic(moving, level) for level in copies}
    reporter.progress(0.1, stage)
    with one_thread():
        return _search(copies, moved, masks, moving_foreground, affine, reporter, stage)


def head_foreground(image: sitk.Image, name: str) -> sitk.Image:
    """uint8: above 5 % of the way from the background (the lowest value) to the 99.9th percentile.

    Args:
        image: volume of a head.
        name: of the volume, for the message.

    Raises:
        BadInputError: the volume is constant.
    """
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    if high <= low:
        raise BadInputError(f"{name} is constant; nothing can be aligned with it.")
    return sitk.Cast(image > low + 0.05 * (high - low), sitk.sitkUInt8)


def working_levels(*volumes: sitk.Image) -> tuple[float, ...]:
    """The working resolutions that are not finer than both volumes are."""
    finest = min(min(volume.GetSpacing()) for volume in volumes)
    return tuple(level for level in LEVELS_MM if level >= 0.9 * finest) or LEVELS_MM[:1]


def _mask(foreground: sitk.Image, grid: sitk.Image, level: float) -> sitk.Image:
    """The foreground and 8 mm around it, on a level's grid: the edge of the head carries much of the information."""
    mask = sitk.Resample(foreground, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return sitk.BinaryDilate(mask, [max(round(8.0 / level), 1)] * 3)


def _search(
    fixed: Mapping[float, sitk.Image], moving: Mapping[float, sitk.Image], masks: Mapping[float, sitk.Image],
    moving_foreground: sitk.Image, affine: bool, reporter: Reporter, stage: str,
) -> PairRegistration:  # fmt: skip
    coarsest = next(iter(fixed))
    starts = _starts(masks[coarsest], moving_foreground)

    def value(transform: sitk.Transform, level: float) -> float:
        method = _method(level, masks[level])
        method.SetInitialTransform(transform)
        try:
            return float(method.MetricEvaluate(fixed[level], moving[level]))
        except RuntimeError:  # no overlap from here
            return float("inf")

    def optimize(start: Any, level: float, iterations: int) -> Any:
        method = _method(level, masks[level])
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=level / 4, minStep=1e-3, numberOfIterations=iterations, relaxationFactor=0.6
        )
        method.SetOptimizerScalesFromPhysicalShift()
        found = type(start)(start)
        method.SetInitialTransform(found, inPlace=True)
        method.Execute(fixed[level], moving[level])
        return found

    ranked = sorted(starts, key=lambda start: value(start, coarsest))
    refined = [optimize(start, coarsest, 60) for start in ranked[:3]]
    best: Any = min([*refined, ranked[0]], key=lambda found: value(found, coarsest))
    reporter.progress(0.5, stage)
    for level in list(fixed)[1:]:
        found = optimize(best, level, 50)
        best = min([best, found], key=lambda transform: value(transform, level))
    finest = list(fixed)[-1]
    if affine:
        free = sitk.AffineTransform(3)
        free.SetCenter(best.GetCenter())
        free.SetMatrix(best.GetMatrix())
        free.SetTranslation(best.GetTranslation())
        best = min([free, optimize(free, finest, 50)], key=lambda transform: value(transform, finest))
    reporter.progress(1.0, stage)
    return PairRegistration(best, (-value(starts[0], finest), -value(best, finest)))


def _starts(mask: sitk.Image, moving_foreground: sitk.Image) -> list[sitk.Euler3DTransform]:
    """First the positions as they are; then both centers of mass on each other; each with some rotations."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(mask)
    center = np.array(shapes.GetCentroid(1))
    shapes.Execute(moving_foreground)
    offset = np.array(shapes.GetCentroid(1)) - center
    starts = []
    for translation in (np.zeros(3), offset):
        for angles in _STARTS:
            start = sitk.Euler3DTransform()
            start.SetCenter(center.tolist())
            start.SetTranslation(translation.tolist())
            start.SetRotation(*np.deg2rad(angles).tolist())
            starts.append(start)
    return starts


def _method(level: float, mask: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(mask)
    if _SAMPLED_SHARE[level] < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(_SAMPLED_SHARE[level], _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method
