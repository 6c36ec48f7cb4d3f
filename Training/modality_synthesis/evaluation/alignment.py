"""Rigid co-registration of a reference with a synthetic volume of the same person, with a figure that says how good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.registration import one_thread
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import transform_matrix

# Coarse to fine. Sampled shares keep the cost of the levels alike; the seed and one thread keep the result the same.
LEVELS_MM = (8.0, 4.0, 2.0)
_SAMPLED_SHARE = {8.0: 1.0, 4.0: 0.3, 2.0: 0.08}
_SEED = 20
_STARTS = ((0, 0, 0), (20, 0, 0), (-20, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 20), (0, 0, -20))
# Correlation with the aligned reference in the foreground: other people's heads stay below the first, a synthesis of
# the same head that is worth comparing lies above the second.
REFUSE_BELOW = 0.15
WARN_BELOW = 0.6
_FAR_MM, _FAR_DEGREES = 60.0, 45.0


@dataclass(frozen=True)
class Alignment:
    """A reference brought onto a synthetic volume's grid.

    Attributes:
        image: the aligned reference, float32, on the synthetic volume's grid.
        transform: from points of the synthetic volume's world to points of the reference's world (LPS, mm).
        mutual_information: Mattes mutual information (nats) of the two before and after.
        correlation: Pearson correlation in the synthetic volume's foreground before and after; the quality figure.
        overlap: share of the foreground that lies in the reference's field of view after alignment.
    """

    image: sitk.Image
    transform: sitk.Euler3DTransform
    mutual_information: tuple[float, float]
    correlation: tuple[float, float]
    overlap: float

    @property
    def matrix(self) -> np.ndarray:
        """The transform as a (4, 4) matrix."""
        return transform_matrix(self.transform)

    @property
    def rotation_degrees(self) -> float:
        """Angle of the rotation about its axis."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    @property
    def shift_mm(self) -> float:
        """How far the middle of the synthetic volume's foreground moves."""
        return float(np.linalg.norm(self.transform.GetTranslation()))

    def as_dict(self) -> dict[str, object]:
        """For `metrics.json`."""
        return {
            "method": "rigid, Mattes mutual information (32 bins), up to 2 mm, fixed seed; cubic B-spline resampling",
            "transform": {
                "matrix": self.matrix.tolist(),
                "from": "synthetic volume's world, LPS mm",
                "to": "reference's world, LPS mm",
            },
            "rotation_degrees": self.rotation_degrees,
            "shift_mm": self.shift_mm,
            "mutual_information_before": self.mutual_information[0],
            "mutual_information_after": self.mutual_information[1],
            "correlation_before": self.correlation[0],
            "correlation_after": self.correlation[1],
            "overlap": self.overlap,
        }


def align(reference: sitk.Image, synthetic: sitk.Image, reporter: Reporter | None = None) -> Alignment:
    """Register a reference rigidly to a synthetic volume of the same person (Viola 1997, Mattes 2003).

    Starts from the given positions and from the centers of mass, each with rotations of 20 degrees; the three best are
    refined from coarse to fine. The same volumes give the same transform.

    Args:
        reference: float32 volume, moved.
        synthetic: float32 volume, stays.
        reporter: receives progress and doubts about the result.

    Raises:
        BadInputError: the volumes could not be brought to agree.
    """
    reporter = reporter or Reporter()
    foreground = _foreground(synthetic)
    fixed = {level: resample_isotropic(synthetic, level) for level in _levels(synthetic, reference)}
    masks = {level: _mask(foreground, image, level) for level, image in fixed.items()}
    moving = {level: resample_isotropic(reference, level) for level in fixed}
    reporter.progress(0.1, "Aligning the reference")
    try:
        with one_thread():
            transform, values = _search(fixed, moving, masks, reporter)
    except RuntimeError as error:
        raise BadInputError(
            f"The reference could not be aligned with the synthetic volume: {str(error).splitlines()[-1].strip()}"
        ) from error
    identity = sitk.Euler3DTransform()
    identity.SetCenter(transform.GetCenter())
    (before, _), (after, overlap) = (_agreement(reference, fixed, foreground, found) for found in (identity, transform))
    result = Alignment(_resample(reference, synthetic, transform), transform, values, (before, after), overlap)
    _judge(result, reporter)
    return result


def _levels(*volumes: sitk.Image) -> tuple[float, ...]:
    """The working resolutions that are not finer than both volumes are."""
    finest = min(min(volume.GetSpacing()) for volume in volumes)
    return tuple(level for level in LEVELS_MM if level >= 0.9 * finest) or LEVELS_MM[:1]


