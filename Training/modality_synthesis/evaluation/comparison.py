"""Compare a synthetic volume with the real one: figures with their definitions, and difference maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.metrics import DEFINITIONS, Metrics, compare_arrays
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    array,
    describe_geometry,
    image_like,
    read_image,
    resample_like,
    same_geometry,
    write_image,
    write_json,
)


@dataclass(frozen=True)
class Comparison:
    """A synthetic volume against its reference, on the reference's grid.

    Attributes:
        metrics: figures inside the mask.
        data_range: of PSNR and SSIM, target units.
        mask_source: where the mask came from, in words.
        voxels: inside the mask.
        difference: synthetic - reference.
        absolute: its magnitude.
        relative: percent of the reference, 0 where the reference is below 5 % of the data range.
    """

    metrics: Metrics
    data_range: float
    mask_source: str
    voxels: int
    difference: sitk.Image
    absolute: sitk.Image
    relative: sitk.Image

    def as_dict(self) -> dict[str, object]:
        """Everything but the volumes, for JSON."""
        return {
            "metrics": self.metrics.as_dict(),
            "definitions": dict(DEFINITIONS),
            "data_range": self.data_range,
            "mask": self.mask_source,
            "voxels": self.voxels,
            "difference": "synthetic - reference, target units",
        }


def compare(
    synthetic: str | Path | sitk.Image,
    reference: str | Path | sitk.Image,
    output: str | Path | None = None,
    *,
    mask: str | Path | sitk.Image | None = None,
    difference: str | Path | None = None,
    data_range: float | None = None,
    reporter: Reporter | None = None,
) -> Comparison:
    """Compare two volumes of one person.

    A synthetic volume on another grid is resampled onto the reference's (linear), with a notice. Without a mask, voxels
    where the reference exceeds 5 % of its 99.9th percentile take part, so that the empty background does not.

    Args:
        synthetic: file or image.
        reference: file or image, same units.
        output: folder for `metrics.json`, `difference.nii.gz`, `absolute_difference.nii.gz` and
            `relative_difference.nii.gz`; None writes nothing.
        mask: file or image; above 0.5 is inside.
        difference: file for the signed difference map alone.
        data_range: of PSNR and SSIM; default the 99.9th percentile of the reference in the mask minus its minimum.
        reporter: receives progress and notices.

    Raises:
        BadInputError: unreadable volumes, no overlap, or an empty mask.
    """
    reporter = reporter or Reporter()
    reporter.progress(0.0, "Reading")
    wanted, made = _image(reference), _image(synthetic)
    if not same_geometry(made, wanted):
        reporter.warning(
            f"The volumes lie on different grids; the synthetic one was resampled onto the reference's "
            f"({describe_geometry(wanted)})."
        )
        _require_overlap(made, wanted)
        made = resample_like(made, wanted)
    inside, mask_source = _mask(mask, wanted)
    reporter.progress(0.3, "Measuring")
    first, second = array(made), array(wanted)
    scale = data_range or float(np.percentile(second[inside], 99.9) - second[inside].min())
    if scale <= 0:
        raise BadInputError("The reference is constant inside the mask; nothing can be compared.")
    error = first - second
    floor = 0.05 * scale
    result = Comparison(
        metrics=compare_arrays(first, second, inside, scale),
        data_range=round(scale, 6),
        mask_source=mask_source,
        voxels=int(inside.sum()),
        difference=image_like(error, wanted),
        absolute=image_like(np.abs(error), wanted),
        relative=image_like(
            np.where(np.abs(second) > floor, 100 * error / np.where(second == 0, 1, second), 0.0), wanted
        ),
    )
    reporter.progress(0.8, "Writing")
    _write(result, None if output is None else Path(output), difference)
    reporter.progress(1.0, "Done")
    return result


def _image(volume: str | Path | sitk.Image) -> sitk.Image:
    return sitk.Cast(volume, sitk.sitkFloat32) if isinstance(volume, sitk.Image) else read_image(volume)


def _require_overlap(first: sitk.Image, second: sitk.Image) -> None:
    ones = sitk.Image(first.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(first)
    shared = array(resample_like(ones, second, interpolator="nearest")) > 0.5
    if shared.mean() < 0.05:
        raise BadInputError(
            "The synthetic volume and the reference hardly overlap in space. Are they of the same person and aligned?"
        )


def _mask(mask: str | Path | sitk.Image | None, reference: sitk.Image) -> tuple[np.ndarray, str]:
    if mask is None:
        values = array(reference)
        threshold = 0.05 * float(np.percentile(values, 99.9))
        inside, source = values > threshold, f"reference above {threshold:.4g} (5 % of its 99.9th percentile)"
    else:
        image = _image(mask)
        if not same_geometry(image, reference):
            image = resample_like(image, reference, interpolator="nearest")
        inside, source = array(image) > 0.5, "given"
    if not inside.any():
        raise BadInputError("The mask is empty on the reference's grid.")
    return inside, source


def _write(result: Comparison, folder: Path | None, difference: str | Path | None) -> None:
    if difference is not None:
        write_image(result.difference, difference, description="synthetic - reference")
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_image(result.difference, folder / "difference.nii.gz", description="synthetic - reference")
    write_image(result.absolute, folder / "absolute_difference.nii.gz", description="|synthetic - reference|")
    write_image(
        result.relative, folder / "relative_difference.nii.gz", description="100 (synthetic - reference) / reference"
    )
    write_json(result.as_dict(), folder / "metrics.json")
