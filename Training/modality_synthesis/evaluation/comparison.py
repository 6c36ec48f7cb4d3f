"""Compare a synthetic volume with the real one: figures with their definitions, difference maps and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.alignment import Alignment
from modality_synthesis.evaluation.atlas_space import to_template
from modality_synthesis.evaluation.calibration import Calibration, calibrate
from modality_synthesis.evaluation.common_grid import (
    CommonGrid,
    mask_on_grid_of,
    on_common_grid,
    read_volume,
    say_what_was_made,
)
from modality_synthesis.evaluation.comparison_checks import check_person, check_roles, check_units, statement
from modality_synthesis.evaluation.data_range import known_range, measured_range
from modality_synthesis.evaluation.metrics import DEFINITIONS, METRICS, compare_arrays
from modality_synthesis.evaluation.reference_checks import doubt_reference
from modality_synthesis.evaluation.region_comparison import RegionComparison, compare_regions
from modality_synthesis.evaluation.region_table import AtlasGrid
from modality_synthesis.evaluation.requests import check_report, check_way_of_atlas
from modality_synthesis.evaluation.signal import covered, is_of_a_model, is_signal, sidecar_record, with_signal
from modality_synthesis.evaluation.signal import match_signal as match
from modality_synthesis.evaluation.similarity import scale_count
from modality_synthesis.evaluation.suvr_checks import check_on_mri, check_template_space, pet_modality
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import (
    Mark,
    array,
    atomic_files,
    check_outputs,
    check_writable,
    derived_record,
    describe,
    file_sha256,
    filled,
    image_like,
    read_image,
    read_mark,
    refuse_foreign_json,
    resample_like,
    write_image,
    write_json,
    write_rows,
    write_sidecar,
)
from modality_synthesis.volumes.marks import first_mark

# Files of a comparison's folder, and what they hold.
MAPS = {
    "difference": "synthetic - reference",
    "absolute_difference": "|synthetic - reference|",
    "relative_difference": "100 (synthetic - reference) / reference",
    "compared": "1 where both were measured and one of them shows more than air",
}
ALIGNED = "reference_aligned"
WHOLE = "the whole volume, background included"
Volume: TypeAlias = str | Path | sitk.Image


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
        compared: where the difference means something, bool, same shape: both were measured, and one of them shows more
            than air. It holds the mask and what lies around it.
        scales: of MS-SSIM, inside the mask and over the whole volume.
        alignment: how the reference was moved; None when it was not.
        signal_factor: what the reference was multiplied by; None where the volumes have a unit, or nothing matches.
        unmatched: why signals were not matched although they have no unit; None otherwise.
        regions: figures per atlas region; empty without a way to the atlas.
        calibration: of the uncertainty; None when none was given.
        inputs: names and hashes of the files, and the synthetic volume's provenance record when it has one.
        covered_percent: of what the synthetic volume shows that the reference measured.
        mark: of the synthetic volume; None when nothing says that it is one.
        reference_mark: of the reference; None as it should be.
        findings: what was found about the two.
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
    compared: np.ndarray
    scales: tuple[int, int]
    alignment: Alignment | None = None
    signal_factor: float | None = None
    unmatched: str | None = None
    regions: tuple[RegionComparison, ...] = ()
    calibration: Calibration | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    covered_percent: float = 100.0
    mark: Mark | None = None
    reference_mark: Mark | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def statement(self) -> str:
        """What was compared with what, in words that claim no more than was looked at."""
        return statement(self.mark, self.reference_mark, self.findings)

    def as_dict(self) -> dict[str, object]:
        """Everything but the volumes, for JSON."""
        share = self.voxels / self.inside.size
        return {
            "statement": self.statement,
            "findings": [finding.as_dict() for finding in self.findings],
            "SyntheticData": self.mark is not None,
            "reference_synthetic": self.reference_mark is not None,
            "covered_percent": self.covered_percent,
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
            "difference": "synthetic - reference, target units; 0 where one of them holds nothing",
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
    """Compare two volumes of one person; whether they are is looked at, and said.

    A synthetic volume on another grid is resampled onto the reference's (linear), with a notice. Without a mask, voxels
    where the reference exceeds 5 % of its 99.9th percentile take part, so that the empty background does not.

    Args:
        synthetic: file or image.
        reference: file or image, same units.
        output: folder for `metrics.json`, `difference.nii.gz`, `absolute_difference.nii.gz`,
            `relative_difference.nii.gz`, `compared.nii.gz` (where these maps mean something) and what is asked for
            below; None writes nothing.
        mask: file or image; above 0.5 is inside.
        difference: file for the signed difference map alone.
        data_range: of PSNR and SSIM; default that of `data_range.known_range`, as `evaluate` has it.
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
        BadInputError: unreadable volumes, no overlap, no agreement, another unit, swapped arguments, less than half of
            the synthetic volume measured in the reference, or an empty mask.
    """
    reporter = reporter or current()
    check_way_of_atlas("volumes", mri, template_space, required=False)
    check_report(report, output)
    _check_outputs(output, difference, register, report, (synthetic, reference, mask, mri, uncertainty))
    reporter.progress(0.0, "Reading")
    found_before = len(reporter.findings)
    marks = _mark(synthetic), _mark(reference)
    check_roles(*marks, (_name(synthetic, "The first volume"), _name(reference, "The second volume")), reporter)
    volumes = [read_volume(volume, reporter) for volume in (synthetic, reference)]
    if not isinstance(reference, sitk.Image) and not isinstance(synthetic, sitk.Image):
        doubt_reference(filled(volumes[1]), Path(reference), Path(synthetic), reporter)
    spread = None if uncertainty is None else filled(read_volume(uncertainty, reporter))
    of_model = is_of_a_model(synthetic)
    common = on_common_grid(*volumes, register=register, brain_only=of_model, reporter=reporter.part(0.02, 0.3))
    made, wanted = common.synthetic, common.reference
    inside, mask_source = _mask(mask, wanted, common.measured, reporter)
    factor, unmatched, shown = None, None, None
    signal = is_signal(synthetic) if match_signal is None else match_signal
    if signal or (mask is None and of_model):
        shown = covered(made)
        inside = inside & shown
        mask_source += ", and the synthetic volume holds something"
    else:
        say_what_was_made(inside, common.filled_in, reporter)
    inside = inside & common.both
    if not inside.any():
        raise BadInputError("The synthetic volume holds nothing where the reference has signal.")
    check_person(array(made), array(wanted), inside & common.filled_in, register, reporter)
    if signal:
        factor, unmatched = match(array(made), array(wanted), inside, reporter)
        wanted = wanted if factor is None else wanted * factor
    elif match_signal is None:
        records = (sidecar_record(synthetic), sidecar_record(reference))
        check_units(array(made), array(wanted), inside, records, reporter)
    reporter.progress(0.3, "Measuring")
    first, second = array(made), array(wanted)
    # A reference MRI that was not brought to the model's signal has a range of its own.
    record = {} if signal and factor is None else sidecar_record(synthetic)
    scale, scale_source = known_range(record, data_range) or measured_range(second, inside)
    if scale <= 0:
        raise BadInputError("The reference is constant inside the mask; nothing can be compared.")
    # Where nothing was synthesized (skull, scalp) or measured there is nothing to be wrong.
    comparable = common.comparable
    comparable_here = comparable if shown is None else comparable & shown
    error = np.where(comparable_here, first - second, 0.0)
    compared = inside | (comparable_here & common.both & (with_signal(first)[0] | with_signal(second)[0]))
    measure = partial(compare_arrays, spacing=tuple(reversed(wanted.GetSpacing())), slice_axis=_slice_axis(wanted))
    floor = 0.05 * scale
    result = Comparison(
        metrics=measure(first, second, inside, scale),
        whole_volume=measure(first, second, None if comparable.all() else comparable, scale),
        data_range=round(scale, 6),
        data_range_source=scale_source,
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
        compared=compared,
        scales=(scale_count(_extent(inside)), scale_count(inside.shape)),
        alignment=common.alignment,
        signal_factor=factor,
        unmatched=unmatched,
        regions=_regions(
            mri,
            template_space,
            replace(common, reference=wanted),
            first_mark(marks),
            pet_modality(synthetic, None),
            signal,
            reporter.part(0.5, 0.8),
        ),
        calibration=None if spread is None else calibrate(error, array(resample_like(spread, wanted)), inside),
        inputs=_inputs(synthetic=synthetic, reference=reference, mask=mask, mri=mri, uncertainty=uncertainty),
        covered_percent=common.covered_percent,
        mark=marks[0],
        reference_mark=marks[1],
    )
    result = replace(result, findings=tuple(reporter.findings[found_before:]))
    sources = {"synthetic": synthetic, "reference": reference}
    reporter.progress(0.8, "Writing")
    with atomic_files():
        _write(result, None if output is None else Path(output), difference, sources)
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


def _mark(volume: Volume) -> Mark | None:
    return None if isinstance(volume, sitk.Image) else read_mark(volume)


def _name(volume: Volume, otherwise: str) -> str:
    return otherwise if isinstance(volume, sitk.Image) else Path(volume).name


def _mask(
    mask: Volume | None, reference: sitk.Image, measured: np.ndarray, reporter: Reporter
) -> tuple[np.ndarray, str]:
    if mask is None:
        inside, threshold = with_signal(array(reference))
        inside, source = inside & measured, f"reference above {threshold:.4g} (5 % of its 99.9th percentile)"
    else:
        inside, source = array(mask_on_grid_of(reference, read_volume(mask, reporter))) > 0.5, "given"
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
    mri: Volume | None,
    template_space: bool,
    common: CommonGrid,
    mark: Mark | None,
    modality: str | None,
    signal: bool,
    reporter: Reporter,
) -> tuple[RegionComparison, ...]:
    if mri is None and not template_space:
        return ()
    transform = sitk.Transform(3, sitk.sitkIdentity)
    if mri is not None:
        source = mri if isinstance(mri, sitk.Image) else read_image(mri, reporter=reporter)
        check_on_mri(common.reference, source, "The reference", reporter)
        transform = to_template(source, reporter, _name(mri, "The MRI"))[0]
    elif not signal:
        check_template_space(common.reference, common.measured, "The reference", reporter)
    atlas = AtlasGrid.of(common.reference, common.both, transform)
    return compare_regions(array(common.synthetic), array(common.reference), atlas, modality=modality, mark=mark)


def _inputs(**volumes: str | Path | sitk.Image | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for role, volume in volumes.items():
        if isinstance(volume, (str, Path)):
            facts[role] = {"file": Path(volume).name, "sha256": file_sha256(volume)}
    synthetic = volumes["synthetic"]
    if isinstance(synthetic, (str, Path)):
        facts["synthetic"]["provenance"] = sidecar_record(synthetic) or None
    return facts


def _write(
    result: Comparison, folder: Path | None, difference: str | Path | None, sources: Mapping[str, Volume]
) -> None:
    if difference is not None:
        _write_map(result.difference, difference, MAPS["difference"], result.mark or result.reference_mark, sources)
    if folder is None:
        return
    compared = image_like(result.compared.astype(np.uint8), result.reference)
    shown = (result.difference, result.absolute, result.relative, compared)
    maps = {name: (image, words) for (name, words), image in zip(MAPS.items(), shown, strict=True)}
    for name, (image, words) in maps.items():
        _write_map(image, folder / f"{name}.nii.gz", words, result.mark or result.reference_mark, sources)
    if result.alignment is not None:
        moved = {"reference": sources["reference"]}
        path = folder / f"{ALIGNED}.nii.gz"
        _write_map(result.alignment.image, path, "reference, aligned rigidly", result.reference_mark, moved)
    if result.regions:
        write_rows(folder / "regions.csv", result.regions)
    write_json(result.as_dict(), folder / "metrics.json")


def _write_map(
    image: sitk.Image, path: str | Path, words: str, mark: Mark | None, sources: Mapping[str, Volume]
) -> None:
    """Write a volume that was derived; what comes from synthetic data gets the mark and a sidecar that hands it on."""
    write_image(image, path, description=describe(words, mark))
    if mark is None:
        return
    files = {role: None if isinstance(volume, sitk.Image) else volume for role, volume in sources.items()}
    record = derived_record(mark, files)
    program = [{"Name": "modality-synthesis", "Version": __version__}]
    write_sidecar(path, {**record, "Description": words, "GeneratedBy": program})
