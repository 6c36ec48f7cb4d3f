"""SUVR of a PET volume and its table of regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation.atlas_space import custom_mask, to_template
from modality_synthesis.evaluation.label_map import describe_regions, region_labels
from modality_synthesis.evaluation.normal_cohort import read_normal_cohort
from modality_synthesis.evaluation.partial_volume import iterative_yang
from modality_synthesis.evaluation.region_table import AtlasGrid, RegionRow, region_table
from modality_synthesis.evaluation.regions import FEWEST_VOXELS
from modality_synthesis.evaluation.requests import check_way_of_atlas
from modality_synthesis.evaluation.suvr_checks import (
    check_is_pet,
    check_on_mri,
    check_template_space,
    check_uptake,
    pet_modality,
)
from modality_synthesis.evaluation.z_map import paint_z
from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing.atlas import reference_mask, regions
from modality_synthesis.preprocessing.meta_regions import CENTILOID
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import (
    Mark,
    array,
    atomic_files,
    check_outputs,
    check_writable,
    coverage_finding,
    derived_record,
    describe,
    find_coverage,
    image_like,
    read_image,
    read_mark,
    resample_covered,
    write_image,
    write_rows,
    write_sidecar,
)
from modality_synthesis.volumes.coverage import LOOK_BELOW

CUSTOM = "custom mask"
Volume: TypeAlias = str | Path | sitk.Image


@dataclass(frozen=True)
class SUVR:
    """A SUVR volume with its regions.

    Attributes:
        image: PET divided by the reference region's mean, on the PET's grid; NaN where the PET is NaN.
        reference_region: which.
        reference_mean: the PET's mean there, in the PET's units.
        reference_percent: how much of that region was measured.
        rows: regions and meta-regions.
        registration_dice: of the MRI with the template; None in template space.
        centiloid: of the amyloid summary; None without an amyloid tracer.
        pvc_fwhm_mm: point spread that was corrected for; None without correction.
        z_map: z-scores of the single regions on the PET's grid, 0 where none is known; None when not asked for.
        label_map: labels of the atlas' regions on the PET's grid, uint16, 0 elsewhere.
        mark: of a synthetic PET; None for a measured one.
        findings: what was found about PET, MRI, coverage and reference region.
    """

    image: sitk.Image
    reference_region: str
    reference_mean: float
    reference_percent: float
    rows: tuple[RegionRow, ...]
    registration_dice: float | None
    centiloid: float | None = None
    pvc_fwhm_mm: float | None = None
    z_map: sitk.Image | None = None
    label_map: sitk.Image | None = None
    mark: Mark | None = None
    findings: tuple[Finding, ...] = ()


def suvr(
    pet: Volume,
    output: str | Path | None = None,
    *,
    mri: Volume | None = None,
    template_space: bool = False,
    reference_region: str = "cerebellar-gray",
    custom_reference: Volume | None = None,
    normal_cohort: str | Path | None = None,
    tracer: str | None = None,
    pvc_fwhm_mm: float | None = None,
    image: str | Path | None = None,
    z_map: str | Path | None = None,
    label_map: str | Path | None = None,
    reporter: Reporter | None = None,
) -> SUVR:
    """Divide a PET by its reference region and tabulate its regions.

    The atlas is registered through the person's T1w MRI (affine), with which the PET must be aligned; a PET in template
    space needs no MRI. Whether the PET lies on the MRI, or in template space, is looked at. What was not measured (NaN,
    padding, outside the field of view) enters no figure; rows say how much of a region was.

    Args:
        pet: file or image, any linear units.
        output: CSV for the table; its sidecar `NAME.csv.json` states units and reference region. None writes none.
        mri: the person's T1w MRI.
        template_space: the PET lies in MNI152 space already.
        reference_region: one of `atlas.REFERENCE_REGIONS`.
        custom_reference: a mask to use instead, aligned with the PET.
        normal_cohort: table of healthy people (`read_normal_cohort`), measured with the same tracer and reference
            region: adds z-scores.
        tracer: florbetapir or florbetaben: adds Centiloids (whole cerebellum only).
        pvc_fwhm_mm: correct for this point spread (iterative Yang) before measuring; the SUVR volume is corrected too.
            The affine atlas' cortex is thinner than a person's: cortical values come out too high.
        image: file for the SUVR volume; its sidecar states units and reference region.
        z_map: file for a volume in which every region has its z-score; needs `normal_cohort`.
        label_map: file for the labels of the regions on the PET's grid; its sidecar names them and says where each is.
        reporter: receives progress and warnings.

    Raises:
        UsageError: neither or both of `mri` and `template_space`, or an unknown or unfitting choice.
        BadInputError: unreadable volumes, failed registration, a PET that lies elsewhere, or less than half of the
            reference region measured.
    """
    reporter = reporter or current()
    check_way_of_atlas("PET", mri, template_space, required=True)
    if reference_region not in REFERENCE_REGIONS:
        raise UsageError(f"Unknown reference region {reference_region!r}. Use one of {', '.join(REFERENCE_REGIONS)}.")
    _check_tracer(tracer, reference_region, custom_reference is not None)
    if pvc_fwhm_mm is not None and not 0 < pvc_fwhm_mm <= 20:
        raise UsageError(f"A point spread of {pvc_fwhm_mm:g} mm cannot be; PET scanners have 3 to 8 mm.")
    if z_map is not None and normal_cohort is None:
        raise UsageError("A z-map shows the distance from healthy people: add --normal-cohort TABLE.")
    check_outputs([], described=[output, image, z_map, label_map], inputs=[pet, mri, custom_reference, normal_cohort])
    for path, endings in ((output, [".csv"]), (image, None), (z_map, None), (label_map, None)):
        if path is not None:
            check_writable(path, **({"endings": endings} if endings else {}))
    normal = None if normal_cohort is None else read_normal_cohort(normal_cohort)
    found_before = len(reporter.findings)
    check_is_pet(pet, mri, reporter)
    raw = pet if isinstance(pet, sitk.Image) else read_image(pet, unmeasured=True, reporter=reporter)
    covered, mark = find_coverage(raw), _mark(pet)
    volume = image_like(np.where(covered, array(raw), 0.0).astype(np.float32), raw)
    name = "The PET" if isinstance(pet, sitk.Image) else Path(pet).name
    transform, dice = _way_to_template(mri, volume, covered, name, reporter)
    reporter.progress(0.8, "Measuring regions")
    atlas = AtlasGrid.of(volume, covered, transform)
    values = array(volume)
    check_uptake(values, np.where(covered, atlas.labels[atlas.inner], 0), name, reporter)
    if pvc_fwhm_mm is not None:
        spacing = (volume.GetSpacing()[2], volume.GetSpacing()[1], volume.GetSpacing()[0])
        values = iterative_yang(values, atlas.labels[atlas.inner], pvc_fwhm_mm, spacing, covered=covered)
    mask, percent, region = _reference(reference_region, custom_reference, volume, covered, atlas, transform)
    level = _reference_level(values, mask & covered, percent, region, name, reporter)
    scaled = values / level
    modality = pet_modality(pet, tracer)
    rows = region_table(scaled, atlas, normal, modality=modality, mark=mark)
    painted = None
    if z_map is not None and normal_cohort is not None:
        scores = {(row.region, row.hemisphere): row.z for row in rows}
        painted = paint_z(atlas.labels[atlas.inner], scores, regions(), Path(normal_cohort).name)
    labels = image_like(region_labels(atlas.labels[atlas.inner], regions()), volume)
    result = SUVR(
        image=image_like(np.where(np.isfinite(array(raw)), scaled, np.nan), volume),
        reference_region=region,
        reference_mean=level,
        reference_percent=percent,
        rows=rows,
        registration_dice=dice,
        centiloid=None if tracer is None else _centiloid(rows, tracer, name, reporter),
        pvc_fwhm_mm=pvc_fwhm_mm,
        z_map=None if painted is None else image_like(painted[0], volume),
        label_map=labels,
        mark=mark,
        findings=tuple(reporter.findings[found_before:]),
    )
    sources = {"pet": pet, "mri": mri, "reference mask": custom_reference}
    record = _sidecar(result, sources, modality, tracer, normal_cohort)
    with atomic_files():
        if output is not None:
            write_rows(Path(output), result.rows)
            write_sidecar(output, record)
        if image is not None:
            write_image(result.image, image, description=describe(f"SUVR, reference {region}", mark))
            write_sidecar(image, record)
        if z_map is not None and result.z_map is not None and painted is not None:
            write_image(result.z_map, z_map, description=describe(f"z-scores of SUVR, reference {region}", mark))
            write_sidecar(z_map, {**record, "Quantity": "z-score", "Units": "1", "Regions": painted[1]})
        if label_map is not None:
            write_image(labels, label_map, description=describe("labels of atlas regions", mark))
            named = describe_regions(labels, regions())
            write_sidecar(label_map, {**record, "Quantity": "label", "Units": "1", "Regions": named})
    reporter.progress(1.0, "Done")
    return result


def _mark(volume: Volume) -> Mark | None:
    return None if isinstance(volume, sitk.Image) else read_mark(volume)


def _check_tracer(tracer: str | None, reference_region: str, custom: bool) -> None:
    if tracer is None:
        return
    if tracer not in CENTILOID:
        raise UsageError(f"No Centiloid constants for the tracer {tracer!r}. Known: {', '.join(CENTILOID)}.")
    if custom or reference_region != "whole-cerebellum":
        raise UsageError(
            "Centiloid constants hold for the whole cerebellum as reference region only: add --reference-region "
            "whole-cerebellum."
        )


def _way_to_template(
    mri: Volume | None, pet: sitk.Image, covered: np.ndarray, name: str, reporter: Reporter
) -> tuple[sitk.Transform, float | None]:
    """The transform from the PET's world to the template's, and the registration's Dice; doubts go to the reporter."""
    if mri is None:
        check_template_space(pet, covered, name, reporter)
        return sitk.Transform(3, sitk.sitkIdentity), None
    source = mri if isinstance(mri, sitk.Image) else read_image(mri, reporter=reporter)
    check_on_mri(pet, source, name, reporter.part(0.02, 0.2))
    called = "The MRI" if isinstance(mri, sitk.Image) else Path(mri).name
    transform, quality = to_template(source, reporter.part(0.2, 0.8), called)
    return transform, quality["registration_dice"]


