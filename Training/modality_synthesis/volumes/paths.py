"""File endings, and what is decided from a path alone."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from modality_synthesis.errors import BadInputError, UsageError

READABLE = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# .nhdr and .mhd keep their voxels in a second file; two files cannot be moved into place in one step.
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")

_KNOWN_ELSEWHERE = {
    ".mgz": "a FreeSurfer volume; convert it with 'mri_convert {name} {stem}.nii.gz'",
    ".mgh": "a FreeSurfer volume; convert it with 'mri_convert {name} {stem}.nii.gz'",
    ".hdr": "an Analyze or two-file NIfTI volume; save it as .nii.gz, in 3D Slicer for example",
    ".img": "an Analyze or two-file NIfTI volume; save it as .nii.gz, in 3D Slicer for example",
    ".mnc": "a MINC volume; convert it with 'mnc2nii {name} {stem}.nii'",
    ".par": "a Philips volume; convert it with 'dcm2niix'",
    ".rec": "a Philips volume; convert it with 'dcm2niix'",
}

_NOTHING = "it does not exist"
_LARGEST_POINTER = 1024
_DATALAD = "get it with 'datalad get' or 'git annex get'"
_GIT_LFS = b"version https://git-lfs.github.com/spec/"


def volume_ending(path: str | Path) -> str:
    """The ending of a volume's file name in lower case (".nii.gz"), or "" when it is none of `READABLE`."""
    name = Path(path).name.lower()
    return next((ending for ending in READABLE if name.endswith(ending) and name != ending), "")


def split_ending(path: str | Path) -> tuple[str, str]:
    """A file name in two parts: `("sub-1_T1w", ".nii.gz")`; other names are split at their last dot."""
    name = Path(path).name
    ending = volume_ending(path)
    if ending:
        return name[: -len(ending)], name[-len(ending) :]
    return Path(name).stem, Path(name).suffix


def sidecar_path(volume_path: str | Path) -> Path:
    """Where a file's JSON sidecar belongs: `x.nii.gz` → `x.json`, a table `x.csv` → `x.csv.json`; a folder `x` →
    `x.json` beside it."""
    path = Path(volume_path)
    path = path if path.name else path.absolute()  # the working folder, as `.`
    stem = split_ending(path)[0] if volume_ending(path) else path.name
    return path.parent / f"{stem}.json"


def found_sidecar(path: str | Path) -> Path:
    """Where the JSON sidecar of a file that is there lies: beside it as it is named or, for a link that has none
    beside it, beside the file that the link leads to."""
    sidecar = sidecar_path(path)
    # `os.path` says no, and `pathlib` fails, for names that no file can have.
    if not os.path.islink(path) or os.path.isfile(sidecar):
        return sidecar
    led = sidecar_path(os.path.realpath(path))
    return led if os.path.isfile(led) else sidecar


def split_series(path: str | Path) -> tuple[Path, str | None]:
    """A DICOM folder and the series to take from it: `head#2` is series 2 of the folder `head`.

    A path that exists as it is written is no such pair; then the series is None, as for every path without `#`.
    """
    path = Path(path)
    folder, mark, series = str(path).rpartition("#")
    if not mark or not series or os.path.lexists(path) or not os.path.exists(folder):
        return path, None
    return Path(folder), series


def with_series(path: str | Path, series: str | None) -> Path:
    """The path of one series of a DICOM folder, as `split_series` takes it apart; the path itself without a series."""
    return Path(path) if series is None else Path(f"{path}#{series}")


def data_path(path: str | Path) -> Path:
    """The file or folder that a volume's path names, without the series: what exists, has a size and a date."""
    return split_series(path)[0]


def why_absent(path: Path) -> str | None:
    """Why a path that is named holds no data here, with the way out; None when something is there.

    Links without a target, git-annex's (DataLad) and Git LFS's placeholders are told apart from what does not exist.
    """
    try:
        return _absence(data_path(path))
    except (OSError, ValueError) as error:
        return f"it cannot be read: {(getattr(error, 'strerror', None) or str(error)).lower()}"


def _absence(path: Path) -> str | None:
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        if ".git/annex/objects" in target.replace("\\", "/"):
            return f"its content is not here (git-annex); {_DATALAD}"
        return f"it is a link to {target}, which does not exist"
    if not path.exists():
        return _NOTHING
    if path.is_file() and path.stat().st_size < _LARGEST_POINTER:
        with path.open("rb") as stream:
            start = stream.read(256)
        if start.startswith(_GIT_LFS):
            return "its content is not here (Git LFS); get it with 'git lfs pull'"
        if start.startswith(b"/annex/objects/") or b".git/annex/objects/" in start:
            return f"its content is not here (git-annex); {_DATALAD}"
    return None


