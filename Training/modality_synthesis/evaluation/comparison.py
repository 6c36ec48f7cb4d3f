"""Compare a synthetic volume with the real one: figures with their definitions, difference maps and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.alignment import Alignment, align
from modality_synthesis.evaluation.atlas_space import to_template
from modality_synthesis.evaluation.calibration import Calibration, calibrate
from modality_synthesis.evaluation.metrics import DEFINITIONS, METRICS, compare_arrays
from modality_synthesis.evaluation.regions import Parcels, RegionComparison, compare_regions
from modality_synthesis.evaluation.requests import check_report, check_way_of_atlas
from modality_synthesis.evaluation.signal import covered, is_of_a_model, is_signal, sidecar_record, with_signal
from modality_synthesis.evaluation.signal import match_signal as match
from modality_synthesis.evaluation.similarity import scale_count
from modality_synthesis.preprocessing.atlas import labels_on, regions
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import (
    array,
    atomic_files,
    check_outputs,
    check_writable,
    describe_geometry,
    file_sha256,
    image_like,
    read_image,
    refuse_foreign_json,
    resample_like,
    same_geometry,
    write_image,
    write_json,
    write_rows,
)

# Files of a comparison's folder, and what they hold.
MAPS = {
    "difference": "synthetic - reference",
    "absolute_difference": "|synthetic - reference|",
    "relative_difference": "100 (synthetic - reference) / reference",
}
ALIGNED = "reference_aligned"
WHOLE = "the whole volume, background included"


@dataclass(frozen=True)
class Comparison:
    """A synthetic volume against its reference, on the reference's grid (the synthetic volume's after alignment).

    Attributes:
        metrics: figures inside the mask, by the names of `metrics.DEFINITIONS`.
        whole_volume: the same figures over the whole volume, where an empty background counts.
        data_range: of PSNR, SSIM and MS-SSIM, target units.
        data_range_source: where it came from, in words.
        mask_source: where the mask came from, in words.
        voxels: inside the mask.
        difference: synthetic - reference.
        absolute: its magnitude.
        relative: percent of the reference, 0 where the reference is below 5 % of the data range.
        synthetic: what was compared, on the common grid.
        reference: what it was compared with.
        inside: the mask, bool (z, y, x).
        scales: of MS-SSIM, inside the mask and over the whole volume.
        alignment: how the reference was moved; None when it was not.
        signal_factor: what the reference was multiplied by; None where the volumes have a unit, or nothing matches.
        unmatched: why signals were not matched although they have no unit; None otherwise.
        regions: figures per atlas region; empty without a way to the atlas.
        calibration: of the uncertainty; None when none was given.
        inputs: names and hashes of the files, and the synthetic volume's provenance record when it has one.
    """

    metrics: dict[str, float]
    whole_volume: dict[str, float]
    data_range: float
    data_range_source: str
    mask_source: str
    voxels: int
    difference: sitk.Image
    absolute: sitk.Image
    relative: sitk.Image
    synthetic: sitk.Image
    reference: sitk.Image
    inside: np.ndarray
    scales: tuple[int, int]
    alignment: Alignment | None = None
    signal_factor: float | None = None
    unmatched: str | None = None
    regions: tuple[RegionComparison, ...] = ()
    calibration: Calibration | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Everything but the volumes, for JSON."""
        share = self.voxels / self.inside.size
        return {
            "metrics": self.metrics,
            "whole_volume": self.whole_volume,
            "definitions": dict(DEFINITIONS),
            "details": {name: self._details(name) for name in self.metrics},
            "data_range": self.data_range,
            "data_range_source": self.data_range_source,
            "mask": self.mask_source,
            "voxels": self.voxels,
            "background": {
                "share": 1 - share,
                "psnr_gain_db": self.whole_volume["PSNR"] - self.metrics["PSNR"],
                "note": "What the background adds to PSNR when the whole volume is compared; an empty one adds "
                "-10 log10(share inside the mask).",
            },
            "difference": "synthetic - reference, target units",
            "reference_multiplied_by": self.signal_factor,
            "reference_not_scaled_because": self.unmatched,
            "registration": None if self.alignment is None else self.alignment.as_dict(),
            "regions": [asdict(row) for row in self.regions],
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "inputs": dict(self.inputs),
            "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
        }

    def _details(self, name: str) -> dict[str, object]:
        metric = METRICS[name]
        details: dict[str, object] = {
            "unit": metric.unit,
            "ideal": metric.ideal,
            "better": metric.better,
            "data_range": self.data_range if metric.uses_data_range else None,
            "mask": {"metrics": self.mask_source, "whole_volume": WHOLE},
        }
        return details | ({"scales": list(self.scales)} if name == "MS-SSIM" else {})


