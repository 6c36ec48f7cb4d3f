"""File endings, and what is decided from a path alone."""

from __future__ import annotations

from pathlib import Path

from modality_synthesis.errors import BadInputError

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


def unsupported_ending(path: Path) -> BadInputError:
    """The error for a file whose ending is not read here: it says how to convert."""
    hint = _KNOWN_ELSEWHERE.get(path.suffix.lower())
    if hint:
        return BadInputError(f"{path.name} is {hint.format(name=path.name, stem=path.stem)}.")
    return BadInputError(
        f"{path.name} is not a volume that can be read: its ending is none of {', '.join(READABLE)}, and it "
        "is no DICOM file. Convert it to .nii.gz, or give a DICOM folder."
    )


def cannot_read(path: Path, error: OSError) -> BadInputError:
    """The error for an input that the operating system refuses."""
    return BadInputError(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}.")


def cannot_write(path: Path, error: OSError) -> BadInputError:
    """The error for an output that the operating system refuses."""
    reason = (error.strerror or str(error)).lower()
    return BadInputError(
        f"{path.name} cannot be written to {path.parent}: {reason}. Free some space there or choose another folder."
    )