def _reference(
    name: str, custom: Volume | None, pet: sitk.Image, covered: np.ndarray, atlas: AtlasGrid, transform: sitk.Transform
) -> tuple[np.ndarray, float, str]:
    """The reference region on the PET's grid, the share of the whole of it that was measured, and its name."""
    if custom is None:
        whole = reference_mask(name, atlas.image, transform, atlas.labels)
        return whole[atlas.inner], atlas.percent(whole), name
    mask, image = custom_mask(custom, pet)
    inside = array(image) > 0.5
    _, seen = resample_covered(pet, covered, image, interpolator="nearest")
    return mask, 100 * float((inside & seen).sum() / inside.sum()), CUSTOM


def _reference_level(
    values: np.ndarray, mask: np.ndarray, percent: float, region: str, name: str, reporter: Reporter
) -> float:
    if not mask.any():
        raise BadInputError(
            f"{name}: the reference region {region} lies outside the PET's field of view. Is the PET aligned?"
        )
    coverage_finding(
        "reference-coverage", f"{name}: the reference region {region}", percent, reporter,
        action="Every SUVR depends on it: choose a reference region inside the field of view (--reference-region pons, "
        "for example, or --reference-mask), or check that the PET is aligned.",
    )  # fmt: skip
    if np.count_nonzero(mask) < FEWEST_VOXELS:
        raise BadInputError(
            f"{name}: the reference region {region} holds {np.count_nonzero(mask)} voxels, too few to divide by."
        )
    level = float(values[mask].mean())
    if level <= 0:
        raise BadInputError(
            f"{name}: the mean in the reference region {region} is {level:.3g}; SUVR needs a positive one."
        )
    return level


