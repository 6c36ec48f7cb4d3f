"""Two volumes of one person on one grid: the one way in which everything that compares volumes brings them there."""

from __future__ import annotations

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, describe_geometry, resample_like, same_geometry

LEAST_OVERLAP = 0.05  # of the reference's voxels


def on_grid_of(reference: sitk.Image, synthetic: sitk.Image, reporter: Reporter | None = None) -> sitk.Image:
    """The synthetic volume on the reference's grid: as it is, or resampled (linear) with a notice.

    Args:
        reference: whose grid.
        synthetic: in the same world.
        reporter: receives the notice; None where another grid is nothing unusual.

    Raises:
        BadInputError: the volumes hardly overlap.
    """
    if same_geometry(synthetic, reference):
        return synthetic
    if reporter is not None:
        reporter.warning(
            f"The volumes lie on different grids; the synthetic one was resampled onto the reference's "
            f"({describe_geometry(reference)})."
        )
    _require_overlap(synthetic, reference)
    return resample_like(synthetic, reference)


def mask_on_grid_of(reference: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """A mask on the reference's grid, resampled (nearest voxel) where it lies on another."""
    return mask if same_geometry(mask, reference) else resample_like(mask, reference, interpolator="nearest")


def _require_overlap(synthetic: sitk.Image, reference: sitk.Image) -> None:
    ones = sitk.Image(synthetic.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(synthetic)
    shared = array(resample_like(ones, reference, interpolator="nearest")) > 0.5
    if shared.mean() < LEAST_OVERLAP:
        raise BadInputError(
            "The synthetic volume and the reference hardly overlap in space. Are they of the same person and aligned? "
            "--register aligns the reference."
        )
