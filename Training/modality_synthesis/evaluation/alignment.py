"""Rigid co-registration of a reference with a synthetic volume of the same person, with a figure that says how good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding, Level
from modality_synthesis.preprocessing.pair_registration import (
    PairRegistration,
    head_foreground,
    register_pair,
    working_levels,
)
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import array, image_like, resample_covered

_RADIUS_MM = 80.0
# Correlation with the aligned reference in the foreground: volumes of another kind stay below the first, a synthesis of
# the same head that is worth comparing lies above the second. Measured, simulated FDG: own PET 0.96, others' 0.46 to
# 0.63.
REFUSE_BELOW = 0.15
WARN_BELOW = 0.7
_FAR_MM, _FAR_DEGREES, _ASKEW_DEGREES = 60.0, 45.0, 10.0


@dataclass(frozen=True)
class Alignment(PairRegistration):
    """A reference brought onto a synthetic volume's grid.

    Attributes:
        image: the aligned reference, float32, on the synthetic volume's grid.
        correlation: Pearson correlation in the synthetic volume's foreground before and after; the quality figure.
        overlap: share of the foreground that lies in the reference's field of view after alignment.
        covered: bool (z, y, x), where the aligned reference was measured.
    """

    image: sitk.Image
    correlation: tuple[float, float]
    overlap: float
    covered: np.ndarray

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


def align(
    reference: sitk.Image,
    synthetic: sitk.Image,
    reporter: Reporter | None = None,
    *,
    covered: np.ndarray | None = None,
) -> Alignment:
    """Register a reference rigidly to a synthetic volume of the same person (`preprocessing.register_pair`).

    Args:
        reference: float32 volume, moved.
        synthetic: float32 volume, stays.
        reporter: receives progress and doubts about the result (findings `alignment-agreement`, `alignment-motion`).
        covered: bool (z, y, x), where the reference was measured; everywhere when None.

    Raises:
        BadInputError: the volumes could not be brought to agree.
    """
    reporter = reporter or current()
    named = "The synthetic volume"
    foreground = head_foreground(synthetic, named)
    try:
        found = register_pair(reference, synthetic, foreground, head_foreground(reference, named), reporter=reporter)
    except RuntimeError as error:
        raise BadInputError(
            f"The reference could not be aligned with the synthetic volume: {str(error).splitlines()[-1].strip()}"
        ) from error
    identity = sitk.Euler3DTransform()
    grid = resample_isotropic(synthetic, working_levels(synthetic, reference)[-1])
    (before, _), (after, overlap) = (
        _agreement(reference, grid, foreground, transform) for transform in (identity, found.transform)
    )
    known = np.ones(reference.GetSize()[::-1], dtype=bool) if covered is None else covered
    moved, seen = _moved(reference, known, synthetic, found.transform)
    result = Alignment(found.transform, found.mutual_information, moved, (before, after), overlap, seen)
    _judge(result, reporter)
    return result


def motion_mm(found: PairRegistration) -> float:
    """How far a rigid registration moves a head: root mean square over a sphere of 80 mm (Jenkinson 1999), mm."""
    turn = found.matrix[:3, :3] - np.eye(3)
    return float(np.sqrt(_RADIUS_MM**2 / 5 * np.trace(turn.T @ turn) + found.shift_mm**2))


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
    level: Level = "look" if after < WARN_BELOW else "ok"
    agrees = "agrees poorly" if level == "look" else "agrees"
    text = f"The aligned reference {agrees} with the synthetic volume (correlation {after:.2f})."
    action = "Look at both before trusting the figures." if level == "look" else ""
    reporter.finding(Finding("alignment-agreement", level, text, action, round(after, 4), WARN_BELOW))
    far = result.rotation_degrees > _FAR_DEGREES or result.shift_mm > _FAR_MM
    if not far:
        # Nobody lies askew by 15 degrees to their own scan and agrees poorly with it: that is another head.
        far = after < WARN_BELOW and result.rotation_degrees > _ASKEW_DEGREES
    text = f"Aligning moved the reference by {result.shift_mm:.0f} mm and {result.rotation_degrees:.0f} degrees."
    action = "Are both of the same person?" if far else ""
    reporter.finding(
        Finding("alignment-motion", "look" if far else "ok", text, action, round(motion_mm(result), 2), _FAR_MM)
    )


def _moved(
    reference: sitk.Image, covered: np.ndarray, grid: sitk.Image, transform: sitk.Transform
) -> tuple[sitk.Image, np.ndarray]:
    """The reference on another grid (cubic, held to its own range) and where it was measured there."""
    values = sitk.GetArrayViewFromImage(reference)[covered]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    moved, seen = resample_covered(reference, covered, grid, transform=transform, interpolator="bspline")
    held = np.where(seen, np.clip(array(moved), low, high), 0.0)
    return image_like(held.astype(np.float32), grid), seen


def _agreement(
    reference: sitk.Image, grid: sitk.Image, foreground: sitk.Image, transform: sitk.Transform
) -> tuple[float, float]:
    """Correlation in the foreground that the reference covers, and the share of the foreground that it covers."""
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
