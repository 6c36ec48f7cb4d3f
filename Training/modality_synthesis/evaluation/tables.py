"""SUVR of a PET volume and its table of regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation.atlas_space import custom_mask, to_template
from modality_synthesis.evaluation.normal_cohort import Key, Normal, read_normal_cohort
from modality_synthesis.evaluation.partial_volume import iterative_yang
from modality_synthesis.evaluation.regions import FEWEST_VOXELS, Parcels
from modality_synthesis.evaluation.requests import check_way_of_atlas
from modality_synthesis.evaluation.z_map import paint_z
from modality_synthesis.preprocessing.atlas import Region, labels_on, reference_mask, regions
from modality_synthesis.preprocessing.meta_regions import CENTILOID
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    array,
    check_writable,
    file_sha256,
    image_like,
    read_image,
    sidecar_path,
    write_image,
    write_json,
    write_rows,
)

CUSTOM = "custom mask"
_NAN = float("nan")


@dataclass(frozen=True)
class RegionRow:
    """One region of the table; SUVR figures are NaN where the field of view holds too little of the region.

    Attributes:
        region: its name.
        hemisphere: left, right or both.
        kind: region or meta-region.
        volume_ml: inside the field of view.
        mean: SUVR, like all the figures that follow.
        sd: over voxels.
        median: and further percentiles.
        asymmetry_percent: 200 (left - right) / (left + right), in rows of both hemispheres.
        z: standard deviations above the normal cohort's mean; NaN without one.
    """

    region: str
    hemisphere: str
    kind: str
    volume_ml: float
    mean: float
    sd: float
    median: float
    p5: float
    p25: float
    p75: float
    p95: float
    asymmetry_percent: float = _NAN
    z: float = _NAN


@dataclass(frozen=True)
class SUVR:
    """A SUVR volume with its regions.

    Attributes:
        image: PET divided by the reference region's mean, on the PET's grid.
        reference_region: which.
        reference_mean: the PET's mean there, in the PET's units.
        rows: regions and meta-regions.
        registration_dice: of the MRI with the template; None in template space.
        centiloid: of the amyloid summary; None without an amyloid tracer.
        pvc_fwhm_mm: point spread that was corrected for; None without correction.
        z_map: z-scores of the single regions on the PET's grid, 0 where none is known; None when not asked for.
    """

    image: sitk.Image
    reference_region: str
    reference_mean: float
    rows: tuple[RegionRow, ...]
    registration_dice: float | None
    centiloid: float | None = None
    pvc_fwhm_mm: float | None = None
    z_map: sitk.Image | None = None


def suvr(
    pet: str | Path | sitk.Image,
    output: str | Path | None = None,
    *,
    mri: str | Path | sitk.Image | None = None,
    template_space: bool = False,
    reference_region: str = "cerebellar-gray",
    custom_reference: str | Path | sitk.Image | None = None,
    normal_cohort: str | Path | None = None,
    tracer: str | None = None,
    pvc_fwhm_mm: float | None = None,
    image: str | Path | None = None,
    z_map: str | Path | None = None,
    reporter: Reporter | None = None,
) -> SUVR:
    """Divide a PET by its reference region and tabulate its regions.

    The atlas is registered through the person's T1w MRI (affine), with which the PET must be aligned; a PET in template
    space needs no MRI.

    Args:
        pet: file or image, any linear units.
        output: CSV for the table; its sidecar states units and reference region. None writes none.
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
        reporter: receives progress and warnings.

    Raises:
        UsageError: neither or both of `mri` and `template_space`, or an unknown or unfitting choice.
        BadInputError: unreadable volumes, failed registration, or a reference region outside the field of view.
    """
    reporter = reporter or Reporter()
    check_way_of_atlas("PET", mri, template_space, required=True)
    if reference_region not in REFERENCE_REGIONS:
        raise UsageError(f"Unknown reference region {reference_region!r}. Use one of {', '.join(REFERENCE_REGIONS)}.")
    _check_tracer(tracer, reference_region, custom_reference is not None)
    if pvc_fwhm_mm is not None and not 0 < pvc_fwhm_mm <= 20:
        raise UsageError(f"A point spread of {pvc_fwhm_mm:g} mm cannot be; PET scanners have 3 to 8 mm.")
    if z_map is not None and normal_cohort is None:
        raise UsageError("A z-map shows the distance from healthy people: add --normal-cohort TABLE.")
    for path, endings in ((output, [".csv"]), (image, None), (z_map, None)):
        if path is not None:
            check_writable(path, **({"endings": endings} if endings else {}))
    normal = None if normal_cohort is None else read_normal_cohort(normal_cohort)
    volume = pet if isinstance(pet, sitk.Image) else read_image(pet, reporter=reporter)
    transform, dice = _to_template(mri, reporter.part(0.05, 0.8))
    reporter.progress(0.8, "Measuring regions")
    labels = labels_on(volume, transform)
    values = array(volume)
    if pvc_fwhm_mm is not None:
        spacing = (volume.GetSpacing()[2], volume.GetSpacing()[1], volume.GetSpacing()[0])
        values = iterative_yang(values, labels, pvc_fwhm_mm, spacing)
    if custom_reference is None:
        mask, name = reference_mask(reference_region, volume, transform, labels), reference_region
    else:
        mask, name = custom_mask(custom_reference, volume), CUSTOM
    level = _reference_level(values, mask, name)
    scaled = values / level
    rows = region_table(scaled, Parcels(labels), float(np.prod(volume.GetSpacing())) / 1000, normal)
    painted = None
    if z_map is not None and normal_cohort is not None:
        scores = {(row.region, row.hemisphere): row.z for row in rows}
        painted = paint_z(labels, scores, regions(), Path(normal_cohort).name)
    result = SUVR(
        image=image_like(scaled, volume),
        reference_region=name,
        reference_mean=level,
        rows=rows,
        registration_dice=dice,
        centiloid=None if tracer is None else _centiloid(rows, tracer),
        pvc_fwhm_mm=pvc_fwhm_mm,
        z_map=None if painted is None else image_like(painted[0], volume),
    )
    record = _sidecar(result, pet, tracer, normal_cohort)
    if output is not None:
        write_rows(Path(output), result.rows)
        write_json(record, Path(output).with_suffix(".json"))
    if image is not None:
        write_image(result.image, image, description=f"SUVR, reference {name}")
        write_json(record, sidecar_path(image))
    if z_map is not None and result.z_map is not None and painted is not None:
        write_image(result.z_map, z_map, description=f"z-scores of SUVR, reference {name}")
        write_json({**record, "Quantity": "z-score", "Units": "1", "Regions": painted[1]}, sidecar_path(z_map))
    reporter.progress(1.0, "Done")
    return result


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


def _to_template(mri: str | Path | sitk.Image | None, reporter: Reporter) -> tuple[sitk.Transform, float | None]:
    if mri is None:
        return sitk.Transform(3, sitk.sitkIdentity), None
    transform, quality = to_template(mri, reporter)
    return transform, quality["registration_dice"]


def _reference_level(values: np.ndarray, mask: np.ndarray, name: str) -> float:
    if np.count_nonzero(mask) < FEWEST_VOXELS:
        raise BadInputError(f"The reference region {name} lies outside the PET's field of view. Is the PET aligned?")
    level = float(values[mask].mean())
    if level <= 0:
        raise BadInputError(f"The PET's mean in the reference region {name} is {level:.3g}; SUVR needs a positive one.")
    return level


def region_table(
    values: np.ndarray, parcels: Parcels, voxel_ml: float, normal: Mapping[Key, Normal] | None = None
) -> tuple[RegionRow, ...]:
    """Statistics of every region and meta-region.

    Args:
        values: SUVR (z, y, x).
        parcels: the atlas on that grid.
        voxel_ml: volume of a voxel.
        normal: what is normal, for z-scores.
    """
    flat = values.ravel()
    rows = {
        (region.structure, region.hemisphere): _row(flat[parcels.voxels(region)], region, voxel_ml)
        for region in regions()
    }
    return tuple(
        replace(
            row,
            asymmetry_percent=_asymmetry(rows, structure) if side == "both" else _NAN,
            z=_z(row, normal) if normal is not None else _NAN,
        )
        for (structure, side), row in rows.items()
    )


def _row(inside: np.ndarray, region: Region, voxel_ml: float) -> RegionRow:
    volume = round(inside.size * voxel_ml, 4)
    if inside.size < FEWEST_VOXELS:
        return RegionRow(region.name, region.hemisphere, region.kind, volume, *[_NAN] * 7)
    p5, p25, median, p75, p95 = (float(value) for value in np.percentile(inside, [5, 25, 50, 75, 95]))
    facts = (float(inside.mean()), float(inside.std()), median, p5, p25, p75, p95)
    return RegionRow(region.name, region.hemisphere, region.kind, volume, *facts)


def _asymmetry(rows: Mapping[tuple[str, str], RegionRow], structure: str) -> float:
    sides = [rows.get((structure, side)) for side in ("left", "right")]
    left, right = (_NAN if row is None else row.mean for row in sides)
    return 200 * (left - right) / (left + right) if left + right != 0 else _NAN


def _z(row: RegionRow, normal: Mapping[Key, Normal]) -> float:
    found = normal.get((row.region, row.hemisphere))
    return _NAN if found is None or found.sd <= 0 else found.z(row.mean)


def _centiloid(rows: tuple[RegionRow, ...], tracer: str) -> float:
    summary = next(row.mean for row in rows if row.region == "amyloid_global" and row.hemisphere == "both")
    return CENTILOID[tracer].slope * summary + CENTILOID[tracer].intercept


def _sidecar(
    result: SUVR, pet: str | Path | sitk.Image, tracer: str | None, normal_cohort: str | Path | None
) -> dict[str, object]:
    record: dict[str, object] = {
        "Quantity": "SUVR",
        "Units": "SUVR",
        "ReferenceRegion": result.reference_region,
        "ReferenceMean": result.reference_mean,
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
        "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
    }
    if isinstance(pet, (str, Path)):
        record["Sources"] = [{"file": Path(pet).name, "sha256": file_sha256(pet)}]
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
