"""Whose a DICOM object is: patient, study and frame of reference, new or taken from the source's own series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.dicom import find_stack, stack_grid
from modality_synthesis.volumes.dicom_content import Reference
from modality_synthesis.volumes.dicom_files import damaged, quiet_pydicom, read_dataset
from modality_synthesis.volumes.dicom_numbers import text
from modality_synthesis.volumes.dicom_stack import Stack
from modality_synthesis.volumes.geometry import describe_geometry, same_geometry
from modality_synthesis.volumes.paths import split_series

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Converters between the source and the volume round positions; a different grid differs by far more.
_SAME_GRID_MM = 0.1
# What files an image under the right patient and study, and no more.
_TAKEN = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
]
_IDENTITY = re.compile(r"[^\\\x00-\x1f\x7f]{0,64}")
_MAY_BE_EMPTY = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
]


@dataclass(frozen=True)
class Context:
    """Where DICOM objects belong.

    Attributes:
        attributes: patient, study and frame of reference, with the character set.
        sources: the images that the volume was computed from; empty when they are not known.
        source_series: the series they belong to.
        patient_position: how the patient lay in the scanner, empty when unknown.
    """

    attributes: Dataset
    sources: tuple[Reference, ...] = ()
    source_series: str = ""
    patient_position: str = ""


def check_identity(patient_id: str, patient_name: str) -> None:
    """Find out early that a patient ID or name has no DICOM form.

    Raises:
        UsageError: too long, or with characters that DICOM does not allow there.
    """
    for what, value in (("ID", patient_id), ("name", patient_name)):
        if not _IDENTITY.fullmatch(value):
            raise UsageError(
                f"{value!r} cannot be a patient {what} in DICOM: at most 64 characters, no backslash and no control "
                "characters; a name is written Family^Given."
            )


def new_context(patient_id: str = "", patient_name: str = "") -> Context:
    """A new patient and study in a new frame of reference, with nothing known about anybody.

    Args:
        patient_id: empty makes one that no other export gets.
        patient_name: DICOM form, `Family^Given`; empty takes `SYNTHETIC^`.
    """
    from pydicom.dataset import Dataset

    now, study = datetime.now(), new_uid()
    attributes = Dataset()
    for keyword in _MAY_BE_EMPTY:
        setattr(attributes, keyword, "")
    attributes.PatientID = patient_id or f"SYNTHETIC-{study[-8:]}"
    attributes.PatientName = patient_name or "SYNTHETIC^"
    attributes.StudyInstanceUID, attributes.StudyID = study, "1"
    attributes.StudyDate, attributes.StudyTime = dicom_date(now), dicom_time(now)
    attributes.FrameOfReferenceUID = new_uid()
    return _in_unicode(Context(attributes))


def source_context(source: Path, image: sitk.Image, name: str, reporter: Reporter) -> Context:
    """Patient, study and frame of reference of the series that a volume was computed from.

    Args:
        source: the series' folder, or one file of it.
        image: the volume; it must lie on the series' grid, so that it cannot come under a wrong patient.
        name: the volume's name, for messages.
        reporter: receives warnings.

    Raises:
        BadInputError: no series, several, a damaged one, or one with another grid.
    """
    source, series = split_series(source)
    stack = find_stack(source, series, reporter)
    grid = stack_grid(stack)
    if not same_geometry(_in_lps(grid), _in_lps(image), _SAME_GRID_MM):
        raise BadInputError(
            f"{name} does not lie on the grid of the DICOM series in {source.name} ({describe_geometry(image)}, "
            f"against {describe_geometry(grid)}). Give the series it was made from, or export without a source."
        )
    first = stack.slices[0]
    header = _full_header(first.path)
    attributes = _taken(header)
    if not attributes.get("FrameOfReferenceUID"):
        reporter.warning(f"{source.name}: the series names no frame of reference; the export gets a new one.")
        attributes.FrameOfReferenceUID = new_uid()
    return _in_unicode(
        Context(
            attributes,
            sources=_sources(stack, header, source.name, reporter),
            source_series=text(header, "SeriesInstanceUID"),
            patient_position=str(header.get("PatientPosition") or ""),
        )
    )


def new_uid() -> str:
    """A UID that nobody else has: a random UUID under 2.25 (PS3.5 B.2)."""
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def dicom_date(moment: datetime) -> str:
    """DICOM's DA form."""
    return moment.strftime("%Y%m%d")


def dicom_time(moment: datetime) -> str:
    """DICOM's TM form, whole seconds."""
    return moment.strftime("%H%M%S")


def _in_lps(image: sitk.Image) -> sitk.Image:
    """The same grid with its axes in one order: converters reverse and exchange them."""
    return sitk.DICOMOrient(image, "LPS")


def _full_header(path: Path) -> Dataset:
    header = read_dataset(path)
    try:
        with quiet_pydicom():
            # Into Unicode by the file's own character set: the copy is written in another one.
            header = _decoded(header)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None
    return header


def _decoded(header: Dataset) -> Dataset:
    """Texts in Unicode; those that their declared character set cannot hold are read as Latin-1, byte by byte."""
    try:
        header.decode()
        return header
    except (UnicodeError, LookupError):
        header.SpecificCharacterSet = "ISO_IR 100"
        header.decode()
        return header


def _sources(stack: Stack, header: Dataset, name: str, reporter: Reporter) -> tuple[Reference, ...]:
    """The images of a stack; none when their identifiers are missing or repeated, so that nobody is sent to others."""
    files = {plane.path for plane in stack.slices}
    instances = {plane.instance for plane in stack.slices}
    sop_class, series = text(header, "SOPClassUID"), text(header, "SeriesInstanceUID")
    if not (sop_class and series) or "" in instances or len(instances) < len(files):
        reporter.warning(
            f"{name}: its UIDs are missing or repeated, so that the export does not refer to its images one by one."
        )
        return ()
    return tuple(Reference(sop_class, instance) for instance in dict.fromkeys(plane.instance for plane in stack.slices))


def _taken(header: Dataset) -> Dataset:
    from pydicom.dataset import Dataset

    attributes = Dataset()
    for keyword in _TAKEN:
        if keyword in header:
            attributes[keyword] = header[keyword]
        elif keyword in _MAY_BE_EMPTY:
            setattr(attributes, keyword, "")
    return attributes


def _in_unicode(context: Context) -> Context:
    context.attributes.SpecificCharacterSet = "ISO_IR 192"
    return context
