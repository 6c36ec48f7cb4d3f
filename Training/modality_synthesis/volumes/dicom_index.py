"""Which DICOM series a folder holds: headers only, no voxels, no patient data kept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.checks import MIN_VOXELS
from modality_synthesis.volumes.paths import cannot_read

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ENDINGS = (".dcm", ".ima", ".dicom")
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
    "NumberOfFrames",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Slice:
    """One image plane: a file, or one frame of a multi-frame file.

    Attributes:
        path: the file.
        frame: index of the plane in the file.
        instance: SOP Instance UID.
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
        uid: SeriesInstanceUID.
        number: series number, None when not given.
        description: series description.
        modality: DICOM's code: MR, CT, PT…
        slices: number of image planes.
        problem: why it can be no 3-D volume ("" when it may be one).
        planes: the planes, in no order.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slices: int
    problem: str
    planes: tuple[Slice, ...] = field(repr=False)

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
    series: dict[str, list[tuple[Dataset, list[Slice]]]] = {}
    for file in dicom_files(folder):
        header = read_header(file)
        if header is not None:
            series.setdefault(str(header.SeriesInstanceUID), []).append((header, _planes(header, file)))
    if not series:
        raise BadInputError(f"{folder.name} holds no DICOM images. Give the folder that holds one scan's DICOM files.")
    return sorted((_describe(uid, files) for uid, files in series.items()), key=_order)


def dicom_files(folder: Path) -> Iterator[Path]:
    """All DICOM files below a folder, sorted by path."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and is_dicom_file(file):
            yield file


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its preamble, or by its ending where old writers left the preamble out."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise cannot_read(path, error) from None
    return start[128:] == b"DICM" or (path.suffix.lower() in _ENDINGS and len(start) > 0)


def read_header(path: Path) -> Dataset | None:
    """The header of an image file; None for other DICOM objects (directories, reports, segmentations).

    Raises:
        BadInputError: the file is damaged.
    """
    import pydicom

    try:
        # Files without a preamble need `force`; they are recognised by what they hold.
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        if getattr(header.file_meta, "MediaStorageSOPClassUID", "") == _DICOMDIR:
            return None
        sop_class = header.get("SOPClassUID") or getattr(header.file_meta, "MediaStorageSOPClassUID", None)
        is_image = "Rows" in header and "Columns" in header
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None
    announced = sop_class is not None and "Image Storage" in getattr(sop_class, "name", "")
    if "SeriesInstanceUID" not in header or (announced and not is_image):
        raise damaged(path, ValueError("its header ends too early"))
    return header if is_image and header.get("Modality", "") not in _NO_SOURCE else None


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning about odd values, which it quotes: they may name the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def damaged(path: Path, error: Exception) -> BadInputError:
    """The error for a DICOM file that cannot be understood."""
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return BadInputError(f"{path.name} is a damaged DICOM file ({reason}). Export the series again.")


def choose(series: Sequence[SeriesInfo], wanted: str | None, name: str) -> SeriesInfo:
    """The series to read.

    Args:
        series: what the folder holds.
        wanted: SeriesInstanceUID, series number or description; None takes the only one that can be a volume.
        name: the folder's name, for messages.

    Raises:
        BadInputError: none or several fit; the message lists them.
    """
    listing = "; ".join(str(info) for info in series)
    if wanted is not None:
        wanted = wanted.strip()
        fitting = [info for info in series if wanted in (info.uid, str(info.number))]
        fitting = fitting or [info for info in series if info.description.lower() == wanted.lower()]
        if len(fitting) != 1:
            count = "no series" if not fitting else f"{len(fitting)} series"
            raise BadInputError(f"{name} holds {count} named '{wanted}'. It holds: {listing}.")
    else:
        fitting = [info for info in series if not info.problem]
        if not fitting:
            raise BadInputError(f"{name} holds no series that is a 3-D volume. It holds: {listing}.")
        if len(fitting) > 1:
            raise BadInputError(f"{name} holds several series; choose one by its number. It holds: {listing}.")
    if fitting[0].problem:
        raise BadInputError(f"{name}: series {fitting[0]}.")
    return fitting[0]


def _planes(header: Dataset, path: Path) -> list[Slice]:
    frames = int(header.get("NumberOfFrames") or 1)
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or []), None)
    instance = int(header.get("InstanceNumber") or 0)
    planes = []
    for frame in range(frames):
        own = per_frame[frame] if frame < len(per_frame) else None
        # Without functional groups, the header's one position says nothing about the frames after the first.
        groups = [own, shared] if own is not None else ([header] if frames == 1 else [])
        planes.append(
            Slice(
                path=path,
                frame=frame,
                instance=str(header.get("SOPInstanceUID", path)),
                number=instance if frames == 1 else frame + 1,
                size=(int(header.Columns), int(header.Rows)),
                samples=int(header.get("SamplesPerPixel") or 1),
                localizer="LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or []],
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
        holder = next(iter(group.get(sequence) or []), group)
        value = holder.get(keyword)
        if value is not None and not isinstance(value, (str, float)) and len(value) == count:
            numbers = tuple(float(number) for number in value)
            return numbers if all(map(math.isfinite, numbers)) else None
    return None


def _swap(spacing: tuple[float, ...] | None) -> tuple[float, float] | None:
    """DICOM gives the distance between rows first; x runs along a row."""
    return None if spacing is None else (spacing[1], spacing[0])


def _describe(uid: str, files: Sequence[tuple[Dataset, list[Slice]]]) -> SeriesInfo:
    header = files[0][0]
    planes = tuple(plane for _, group in files for plane in group)
    # A scout stored with the scan is no part of the stack.
    planes = tuple(plane for plane in planes if not plane.localizer) or planes
    number = header.get("SeriesNumber")
    return SeriesInfo(
        uid=uid,
        number=None if number in (None, "") else int(number),
        description=str(header.get("SeriesDescription") or "").strip(),
        modality=str(header.get("Modality") or "?"),
        slices=len(planes),
        problem=_problem(planes),
        planes=planes,
    )


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
