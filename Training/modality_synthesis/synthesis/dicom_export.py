"""A synthetic volume with its provenance record, as DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modality_synthesis.choices import EXPORT_FORMATS as FORMATS
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.progress import Reporter, current
from modality_synthesis.synthesis.record import Record, read_record
from modality_synthesis.volumes import atomic_folder, check_folder_writable, check_outputs, read_image
from modality_synthesis.volumes.dicom_content import Content
from modality_synthesis.volumes.dicom_context import check_identity, new_context, source_context
from modality_synthesis.volumes.dicom_parametric_map import need_highdicom, write_dicom_parametric_map
from modality_synthesis.volumes.dicom_write import write_dicom_series

_LONG_STRING = 64


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of the DICOM files.
        step: distance of the stored values, in units; 0 when they are exact.
        largest_error: how far a stored value can be from the given one, in units.
    """

    folder: Path
    step: float
    largest_error: float


def export_dicom(
    volume: str | Path,
    folder: str | Path,
    *,
    file_format: str = "dicom-series",
    source_dicom: str | Path | None = None,
    patient_id: str = "",
    patient_name: str = "",
    reporter: Reporter | None = None,
) -> Exported:
    """Write a synthetic volume as DICOM.

    All UIDs are new in each export, for two exports may differ in what surrounds the values; only those of
    `source_dicom`'s study and frame of reference are kept. Without `source_dicom` nothing of the source's patient gets
    into the files: neither the source's file name nor the clinical variables of the record.

    Args:
        volume: a volume with its record (`.json`, see `synthesize`) beside it.
        folder: for the DICOM files; must be empty, or not exist yet.
        file_format: `dicom-series` (a file per slice, 16-bit, readable everywhere) or `dicom-parametric-map` (one
            file, float32, needs highdicom).
        source_dicom: folder of the DICOM series that the volume was computed from, or a file of it: patient, study and
            frame of reference are taken from it, and the files refer to its images.
        patient_id, patient_name: of a new patient; neutral ones when empty. Not together with `source_dicom`.
        reporter: receives progress and warnings.

    Raises:
        UsageError: unknown format; or patient given twice.
        BadInputError: unreadable volume, no record, a source with another grid, a folder with files in it, or
            highdicom is missing. Nothing is written then.
    """
    reporter, volume, folder = reporter or current(), Path(volume), Path(folder)
    if file_format not in FORMATS:
        raise UsageError(f"Unknown format {file_format!r}. Use {' or '.join(FORMATS)}.")
    if source_dicom is not None and (patient_id or patient_name):
        raise UsageError("Patient and study come from the source's DICOM series: leave out patient ID and name.")
    check_identity(patient_id, patient_name)
    check_outputs([], folders=[folder], inputs=[volume, source_dicom])
    if file_format == "dicom-parametric-map":
        need_highdicom()
    _check_free(folder)
    check_folder_writable(folder.parent, folder)

    reporter.progress(0.0, "Reading")
    image = read_image(volume, reporter=reporter)
    content = _content(read_record(volume))
    if source_dicom is None:
        context = new_context(patient_id, patient_name)
    else:
        context = source_context(Path(source_dicom), image, volume.name, reporter)
    step = largest_error = 0.0
    with atomic_folder(folder) as temporary:
        if file_format == "dicom-series":
            stored = write_dicom_series(image, temporary, content, context, reporter.part(0.2, 1.0))
            step, largest_error = stored.step, stored.largest_error
        else:
            reporter.progress(0.3, "Writing the parametric map")
            write_dicom_parametric_map(image, temporary, content, context)
    reporter.progress(1.0, "Done")
    return Exported(folder, step, largest_error)


def _check_free(folder: Path) -> None:
    """Files of two exports would mix in one folder, and a folder that is replaced may hold something else."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(f"{folder} is there already and is not an empty folder. Give the name of a new folder.")


def _content(record: Record) -> Content:
    route, model = record.route, record.model
    program = record.generated_by[0]
    what = f"{route.target} SUVR" if record.quantity == "SUVR" else route.target
    return Content(
        modality=_modality(route.target),
        description=f"{what} from {route.source} (synthetic)",
        derivation=_derivation(record),
        quantity=record.quantity,
        units=record.units,
        window=record.display_window,
        model=f"{model.id} {model.version}"[:_LONG_STRING],
        weights_sha256=model.weights_sha256,
        software=f"{program.name} {program.version}"[:_LONG_STRING],
    )


def _modality(target: str) -> Literal["PT", "MR", "CT"]:
    if target.endswith("-PET"):
        return "PT"
    return "CT" if target == "CT" else "MR"


def _derivation(record: Record) -> str:
    model, parameters = record.model, record.parameters
    sentences = [
        f"Synthetic {record.route.target} computed from {record.route.source}; not measured.",
        "Research use only, not for diagnosis.",
        f"Model {model.id} {model.version}, weights SHA-256 {model.weights_sha256}, seed {parameters.seed}.",
    ]
    if model.trained_on_simulated_data:
        sentences.append("The model was trained on simulated data.")
    if record.reference_region:
        sentences.append(f"Units: {record.units}, reference region {record.reference_region}.")
    else:
        sentences.append(f"Units: {record.units}.")
    if parameters.space != "native":
        sentences.append("In the space of the model's template, not of the patient.")
    return " ".join(sentences)