def _judge(result: Alignment, reporter: Reporter) -> None:
    before, after = result.correlation
    if after < REFUSE_BELOW or result.overlap < 0.5:
        raise BadInputError(
            f"The reference could not be aligned with the synthetic volume (correlation {after:.2f} in "
            f"{100 * result.overlap:.0f} % of its foreground). Are they of the same person and modality?"
        )
    if after < before - 0.02:
        raise BadInputError(
            f"Aligning made the agreement worse (correlation {before:.2f} before, {after:.2f} after). Compare without "
            "--register, or align the volumes yourself."
        )
    if after < WARN_BELOW:
        reporter.warning(
            f"The aligned reference agrees poorly with the synthetic volume (correlation {after:.2f}); look at both "
            "before trusting the figures."
        )
    if result.rotation_degrees > _FAR_DEGREES or result.shift_mm > _FAR_MM:
        reporter.warning(
            f"Aligning moved the reference far: {result.shift_mm:.0f} mm and {result.rotation_degrees:.0f} degrees."
        )


def _foreground(image: sitk.Image) -> sitk.Image:
    """uint8: above 5 % of the way from the background (the lowest value) to the 99.9th percentile."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    if high <= low:
        raise BadInputError("The synthetic volume is constant; nothing can be aligned with it.")
    return sitk.Cast(image > low + 0.05 * (high - low), sitk.sitkUInt8)


def _mask(foreground: sitk.Image, grid: sitk.Image, level: float) -> sitk.Image:
    """The foreground and 8 mm around it, on a level's grid: the edge of the head carries much of the information."""
    mask = sitk.Resample(foreground, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return sitk.BinaryDilate(mask, [max(round(8.0 / level), 1)] * 3)


def _search(
    fixed: dict[float, sitk.Image], moving: dict[float, sitk.Image], masks: dict[float, sitk.Image], reporter: Reporter
) -> tuple[sitk.Euler3DTransform, tuple[float, float]]:
    starts = _starts(masks[8.0], moving[8.0])

    def value(transform: sitk.Transform, level: float) -> float:
        method = _method(level, masks[level])
        method.SetInitialTransform(transform)
        try:
            return float(method.MetricEvaluate(fixed[level], moving[level]))
        except RuntimeError:  # no overlap from here
            return float("inf")

    def optimize(start: sitk.Euler3DTransform, level: float, iterations: int) -> sitk.Euler3DTransform:
        method = _method(level, masks[level])
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=level / 4, minStep=1e-3, numberOfIterations=iterations, relaxationFactor=0.6
        )
        method.SetOptimizerScalesFromPhysicalShift()
        found = sitk.Euler3DTransform(start)
        method.SetInitialTransform(found, inPlace=True)
        method.Execute(fixed[level], moving[level])
        return found

    ranked = sorted(starts, key=lambda start: value(start, 8.0))
    refined = [optimize(start, 8.0, 60) for start in ranked[:3]]
    best = min([*refined, ranked[0]], key=lambda found: value(found, 8.0))
    reporter.progress(0.5, "Aligning the reference")
    for level in list(fixed)[1:]:
        found = optimize(best, level, 50)
        best = min([best, found], key=lambda transform: value(transform, level))
    finest = list(fixed)[-1]
    reporter.progress(1.0, "Aligning the reference")
    return best, (-value(starts[0], finest), -value(best, finest))


def _starts(mask: sitk.Image, moving: sitk.Image) -> list[sitk.Euler3DTransform]:
    """First the positions as they are; then both centers of mass on each other; each with some rotations."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(mask)
    center = np.array(shapes.GetCentroid(1))
    shapes.Execute(_foreground(moving))
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


def _agreement(
    reference: sitk.Image, fixed: dict[float, sitk.Image], foreground: sitk.Image, transform: sitk.Transform
) -> tuple[float, float]:
    """Correlation in the foreground that the reference covers, and the share of the foreground that it covers."""
    grid = list(fixed.values())[-1]
    inside = sitk.GetArrayFromImage(sitk.Resample(foreground, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)) > 0
    ones = sitk.Image(reference.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(reference)
    covered = sitk.GetArrayFromImage(sitk.Resample(ones, grid, transform, sitk.sitkNearestNeighbor, 0)) > 0
    moved = sitk.GetArrayFromImage(sitk.Resample(reference, grid, transform, sitk.sitkLinear, 0.0))
    both = inside & covered
    overlap = float(both.sum() / max(inside.sum(), 1))
    first, second = sitk.GetArrayFromImage(grid)[both], moved[both]
    if both.sum() < 10 or first.std() == 0 or second.std() == 0:
        return 0.0, overlap
    return float(np.corrcoef(first, second)[0, 1]), overlap


def _resample(reference: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """One interpolation, cubic so that sharpness survives, held to the reference's own range so that nothing rings."""
    values = sitk.GetArrayViewFromImage(reference)
    low, high = float(values.min()), float(values.max())
    moved = sitk.Resample(reference, grid, transform, sitk.sitkBSpline, low, sitk.sitkFloat32)
    return sitk.Clamp(moved, sitk.sitkFloat32, low, high)
