"""Which DICOM series a folder holds: headers only, no voxels, no patient data kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.checks import MIN_VOXELS
from modality_synthesis.volumes.dicom_files import check_room, damaged, dicom_files, quiet_pydicom, read_dataset
from modality_synthesis.volumes.dicom_numbers import (
    frame_count,
    has_decimal_comma,
    integer,
    items,
    number,
    numbers,
    text,
    texts,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DICOMDIR = "1.2.840.10008.1.3.10"
# They have rows and columns, but are no acquisition of a head.
_NO_SOURCE = {
    "SEG",
    "RTDOSE",
    "RTSTRUCT",
    "RTPLAN",
    "RTIMAGE",
    "SR",
    "PR",
    "KO",
    "REG",
    "DOC",
    "SM",
    "XC",
    "ECG",
}
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "Modality",
    "Manufacturer",
    "Units",
    "ImageType",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_FRACTIONS = ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")


@dataclass(frozen=True)
class Slice:
    """One image plane: a file, or one frame of a multi-frame file.

    Attributes:
        path: the file.
        frame: index of the plane in the file.
        instance: SOP Instance UID; empty when it has none.
        number: what to call the plane in messages (its instance number, or the frame counted from one).
        size: columns, rows.
        samples: numbers per pixel.
        localizer: a scout image.
        spacing: mm along a row, along a column; None when unknown.
        position: LPS of the first pixel's center, mm; None when unknown.
        orientation: direction cosines of a row and of a column; None when unknown.
    """

    path: Path
    frame: int
    instance: str
    number: int
    size: tuple[int, int]
    samples: int
    localizer: bool
    spacing: tuple[float, float] | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder.

    Attributes:
        uid: SeriesInstanceUID; empty when an anonymizer took it out.
        number: series number, None when not given.
        description: series description.
        modality: DICOM's code: MR, CT, PT…
        slices: number of image planes.
        problem: why it can be no 3-D volume ("" when it may be one).
        planes: the planes, in no order.
        doubts: what is odd about its headers, in words.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slices: int
    problem: str
    planes: tuple[Slice, ...] = field(repr=False)
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        number = "no number" if self.number is None else str(self.number)
        problem = f" - {self.problem}" if self.problem else ""
        description = self.description or "no description"
        return f"{number}: {description} ({self.modality}, {self.slices} slices){problem}"


def dicom_series(folder: str | Path) -> list[SeriesInfo]:
    """The image series below a folder, ordered by series number.

    Raises:
        BadInputError: not a folder, unreadable, a damaged DICOM file in it, or no DICOM images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder. Give the folder that holds the DICOM files.")
    series: dict[tuple[object, ...], list[tuple[Dataset, list[Slice]]]] = {}
    # Values are understood when they are asked for, and pydicom warns of odd ones then.
    with quiet_pydicom():
        for file in dicom_files(folder):
            header = read_header(file)
            if header is not None:
                series.setdefault(_series_key(header), []).append((header, _planes(header, file)))
        found = sorted((_describe(files) for files in series.values()), key=_order)
    if not found:
        raise BadInputError(f"{folder.name} holds no DICOM images. Give the folder that holds one scan's DICOM files.")
    return found


def series_files(folder: Path, wanted: str) -> list[Path]:
    """The files of one series of a folder. Arguments and errors are those of `choose`."""
    info = choose(dicom_series(folder), wanted, folder.name)
    return sorted({plane.path for plane in info.planes})


def _series_key(header: Dataset) -> tuple[object, ...]:
    """What files of one series share. Anonymizers blank its UID, or give a whole study the same."""
    uid, count = text(header, "SeriesInstanceUID"), number(header, "SeriesNumber")
    return (uid, count) if uid else (uid, count, text(header, "SeriesDescription"), text(header, "Modality"))


def read_header(path: Path) -> Dataset | None:
    """The header of an image file; None for other DICOM objects (directories, reports, segmentations).

    Raises:
        BadInputError: the file is damaged.
    """
    header = read_dataset(path, _TAGS)
    try:
        meta_class = getattr(getattr(header, "file_meta", None), "MediaStorageSOPClassUID", None)
        if meta_class == _DICOMDIR:
            return None
        sop_class = header.get("SOPClassUID") or meta_class
        is_image = bool(integer(header, "Rows")) and bool(integer(header, "Columns"))
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None
    announced = sop_class is not None and "Image Storage" in getattr(sop_class, "name", "")
    if not is_image and (announced or sop_class is None):
        raise damaged(path, ValueError("its header ends too early"))
    return header if is_image and text(header, "Modality") not in _NO_SOURCE else None