def check_is_there(path: Path) -> None:
    """Refuse a file that is not there, or that only stands for one: links without target, pointers, pipes, devices.

    Raises:
        BadInputError: says which, and how to get the file.
    """
    reason = why_absent(path)
    if reason == _NOTHING:
        raise BadInputError(f"{path} does not exist. Check the path.")
    if reason is not None:
        raise BadInputError(f"{path}: {reason}.")
    try:
        there = data_path(path)
        if not there.is_dir() and not there.is_file():
            # Reading one without a writer would never end, and no reader here is content with reading it once.
            raise BadInputError(
                f"{path} is no regular file (a pipe or device). Save what comes from it as a file first."
            )
        empty = there.is_file() and there.stat().st_size == 0
    except OSError as error:
        raise cannot_read(path, error) from None
    if empty:
        raise BadInputError(f"{path.name} is empty (0 bytes). Copy or download it again.")


def unsupported_ending(path: Path) -> BadInputError:
    """The error for a file whose ending is not read here: it says how to convert."""
    hint = _KNOWN_ELSEWHERE.get(path.suffix.lower())
    if hint:
        return BadInputError(f"{path.name} is {hint.format(name=path.name, stem=path.stem)}.")
    return BadInputError(
        f"{path.name} is not a volume that can be read: its ending is none of {', '.join(READABLE)}, and it "
        "is no DICOM file. Convert it to .nii.gz, or give a DICOM folder."
    )


def check_regular(path: Path) -> None:
    """Refuse what is there and is no file of data: a pipe would keep its reader waiting, a device has no end.

    Raises:
        BadInputError: a pipe, device or socket.
    """
    try:
        special = path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):
        return
    if special:
        raise BadInputError(f"{path.name} is no regular file (a pipe or device). Save it as a file first.")


def detached_data(path: Path, named: str, field: str) -> Path:
    """The data file that a header names; it lies in the header's folder or below.

    Args:
        path: the header's file.
        named: what it names.
        field: the header's field that names it.

    Raises:
        BadInputError: it is missing, or lies elsewhere: whoever made the header may not choose what is read.
    """
    folder = os.path.abspath(path.parent)
    file = path.parent / named
    try:
        inside = os.path.abspath(file).startswith(os.path.join(folder, ""))
        # A path that leads out is only told from one of another computer, whose file may lie here too.
        there = inside and file.is_file()
        outside = not inside and os.path.lexists(file)
    except (OSError, ValueError):  # no name that the system can have
        there = outside = False
    if outside:
        raise BadInputError(
            f"{path.name} names a data file outside its own folder, which is not read. Put the two files into one "
            f"folder and write the data file's name alone behind {field}."
        )
    if not there:
        raise missing_data(path, file, field)
    return file


def check_output_name(path: Path, endings: Sequence[str]) -> None:
    """Refuse an output whose ending is not written, or in whose place a folder is.

    Raises:
        UsageError: names the output and the endings.
    """
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder. Give the name of a file to write, ending in {', '.join(endings)}.")
    if not path.name.lower().endswith(tuple(endings)):
        raise UsageError(f"{path.name} cannot be written: its ending is none of {', '.join(endings)}.")


def missing_data(path: Path, file: Path, field: str) -> BadInputError:
    """The error for a header whose separate data file is not there.

    Args:
        path: the header's file.
        file: the data file it names.
        field: the header's field that names it.
    """
    base = re.split(r"[\\/]", file.name)[-1]
    if len(base) > 255 or not base.isprintable():
        return BadInputError(f"{path.name} is damaged: what it names as its {field} is no file name. Export it again.")
    if base != file.name and (path.parent / base).is_file():
        return BadInputError(
            f"{path.name} names its data file by a path of another computer ({file.name}). {base} lies beside it: "
            f"open {path.name} in a text editor and write '{base}' behind {field}."
        )
    return BadInputError(f"{path.name}: its data file {base} is missing. Keep the two files together.")


def cannot_read(path: Path, error: OSError) -> BadInputError:
    """The error for an input that the operating system refuses."""
    return BadInputError(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}.")


def cannot_write(path: Path, error: OSError) -> BadInputError:
    """The error for an output that the operating system refuses."""
    reason = (error.strerror or str(error)).lower()
    return BadInputError(
        f"{path.name} cannot be written to {path.parent}: {reason}. Free some space there or choose another folder."
    )
