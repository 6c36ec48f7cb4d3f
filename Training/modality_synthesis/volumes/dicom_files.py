"""Which files are DICOM, whatever their names; how pydicom is called and its errors told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.paths import cannot_read, check_is_there, unsupported_ending, volume_ending

_ENDINGS = (".dcm", ".ima", ".dicom")
# The first elements of a data set without preamble: group 0008 (or 0002, the file meta information).
_FIRST_GROUPS = (0x0002, 0x0008)
_LARGEST_FIRST_ELEMENT = 0x0070
_LONGEST_FIRST_VALUE = 512
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
    import pydicom

    try:
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_PROVES_DICOM, force=True)
        return any(keyword in header for keyword in _PROVES_DICOM)
    except Exception:  # pydicom raises many kinds on what is no DICOM
        return False


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
