"""SUVR of a PET volume and its table of regions."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation.atlas import REFERENCE_REGIONS, labels_on, reference_mask, regions
from modality_synthesis.preprocessing import BiasField, BrainMask, ChainParameters, Register, Reorient, prepare
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    array,
    atomic_output,
    check_writable,
    image_like,
    read_image,
    sidecar_path,
    write_image,
    write_json,
)

_CHAIN = ChainParameters(source=(Reorient(), BrainMask(), BiasField(), Register()))
# Below this many voxels a mean says more about the grid than about the region.
_FEWEST_VOXELS = 10


@dataclass(frozen=True)
class RegionRow:
    """One region of the table; SUVR figures are NaN where the field of view holds too little of the region."""

    region: str
    hemisphere: str
    kind: str
    volume_ml: float
    mean: float
    sd: float
    median: float


@dataclass(frozen=True)
class SUVR:
    """A SUVR volume with its regions.

    Attributes:
        image: PET divided by the reference region's mean, on the PET's grid.
        reference_region: which.
        reference_mean: the PET's mean there, in the PET's units.
        rows: regions and meta-regions.
        registration_dice: of the MRI with the template; None in template space.
    """

    image: sitk.Image
    reference_region: str
    reference_mean: float
    rows: tuple[RegionRow, ...]
    registration_dice: float | None


def suvr(
    pet: str | Path | sitk.Image,
    output: str | Path | None = None,
    *,
    mri: str | Path | sitk.Image | None = None,
    template_space: bool = False,
    reference_region: str = "cerebellar-gray",
    image: str | Path | None = None,
    reporter: Reporter | None = None,
) -> SUVR:
    """Divide a PET by its reference region and tabulate its regions.

    The atlas is registered through the person's T1w MRI (affine), with which the PET must be aligned; a PET in template
    space needs no MRI.

    Args:
        pet: file or image, any linear units.
        output: CSV for the table; None writes none.
        mri: the person's T1w MRI.
        template_space: the PET lies in MNI152 space already.
        reference_region: cerebellar-gray, whole-cerebellum or pons.
        image: file for the SUVR volume; its sidecar states units and reference region.
        reporter: receives progress and warnings.

    Raises:
        UsageError: neither or both of `mri` and `template_space`, or an unknown reference region.
        BadInputError: unreadable volumes, failed registration, or a reference region outside the field of view.
    """
    reporter = reporter or Reporter()
    if (mri is None) != template_space:
        raise UsageError("Say how the atlas reaches the PET: give the T1w MRI (--mri) or --template-space, not both.")
    if reference_region not in REFERENCE_REGIONS:
        raise UsageError(f"Unknown reference region {reference_region!r}. Use one of {', '.join(REFERENCE_REGIONS)}.")
    for path, endings in ((output, [".csv"]), (image, None)):
        if path is not None:
            check_writable(path, **({"endings": endings} if endings else {}))
    volume = pet if isinstance(pet, sitk.Image) else read_image(pet, reporter=reporter)
    to_template, dice = _to_template(mri, reporter.part(0.05, 0.8))
    reporter.progress(0.8, "Measuring regions")
    labels = labels_on(volume, to_template)
    values = array(volume)
    mask = reference_mask(reference_region, volume, to_template, labels)
    level = _reference_level(values, mask, reference_region)
    scaled = values / level
    result = SUVR(
        image=image_like(scaled, volume),
        reference_region=reference_region,
        reference_mean=level,
        rows=_table(scaled, labels, float(np.prod(volume.GetSpacing())) / 1000),
        registration_dice=dice,
    )
    if output is not None:
        _write_table(result, Path(output))
    if image is not None:
        write_image(result.image, image, description=f"SUVR, reference {reference_region}")
        write_json(_sidecar(result), sidecar_path(image))
    reporter.progress(1.0, "Done")
    return result


def _to_template(mri: str | Path | sitk.Image | None, reporter: Reporter) -> tuple[sitk.Transform, float | None]:
    if mri is None:
        return sitk.Transform(3, sitk.sitkIdentity), None
    name = Path(mri).name if isinstance(mri, (str, Path)) else "The MRI"
    source = mri if isinstance(mri, sitk.Image) else read_image(mri, reporter=reporter)
    prepared = prepare(source, _CHAIN, name=name, reporter=reporter)
    return prepared.to_native.GetInverse(), prepared.quality["registration_dice"]


def _reference_level(values: np.ndarray, mask: np.ndarray, name: str) -> float:
    if np.count_nonzero(mask) < _FEWEST_VOXELS:
        raise BadInputError(f"The reference region {name} lies outside the PET's field of view. Is the PET aligned?")
    level = float(values[mask].mean())
    if level <= 0:
        raise BadInputError(f"The PET's mean in the reference region {name} is {level:.3g}; SUVR needs a positive one.")
    return level


def _table(values: np.ndarray, labels: np.ndarray, voxel_ml: float) -> tuple[RegionRow, ...]:
    order = np.argsort(labels, axis=None, kind="stable")
    codes, flat = labels.ravel()[order], values.ravel()[order]
    rows = []
    for region in regions():
        bounds = [np.searchsorted(codes, [code, code + 1]) for code in region.labels]
        inside = np.concatenate([flat[low:high] for low, high in bounds])
        enough = inside.size >= _FEWEST_VOXELS
        figures = (inside.mean(), inside.std(), np.median(inside)) if enough else (np.nan,) * 3
        rows.append(
            RegionRow(
                region.name, region.hemisphere, region.kind, round(inside.size * voxel_ml, 4), *map(float, figures)
            )
        )
    return tuple(rows)


def _write_table(result: SUVR, path: Path) -> None:
    with atomic_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(asdict(result.rows[0])), lineterminator="\n")
        writer.writeheader()
        for row in result.rows:
            figures = asdict(row)
            writer.writerow(
                {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in figures.items()}
            )


def _sidecar(result: SUVR) -> dict[str, object]:
    return {
        "Quantity": "SUVR",
        "Units": "SUVR",
        "ReferenceRegion": result.reference_region,
        "ReferenceMean": result.reference_mean,
        "RegistrationDice": result.registration_dice,
    }