def choose(series: Sequence[SeriesInfo], wanted: str | None, name: str, file: Path | None = None) -> SeriesInfo:
    """The series to read.

    Args:
        series: what the folder holds.
        wanted: SeriesInstanceUID, series number or description; None takes the only one that can be a volume.
        name: the folder's name, for messages.
        file: without `wanted`, the series that this file belongs to.

    Raises:
        BadInputError: none or several fit; the message lists them.
    """
    listing = _listing(series)
    if wanted is not None:
        wanted = wanted.strip()
        fitting = [info for info in series if wanted and wanted in _names(info)]
        fitting = fitting or [info for info in series if wanted and info.description.lower() == wanted.lower()]
        if len(fitting) != 1:
            count = "no series" if not fitting else f"{len(fitting)} series"
            raise BadInputError(f"{name} holds {count} named '{wanted}'. It holds: {listing}.")
    elif own := [info for info in series if any(plane.path == file for plane in info.planes)]:
        fitting = own
    else:
        fitting = [info for info in series if not info.problem]
        if not fitting:
            raise BadInputError(f"{name} holds no series that is a 3-D volume. It holds: {listing}.")
        if len(fitting) > 1:
            raise BadInputError(
                f"{name} holds several series; choose one with --series NUMBER, or as {name}#NUMBER. "
                f"It holds: {listing}."
            )
    if fitting[0].problem:
        raise BadInputError(f"{name}: series {fitting[0]}.")
    return fitting[0]


def _names(info: SeriesInfo) -> tuple[str, ...]:
    return (info.uid,) if info.number is None else (info.uid, str(info.number))


def _listing(series: Sequence[SeriesInfo]) -> str:
    """In words, with the UIDs where the numbers do not tell the series apart."""
    numbers_given = [info.number for info in series]
    return "; ".join(
        f"{info} {info.uid}" if info.number is None or numbers_given.count(info.number) > 1 else str(info)
        for info in series
    )


def _planes(header: Dataset, path: Path) -> list[Slice]:
    check_room(header, path)
    frames = frame_count(header)
    per_frame = items(header, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(items(header, "SharedFunctionalGroupsSequence")), None)
    instance = integer(header, "InstanceNumber") or 0
    planes = []
    for frame in range(frames):
        own = per_frame[frame] if frame < len(per_frame) else None
        # Without functional groups, the header's one position says nothing about the frames after the first.
        groups = [own, shared] if own is not None else ([header] if frames == 1 else [])
        planes.append(
            Slice(
                path=path,
                frame=frame,
                instance=text(header, "SOPInstanceUID"),
                number=instance if frames == 1 else frame + 1,
                size=(integer(header, "Columns") or 0, integer(header, "Rows") or 0),
                samples=integer(header, "SamplesPerPixel") or 1,
                localizer="LOCALIZER" in [part.upper() for part in texts(header, "ImageType")],
                spacing=_swap(_values(groups, "PixelMeasuresSequence", "PixelSpacing", 2)),
                position=_values(groups, "PlanePositionSequence", "ImagePositionPatient", 3),
                orientation=_values(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6),
            )
        )
    return planes


def _values(groups: Sequence[Any], sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
    for group in groups:
        if group is None:
            continue
        holder = next(iter(items(group, sequence)), group)
        value = numbers(holder, keyword)
        if value is not None and len(value) == count:
            return value
    return None


def _swap(spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    """DICOM gives the distance between rows first; x runs along a row."""
    return None if spacing is None else (spacing[1], spacing[0])


def _describe(files: Sequence[tuple[Dataset, list[Slice]]]) -> SeriesInfo:
    header = files[0][0]
    planes = tuple(plane for _, group in files for plane in group)
    # A scout stored with the scan is no part of the stack.
    planes = tuple(plane for plane in planes if not plane.localizer) or planes
    return SeriesInfo(
        uid=text(header, "SeriesInstanceUID"),
        number=integer(header, "SeriesNumber"),
        description=text(header, "SeriesDescription"),
        modality=text(header, "Modality") or "?",
        slices=len(planes),
        problem=_problem(planes),
        planes=planes,
        doubts=tuple(_doubts([header for header, _ in files], planes)),
    )


def _doubts(headers: Sequence[Dataset], planes: Sequence[Slice]) -> Iterator[str]:
    if not text(headers[0], "SeriesInstanceUID"):
        yield "its files have no Series Instance UID; those of one number and description are taken as one series"
    places = {(plane.instance, plane.frame): plane.position for plane in planes}
    if not all(plane.instance for plane in planes) or len(places) < len({plane.position for plane in planes}):
        yield "SOP Instance UIDs are missing or repeated; slices are told apart by position and content"
    people = len({text(header, "PatientID") for header in headers})
    if people > 1:
        yield f"its slices name {people} patients although they are of one series; they are taken as one volume"
    if any(has_decimal_comma(header, keyword) for header in headers for keyword in _FRACTIONS):
        yield "numbers are written with decimal commas, which are read as points"
    if any(text(header, "PhotometricInterpretation") == "MONOCHROME1" for header in headers):
        yield "its gray scale is inverted for display (MONOCHROME1); the stored values are read, low ones being low"


def _problem(planes: Sequence[Slice]) -> str:
    if planes[0].localizer:
        return "a localizer"
    if any(plane.samples != 1 for plane in planes):
        return "colour images"
    if any(plane.position is None or plane.orientation is None for plane in planes):
        return "its slices have no position"
    if len({tuple(np.round(plane.position, 3)) for plane in planes if plane.position}) < MIN_VOXELS:
        return f"too few slices, at least {MIN_VOXELS} are needed"
    return ""


def _order(info: SeriesInfo) -> tuple[float, str]:
    return (math.inf if info.number is None else info.number, info.uid)