def compare(
    synthetic: str | Path | sitk.Image,
    reference: str | Path | sitk.Image,
    output: str | Path | None = None,
    *,
    mask: str | Path | sitk.Image | None = None,
    difference: str | Path | None = None,
    data_range: float | None = None,
    register: bool = False,
    match_signal: bool | None = None,
    mri: str | Path | sitk.Image | None = None,
    template_space: bool = False,
    uncertainty: str | Path | sitk.Image | None = None,
    report: bool = False,
    reporter: Reporter | None = None,
) -> Comparison:
    """Compare two volumes of one person.

    A synthetic volume on another grid is resampled onto the reference's (linear), with a notice. Without a mask, voxels
    where the reference exceeds 5 % of its 99.9th percentile take part, so that the empty background does not.

    Args:
        synthetic: file or image.
        reference: file or image, same units.
        output: folder for `metrics.json`, `difference.nii.gz`, `absolute_difference.nii.gz`,
            `relative_difference.nii.gz` and what is asked for below; None writes nothing.
        mask: file or image; above 0.5 is inside.
        difference: file for the signed difference map alone.
        data_range: of PSNR and SSIM; default the 99.9th percentile of the reference in the mask minus its minimum.
        register: align the reference rigidly with the synthetic volume first; both are then compared on the synthetic
            volume's grid, and `reference_aligned.nii.gz` goes into `output`. A mask must fit the synthetic volume then.
        match_signal: the volumes are MRI, whose signal has no unit: multiply the reference by the factor with the least
            mean absolute difference in the mask, and compare where the synthetic volume holds something. None asks the
            synthetic volume's sidecar. A synthetic volume of nearly one value is not matched, with a warning.
        mri: the person's T1w MRI, aligned with the compared volumes: adds a table of atlas regions (`regions.csv`).
        template_space: both volumes lie in MNI152 space: adds the table without an MRI.
        uncertainty: standard deviation of the synthetic volume, on its grid: adds calibration.
        report: also write `report.html` and, where fpdf2 is installed, `report.pdf`.
        reporter: receives progress and notices.

    Raises:
        UsageError: both `mri` and `template_space`, or a report without a folder.
        BadInputError: unreadable volumes, no overlap, no agreement after alignment, or an empty mask.
    """
    reporter = reporter or current()
    check_way_of_atlas("volumes", mri, template_space, required=False)
    check_report(report, output)
    _check_outputs(output, difference, register, report, (synthetic, reference, mask, mri, uncertainty))
    reporter.progress(0.0, "Reading")
    wanted, made = _image(reference, reporter), _image(synthetic, reporter)
    spread = None if uncertainty is None else _image(uncertainty, reporter)
    alignment = align(wanted, made, reporter.part(0.02, 0.3)) if register else None
    if alignment is not None:
        wanted = alignment.image
    if not same_geometry(made, wanted):
        reporter.warning(
            f"The volumes lie on different grids; the synthetic one was resampled onto the reference's "
            f"({describe_geometry(wanted)})."
        )
        _require_overlap(made, wanted)
        made = resample_like(made, wanted)
    inside, mask_source = _mask(mask, wanted, reporter)
    factor, unmatched, shown = None, None, None
    signal = is_signal(synthetic) if match_signal is None else match_signal
    if signal or (mask is None and is_of_a_model(synthetic)):
        shown = covered(made)
        inside = inside & shown
        mask_source += ", and the synthetic volume holds something"
        if not inside.any():
            raise BadInputError("The synthetic volume holds nothing where the reference has signal.")
    if signal:
        factor, unmatched = match(array(made), array(wanted), inside, reporter)
        wanted = wanted if factor is None else wanted * factor
    reporter.progress(0.3, "Measuring")
    first, second = array(made), array(wanted)
    scale = data_range or float(np.percentile(second[inside], 99.9) - second[inside].min())
    if scale <= 0:
        raise BadInputError("The reference is constant inside the mask; nothing can be compared.")
    # Where nothing was synthesized (skull, scalp) there is nothing to be wrong.
    error = first - second if shown is None else np.where(shown, first - second, 0.0)
    measure = partial(compare_arrays, spacing=tuple(reversed(wanted.GetSpacing())), slice_axis=_slice_axis(wanted))
    floor = 0.05 * scale
    result = Comparison(
        metrics=measure(first, second, inside, scale),
        whole_volume=measure(first, second, None, scale),
        data_range=round(scale, 6),
        data_range_source="given" if data_range else "99.9th percentile of the reference in the mask minus its minimum",
        mask_source=mask_source,
        voxels=int(inside.sum()),
        difference=image_like(error, wanted),
        absolute=image_like(np.abs(error), wanted),
        relative=image_like(
            np.where(np.abs(second) > floor, 100 * error / np.where(second == 0, 1, second), 0.0), wanted
        ),
        synthetic=made,
        reference=wanted,
        inside=inside,
        scales=(scale_count(_extent(inside)), scale_count(inside.shape)),
        alignment=alignment,
        signal_factor=factor,
        unmatched=unmatched,
        regions=_regions(mri, template_space, made, wanted, reporter.part(0.5, 0.8)),
        calibration=None if spread is None else calibrate(error, array(resample_like(spread, wanted)), inside),
        inputs=_inputs(synthetic=synthetic, reference=reference, mask=mask, mri=mri, uncertainty=uncertainty),
    )
    reporter.progress(0.8, "Writing")
    with atomic_files():
        _write(result, None if output is None else Path(output), difference)
        if report and output is not None:
            from modality_synthesis.evaluation.report import write_comparison_report

            write_comparison_report(result, Path(output), reporter)
    reporter.progress(1.0, "Done")
    return result