def _centiloid(rows: tuple[RegionRow, ...], tracer: str, name: str, reporter: Reporter) -> float:
    row = next(row for row in rows if row.region == "amyloid_global" and row.hemisphere == "both")
    if row.covered_percent < LOOK_BELOW:
        coverage_finding(
            "centiloid-coverage", f"{name}: the cortex that Centiloids are of", row.covered_percent, reporter,
            action="Do without --tracer.",
        )  # fmt: skip
    return CENTILOID[tracer].slope * row.suvr + CENTILOID[tracer].intercept


def _sidecar(
    result: SUVR,
    sources: dict[str, Volume | None],
    modality: str | None,
    tracer: str | None,
    normal_cohort: str | Path | None,
) -> dict[str, object]:
    files: dict[str, str | Path | None] = {
        role: None if isinstance(volume, sitk.Image) else volume for role, volume in sources.items()
    }
    record: dict[str, Any] = {
        **derived_record(result.mark, files),
        "Quantity": "SUVR",
        "Units": "SUVR",
        "Tracer": modality,
        "ReferenceRegion": result.reference_region,
        "ReferenceMean": result.reference_mean,
        "ReferenceCoveredPercent": round(result.reference_percent, 2),
        "RegistrationDice": result.registration_dice,
        "PartialVolumeCorrection": None
        if result.pvc_fwhm_mm is None
        else {
            "method": "iterative Yang (Erlandsson 2012)",
            "fwhm_mm": result.pvc_fwhm_mm,
            "limits": "The affine atlas' cortex is thinner than a person's, so that cortical values come out too high.",
        },
        "NormalCohort": None if normal_cohort is None else Path(normal_cohort).name,
        "Atlas": "Desikan-Killiany and aseg of MNI152, affine",
        "Findings": [finding.as_dict() for finding in result.findings],
        "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
    }
    if tracer is not None:
        constants = CENTILOID[tracer]
        record["Centiloid"] = {
            "value": result.centiloid,
            "tracer": tracer,
            "slope": constants.slope,
            "intercept": constants.intercept,
            "source": constants.source,
            "limits": "The constants were found with each person's own parcellation; the atlas here is only affine.",
        }
    return record
