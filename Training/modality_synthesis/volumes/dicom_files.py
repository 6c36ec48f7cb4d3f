"""Which files are DICOM, whatever their names; how pydicom is called and its errors told."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.dicom_numbers import frame_count, integer
from modality_synthesis.volumes.paths import cannot_read, check_is_there, unsupported_ending, volume_ending

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ENDINGS = (".dcm", ".ima", ".dicom")
# The first elements of a data set without preamble: group 0008 (or 0002, the file meta information).
_FIRST_GROUPS = (0x0002, 0x0008)
_LARGEST_FIRST_ELEMENT = 0x0070
_LONGEST_FIRST_VALUE = 512
# Images shrink by 2 to 20. What shrinks this much and is this large holds nothing that was measured.
_LARGEST_RATIO, _RATIO_MATTERS_FROM, _BLOCK = 100, 32 << 20, 1 << 20
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # stored as they are
_PROVES_DICOM = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]


def dicom_files(folder: Path) -> Iterator[Path]:
    """All DICOM files below a folder, sorted by path."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and is_dicom_file(file):
            yield file


def is_dicom_input(path: Path) -> bool:
    """Whether a path is to be read as DICOM: a folder, or a DICOM file under any name.

    Raises:
        BadInputError: missing, empty or unsupported file.
    """
    check_is_there(path)
    if path.is_dir():
        return True
    if volume_ending(path):
        return False
    if not is_dicom_file(path):
        raise unsupported_ending(path)
    return True


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM: by its preamble, or else by its ending or content, since old writers left that out."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise cannot_read(path, error) from None
    if start[128:] == b"DICM":
        return True
    return bool(start) and (path.suffix.lower() in _ENDINGS or (_starts_like_a_data_set(start) and _is_data_set(path)))


def _starts_like_a_data_set(start: bytes) -> bool:
    group, element = (int.from_bytes(start[index : index + 2], "little") for index in (0, 2))
    if group not in _FIRST_GROUPS or element > _LARGEST_FIRST_ELEMENT:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= _LONGEST_FIRST_VALUE


def _is_data_set(path: Path) -> bool:
    try:
        header = read_dataset(path, _PROVES_DICOM)
        return any(keyword in header for keyword in _PROVES_DICOM)
    except BadInputError:
        return False


def read_dataset(path: Path, tags: Sequence[str] | None = None, *, pixels: bool = False) -> Dataset:
    """A DICOM file's data set, read within the file's own size.

    Args:
        path: the file; one without a preamble is read too.
        tags: keywords of the elements wanted; None for all.
        pixels: with the pixel data.

    Raises:
        BadInputError: damaged, or unpacking to far more than it can hold.
    """
    import pydicom

    try:
        with quiet_pydicom(), path.open("rb") as stream:
            within = _Within(stream)
            _refuse_swollen(within, path)
            wanted: Any = None if tags is None else list(tags)
            return pydicom.dcmread(within, stop_before_pixels=not pixels, specific_tags=wanted, force=True)
    except BadInputError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None


class _Within:
    """A file that gives no more than it holds: Python makes room for as many bytes as a damaged length announces."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.name = stream, stream.name
        self.size = os.fstat(stream.fileno()).st_size
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, count: int = -1) -> bytes:
        left = max(self.size - self._stream.tell(), 0)
        return self._stream.read(left if count < 0 else min(count, left))


def _refuse_swollen(stream: _Within, path: Path) -> None:
    """Whether a deflated data set, which pydicom unpacks at once, unpacks to what its size allows."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        stream.seek(128)
        if stream.read(4) != b"DICM":
            return
        syntax = pydicom.filereader._read_file_meta_info(stream).get("TransferSyntaxUID")
        if syntax != DeflatedExplicitVRLittleEndian:
            return
        member, unpacked, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, stream.read()
        while packed and not member.eof:
            unpacked += len(member.decompress(packed, _BLOCK))
            packed = member.unconsumed_tail
            if unpacked > max(_RATIO_MATTERS_FROM, _LARGEST_RATIO * stream.size):
                raise BadInputError(
                    f"{path.name} unpacks to far more data than an image of its size holds; it is damaged, or was made "
                    "to fill the memory. Export the series again."
                )
    finally:
        stream.seek(0)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning about odd values, which it quotes: they may name the patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_room(dataset: Dataset, path: Path) -> None:
    """Whether a file can hold as many pixels as its header announces.

    Raises:
        BadInputError: it is too small for them, however they are stored.
    """
    pixels = [integer(dataset, keyword) or 0 for keyword in ("Rows", "Columns")]
    samples, bits = integer(dataset, "SamplesPerPixel") or 1, integer(dataset, "BitsAllocated") or 16
    announced = pixels[0] * pixels[1] * samples * bits * frame_count(dataset) // 8
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    packed = syntax is not None and syntax not in _NATIVE
    size = path.stat().st_size
    if announced > (max(_RATIO_MATTERS_FROM, 5 * _LARGEST_RATIO * size) if packed else size):
        raise BadInputError(
            f"{path.name} is too small ({size} bytes) for {frame_count(dataset)} image(s) of {pixels[0]}×{pixels[1]} "
            "pixels, which its header announces; it is truncated or damaged. Export the series again."
        )


def damaged(path: Path, error: Exception) -> BadInputError:
    """The error for a DICOM file that cannot be understood."""
    reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
    return BadInputError(f"{path.name} is a damaged DICOM file ({reason}). Export the series again.")
