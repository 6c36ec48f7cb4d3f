"""Two volumes that are to be compared, on one grid, each with its coverage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.alignment import Alignment, align
from modality_synthesis.evaluation.signal import with_signal
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    array,
    coverage_finding,
    describe_geometry,
    filled,
    find_coverage,
    read_image,
    resample_covered,
    resample_like,
    same_geometry,
)
from modality_synthesis.volumes.coverage import LOOK_BELOW


@dataclass(frozen=True)
class CommonGrid:
    """A synthetic volume and its reference on the reference's grid (the synthetic volume's after alignment).

    Attributes:
        synthetic: float32 volume, 0 where it holds nothing.
        reference: same.
        made: bool (z, y, x), where the synthetic volume has a value. A 0 in the head is an error.
        measured: where the reference was measured (`find_coverage`).
        alignment: how the reference was moved; None when it was not.
        covered_percent: of what the synthetic volume shows, on its own grid, that the reference measured.
    """

    synthetic: sitk.Image
    reference: sitk.Image
    made: np.ndarray
    measured: np.ndarray
    alignment: Alignment | None
    covered_percent: float

    @cached_property
    def filled_in(self) -> np.ndarray:
        """Where the synthetic volume holds something, zones of zeros left out (`find_coverage`)."""
        return self.made & find_coverage(self.synthetic)

    @property
    def both(self) -> np.ndarray:
        """Where both hold something."""
        return self.made & self.measured

    @property
    def comparable(self) -> np.ndarray:
        """Everywhere but where only one of them holds a signal because the other was not measured: air counts."""
        shown, seen = self.made & with_signal(array(self.synthetic))[0], self.measured
        seen = seen & with_signal(array(self.reference))[0]
        return ~((shown & ~self.measured) | (seen & ~self.made))


def read_volume(volume: str | Path | sitk.Image, reporter: Reporter) -> sitk.Image:
    """A volume in which NaN may mark what was not measured, float32."""
    if isinstance(volume, sitk.Image):
        return sitk.Cast(volume, sitk.sitkFloat32)
    return read_image(volume, unmeasured=True, reporter=reporter)


def on_common_grid(
    synthetic: sitk.Image, reference: sitk.Image, *, register: bool, brain_only: bool, reporter: Reporter
) -> CommonGrid:
    """Bring two volumes onto one grid.

    Args:
        synthetic: volume (`read_volume`).
        reference: same.
        register: align the reference with the synthetic volume first.
        brain_only: the synthetic volume shows a brain and nothing else, so that all of it should have been measured; of
            a whole head the reference may be without its scalp.
        reporter: receives progress, doubts, and the finding `reference-coverage`.

    Raises:
        BadInputError: no overlap, no agreement after alignment, or less than half of what the synthetic volume shows
            was measured.
    """
    made, made_there = filled(synthetic), np.isfinite(array(synthetic))
    wanted, measured = filled(reference), find_coverage(reference)
    alignment = align(wanted, made, reporter, covered=measured) if register else None
    shown = with_signal(array(made))[0] & made_there
    if alignment is not None:
        wanted, measured = alignment.image, alignment.covered
        seen = measured
    else:
        _, seen = resample_covered(wanted, measured, made, interpolator="nearest")
    if not same_geometry(made, wanted):
        reporter.warning(
            f"The volumes lie on different grids; the synthetic one was resampled onto the reference's "
            f"({describe_geometry(wanted)})."
        )
        if not (seen & shown).any() or np.count_nonzero(seen) < 0.05 * min(seen.size, measured.size):
            raise BadInputError(
                "The synthetic volume and the reference hardly overlap in space. Are they of the same person and "
                "aligned? --register aligns the reference."
            )
        made, made_there = resample_covered(made, made_there, wanted)
    percent = 100 * float((seen & shown).sum() / max(shown.sum(), 1))
    coverage_finding(
        "reference-coverage", "What the synthetic volume shows", percent, reporter,
        action="Figures are of that part alone; compare with a reference that shows the whole brain.",
        refuse=brain_only,
    )  # fmt: skip
    return CommonGrid(made, wanted, made_there, measured, alignment, round(percent, 2))


def mask_on_grid_of(reference: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """A mask on the reference's grid, resampled (nearest voxel) where it lies on another."""
    return mask if same_geometry(mask, reference) else resample_like(mask, reference, interpolator="nearest")


def say_what_was_made(inside: np.ndarray, there: np.ndarray, reporter: Reporter) -> None:
    """Say how much of a mask a synthetic volume holds nothing in: no value, or zeros as after cutting.

    Args:
        inside: the mask.
        there: where the volume holds something (`CommonGrid.filled_in`).
        reporter: receives the finding `synthetic-coverage`.
    """
    percent = 100 * float((inside & there).sum() / max(inside.sum(), 1))
    if percent >= LOOK_BELOW:
        return
    text = f"The synthetic volume holds something in {percent:.0f} % of the mask only; zeros count as errors."
    action = "Is it cut off, or of the brain alone? A brain mask (--mask) says what is to be compared."
    reporter.finding(Finding("synthetic-coverage", "look", text, action, round(percent, 2), LOOK_BELOW))