def _check_outputs(
    output: str | Path | None, difference: str | Path | None, register: bool, report: bool, inputs: Sequence[object]
) -> None:
    folder = None if output is None else Path(output)
    maps = [f"{name}.nii.gz" for name in (*MAPS, *([ALIGNED] if register else []))]
    tables = ["metrics.json", "regions.csv", *(["report.html", "report.pdf"] if report else [])]
    check_outputs(
        [] if folder is None else [folder / name for name in tables],
        described=[difference, *([] if folder is None else [folder / name for name in maps])],
        inputs=inputs,
    )
    if folder is not None:
        refuse_foreign_json([folder / "metrics.json"])
        check_writable(folder / "metrics.json", endings=[".json"])
    if difference is not None:
        check_writable(difference)


def _image(volume: str | Path | sitk.Image, reporter: Reporter) -> sitk.Image:
    if isinstance(volume, sitk.Image):
        return sitk.Cast(volume, sitk.sitkFloat32)
    return read_image(volume, reporter=reporter)


def _require_overlap(first: sitk.Image, second: sitk.Image) -> None:
    ones = sitk.Image(first.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(first)
    shared = array(resample_like(ones, second, interpolator="nearest")) > 0.5
    if shared.mean() < 0.05:
        raise BadInputError(
            "The synthetic volume and the reference hardly overlap in space. Are they of the same person and aligned? "
            "--register aligns the reference."
        )


def _mask(mask: str | Path | sitk.Image | None, reference: sitk.Image, reporter: Reporter) -> tuple[np.ndarray, str]:
    if mask is None:
        inside, threshold = with_signal(array(reference))
        source = f"reference above {threshold:.4g} (5 % of its 99.9th percentile)"
    else:
        image = _image(mask, reporter)
        if not same_geometry(image, reference):
            image = resample_like(image, reference, interpolator="nearest")
        inside, source = array(image) > 0.5, "given"
    if not inside.any():
        raise BadInputError("The mask is empty on the reference's grid.")
    return inside, source


def _slice_axis(image: sitk.Image) -> int:
    """The array axis that runs closest to inferior-superior."""
    vertical = np.abs(np.array(image.GetDirection()).reshape(3, 3)[2])
    return 2 - int(np.argmax(vertical))


def _extent(inside: np.ndarray) -> tuple[int, ...]:
    hits = np.nonzero(inside)
    return tuple(int(axis.max() - axis.min()) + 1 for axis in hits)


def _regions(
    mri: str | Path | sitk.Image | None,
    template_space: bool,
    synthetic: sitk.Image,
    reference: sitk.Image,
    reporter: Reporter,
) -> tuple[RegionComparison, ...]:
    if mri is None and not template_space:
        return ()
    transform = sitk.Transform(3, sitk.sitkIdentity) if mri is None else to_template(mri, reporter)[0]
    parcels = Parcels(labels_on(reference, transform))
    voxel_ml = float(np.prod(reference.GetSpacing())) / 1000
    return compare_regions(array(synthetic), array(reference), parcels, regions(), voxel_ml)


def _inputs(**volumes: str | Path | sitk.Image | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for role, volume in volumes.items():
        if isinstance(volume, (str, Path)):
            facts[role] = {"file": Path(volume).name, "sha256": file_sha256(volume)}
    synthetic = volumes["synthetic"]
    if isinstance(synthetic, (str, Path)):
        facts["synthetic"]["provenance"] = sidecar_record(synthetic) or None
    return facts


def _write(result: Comparison, folder: Path | None, difference: str | Path | None) -> None:
    if difference is not None:
        write_image(result.difference, difference, description="synthetic - reference")
    if folder is None:
        return
    shown = (result.difference, result.absolute, result.relative)
    maps = {name: (image, words) for (name, words), image in zip(MAPS.items(), shown, strict=True)}
    if result.alignment is not None:
        maps[ALIGNED] = (result.alignment.image, "reference, aligned rigidly")
    for name, (image, description) in maps.items():
        write_image(image, folder / f"{name}.nii.gz", description=description)
    if result.regions:
        write_rows(folder / "regions.csv", result.regions)
    write_json(result.as_dict(), folder / "metrics.json")
