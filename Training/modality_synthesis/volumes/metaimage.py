"""MetaImage (.mha, .mhd): read without ITK, whose parser damaged headers crash; ITK writes it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.checks import check_grid, check_shape
from modality_synthesis.volumes.geometry import Grid
from modality_synthesis.volumes.itk_paths import path_for_itk
from modality_synthesis.volumes.paths import cannot_read, check_regular, detached_data
from modality_synthesis.volumes.payload import from_the_end, load_payload, values_of

_TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4"}
_TYPES |= {"ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}
_TRUE = ("true", "1", "t", "y", "yes")


@dataclass(frozen=True)
class Header:
    """The fields of a MetaImage header, names in lower case, and where its text ends in the file."""

    fields: dict[str, str]
    end: int

    @property
    def sizes(self) -> list[int]:
        """Voxels per axis, x first."""
        return [int(count) for count in self.fields["dimsize"].split()]


def read_header(path: Path) -> Header:
    """The header of a .mha or .mhd file.

    Raises:
        BadInputError: not a MetaImage file, or essential fields are missing.
    """
    fields: dict[str, str] = {}
    check_regular(path)
    try:
        with path.open("rb") as stream:
            while line := stream.readline(1 << 16):
                key, equals, value = line.decode("utf-8", "replace").partition("=")
                if not equals:
                    break
                fields[key.strip().lower()] = value.strip()
                # The voxels follow this line.
                if key.strip().lower() == "elementdatafile":
                    break
            header = Header(fields, stream.tell())
        sound = "elementdatafile" in fields and all(count > 0 for count in header.sizes) and _type(header).itemsize > 0
    except OSError as error:
        raise cannot_read(path, error) from None
    except (KeyError, ValueError):
        sound = False
    if not sound:
        raise BadInputError(
            f"{path.name} is not a MetaImage file although it is named like one, or its header is damaged. "
            "Export it again."
        )
    return header


def data_file(path: Path, header: Header) -> Path:
    """Where the voxels are: the file itself, or the one beside it that its header names.

    Raises:
        BadInputError: it is missing, several files are named, or one outside the header's folder.
    """
    named = header.fields["elementdatafile"]
    if named.upper() == "LOCAL":
        return path
    if named.upper().startswith("LIST") or "%" in named:
        raise BadInputError(
            f"{path.name} is spread over several data files, which are not read. Load it in 3D Slicer and save it as "
            "one .mha file."
        )
    return detached_data(path, named, "ElementDataFile")


def read(path: Path) -> sitk.Image:
    """The volume of a .mha or .mhd file in float32, as stored (`scaled` applies what the header says of it).

    Raises:
        BadInputError: wrong kind of voxels, header errors, truncated or damaged data.
    """
    header = read_header(path)
    check_shape(header.sizes, _integer(header, "elementnumberofchannels", 1, path), path.name)
    file = data_file(path, header)
    if header.fields.get("binarydata", "True").lower() not in _TRUE:
        raise BadInputError(f"{path.name} stores its voxels as text. Save it as a binary .mha file.")
    image = sitk.GetImageFromArray(_voxels(path, header, file))
    grid = _grid(header, path)
    check_grid(grid.spacing, grid.direction, path.name)
    grid.put_on(image)
    return image


def read_grid(path: Path) -> tuple[tuple[int, ...], Grid]:
    """Size and grid of the volume that `read` makes; the voxels are not read. Same errors."""
    header = read_header(path)
    return tuple(header.sizes[:3]), _grid(header, path)


def _voxels(path: Path, header: Header, file: Path) -> np.ndarray:
    stored, compressed = _type(header), header.fields.get("compresseddata", "False").lower() in _TRUE
    expected = math.prod(header.sizes) * stored.itemsize
    skip = _integer(header, "headersize", 0, path)
    last = skip == -1 and not compressed
    beginning = header.end if file == path else max(skip, 0)
    content = load_payload(
        file,
        name=path.name,
        expected=expected,
        offset=from_the_end(file, expected) if last else beginning,
        compression="zlib" if compressed else "none",
    )
    most_first = header.fields.get("binarydatabyteordermsb", header.fields.get("elementbyteordermsb", "False"))
    return values_of(content, stored.newbyteorder(">" if most_first.lower() in _TRUE else "<"), header.sizes[:3])


def _grid(header: Header, path: Path) -> Grid:
    rank = len(header.sizes)
    spacing = _numbers(header, ("elementspacing", "elementsize"), [1.0] * rank, path)
    origin = _numbers(header, ("offset", "position", "origin"), [0.0] * rank, path)
    rows = _numbers(header, ("transformmatrix", "rotation", "orientation"), np.eye(rank).ravel().tolist(), path)
    # Each row of the file's matrix is the direction of one axis.
    cosines = np.array(rows).reshape(rank, rank)[:3, :3].T
    lengths = np.linalg.norm(cosines, axis=0)
    if not (lengths > 0).all():
        raise _no_numbers(path, "transformmatrix")
    cosines = cosines / lengths
    return Grid(tuple(spacing[:3]), tuple(origin[:3]), tuple(cosines.ravel().tolist()))


def _numbers(header: Header, keys: tuple[str, ...], default: list[float], path: Path) -> list[float]:
    """Those of the first field that is there."""
    key = next((name for name in keys if name in header.fields), None)
    if key is None:
        return default
    try:
        numbers = [float(number) for number in header.fields[key].split()]
    except ValueError:
        numbers = []
    if len(numbers) != len(default) or not np.isfinite(numbers).all():
        raise _no_numbers(path, key)
    return numbers


def _no_numbers(path: Path, key: str) -> BadInputError:
    return BadInputError(
        f"{path.name} is damaged: '{key}' in its header does not hold the numbers that belong there. Export it again."
    )


def scaled(path: Path, image: sitk.Image, reporter: Reporter) -> sitk.Image:
    """Apply the slope and offset that turn stored numbers into intensities, which ITK ignores.

    Raises:
        BadInputError: they are no numbers.
    """
    fields = read_header(path).fields
    try:
        slope = float(fields.get("elementtointensityfunctionslope", "1"))
        offset = float(fields.get("elementtointensityfunctionoffset", "0"))
    except ValueError:
        slope = offset = math.nan
    if not (math.isfinite(slope) and math.isfinite(offset) and slope != 0):
        raise BadInputError(f"{path.name}: its ElementToIntensityFunction is no number. Correct the header.")
    if (slope, offset) == (1.0, 0.0):
        return image
    reporter.finding(
        Finding(
            "intensity-function",
            "look",
            f"{path.name}: its header says that intensities are {slope:g} times the stored numbers plus {offset:g}; "
            "that was applied. 3D Slicer and ITK show the stored numbers.",
            "If the stored numbers are meant, remove the two ElementToIntensityFunction lines.",
        )
    )
    return sitk.ShiftScale(image, offset / slope, slope, sitk.sitkFloat32)


def stored_type(path: Path) -> np.dtype[Any]:
    """How the file stores its voxels."""
    return _type(read_header(path))


def write(image: sitk.Image, path: Path, *, description: str) -> None:
    """Write a compressed .mha; `description` becomes the header's comment."""
    labelled = sitk.Image(image)
    for key in labelled.GetMetaDataKeys():
        labelled.EraseMetaData(key)
    if description:
        labelled.SetMetaData("Comment", " ".join(description.split())[:255])
    with path_for_itk(path, write=True) as name:
        sitk.WriteImage(labelled, name, useCompression=True, compressionLevel=1)


def _integer(header: Header, key: str, default: int, path: Path) -> int:
    try:
        return int(header.fields.get(key, default))
    except ValueError:
        raise BadInputError(f"{path.name} is damaged: {key} in its header is no number. Export it again.") from None


def _type(header: Header) -> np.dtype[Any]:
    return np.dtype(_TYPES[header.fields["elementtype"].upper().removeprefix("MET_")])
