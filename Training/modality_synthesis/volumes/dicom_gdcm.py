"""Pixels in the encodings that only GDCM decodes here: JPEG, JPEG-LS, JPEG 2000.

GDCM is shown a file made here, of the image alone: a length that somebody wrote behind the pixels of another one makes
it take gigabytes. And only when the compressed image itself announces the size that the header does.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.volumes.dicom_numbers import frame_count, integer

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_KEPT = (
    "SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames",
)  # fmt: skip
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Markers of a JPEG's frame header, JPEG-LS' included; C4, C8 and CC mean something else.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def stored_values(dataset: Dataset) -> np.ndarray:
    """The stored numbers of all frames, float32 (frames, rows, columns).

    Raises:
        ValueError: the compressed image is of another size than the header says.
        Exception: what pydicom and GDCM raise for damaged data, of many kinds.
    """
    from pydicom.encaps import generate_frames

    wanted = (integer(dataset, "Rows"), integer(dataset, "Columns"), integer(dataset, "SamplesPerPixel") or 1)
    for frame in generate_frames(dataset.PixelData, number_of_frames=frame_count(dataset)):
        found = announced_size(frame)
        if found is not None and found != wanted:
            raise ValueError(
                f"its compressed image has {found[0]}x{found[1]} pixels of {found[2]} number(s), its header announces "
                f"{wanted[0]}x{wanted[1]} of {wanted[2]}"
            )
    with TemporaryDirectory(prefix="modality-synthesis-") as folder:
        file = Path(folder) / "image.dcm"
        _image_alone(dataset).save_as(file, enforce_file_format=True)
        values: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(file), sitk.sitkFloat32))
    return values.reshape(-1, *values.shape[-2:])


def announced_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and numbers per pixel of a JPEG, JPEG-LS or JPEG 2000 image; None for what is none of them."""
    if frame.startswith(_JPEG_2000):
        right, below, left, above = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
        return below - above, right - left, int.from_bytes(frame[40:42], "big")
    at = 2
    while frame.startswith(_JPEG) and at + 10 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(frame[at + place : at + place + 2], "big") for place in (5, 7))
            return rows, columns, frame[at + 9]
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _image_alone(dataset: Dataset) -> Dataset:
    """The image without its rescale, which is applied here, and as MONOCHROME2: GDCM inverts the other one."""
    from pydicom.dataset import Dataset, FileMetaDataset

    plain = Dataset()
    for keyword in _KEPT:
        if keyword in dataset:
            plain[keyword] = dataset[keyword]
    plain.PhotometricInterpretation = "MONOCHROME2"
    plain.PixelData = dataset.PixelData
    plain["PixelData"].is_undefined_length = True
    plain.file_meta = FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    plain.file_meta.MediaStorageSOPClassUID = plain.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7"
    plain.file_meta.MediaStorageSOPInstanceUID = plain.get("SOPInstanceUID") or "1.2.3"
    return plain
