"""NRRD: read without ITK, whose parser damaged headers crash, and written with exact headers."""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.checks import check_grid, check_shape
from modality_synthesis.volumes.geometry import Grid, affine
from modality_synthesis.volumes.paths import cannot_read, check_regular, detached_data
from modality_synthesis.volumes.payload import from_the_end, load_payload, values_of

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
# World axes, as factors that turn them into Left, Posterior, Superior.
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
}
_TYPE_NAMES = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32"}
_TYPE_NAMES |= {"i8": "int64", "u8": "uint64", "f4": "float", "f8": "double"}
_GEOMETRY_FIELDS = ("space", "space directions", "space origin")


@dataclass(frozen=True)
class Header:
    """The fields of a NRRD header, names in lower case, and where its text ends in the file."""

    fields: dict[str, str]
    end: int

    @property
    def sizes(self) -> list[int]:
        """Samples per axis, fastest first."""
        return [int(count) for count in self.fields["sizes"].split()]

    @property
    def byte_skip(self) -> int:
        """Bytes before the voxels; -1 means that the voxels are the last bytes of the file."""
        return int(self.fields.get("byte skip", self.fields.get("byteskip", "0")))


def read_header(path: Path) -> Header:
    """The header of a .nrrd or .nhdr file.

    Raises:
        BadInputError: not a NRRD file, or essential fields are missing.
    """
    fields: dict[str, str] = {}
    check_regular(path)
    try:
        with path.open("rb") as stream:
            if not stream.readline(80).startswith(b"NRRD000"):
                raise BadInputError(f"{path.name} is not a NRRD file although it is named like one. Export it again.")
            while line := stream.readline(1 << 20).decode("utf-8", "replace").rstrip("\r\n"):
                key, colon, value = line.partition(":")
                if colon and not line.startswith("#") and not value.startswith("="):
                    fields[key.strip().lower()] = value.strip()
            end = stream.tell()
        header = Header(fields, end)
        sound = fields["type"].lower() in _TYPES and "encoding" in fields and all(n > 0 for n in header.sizes)
        sound = sound and header.byte_skip >= -1
    except OSError as error:
        raise cannot_read(path, error) from None
    except (KeyError, ValueError):
        sound = False
    if not sound:
        raise BadInputError(f"{path.name} is damaged: its NRRD header is incomplete. Copy or download it again.")
    return header


def data_file(path: Path, header: Header) -> Path:
    """Where the voxels are: the file itself, or the one beside it that its header names.

    Raises:
        BadInputError: it is missing, several files are named, or one outside the header's folder.
    """
    named = header.fields.get("data file", header.fields.get("datafile"))
    if named is None:
        return path
    if named.upper().startswith("LIST") or "%" in named:
        raise BadInputError(
            f"{path.name} is spread over several data files, which are not read. Load it in 3D Slicer and save it as "
            f"one .nrrd file (or: unu save -f nrrd -i {path.name} -o NEW.nrrd)."
        )
    return detached_data(path, named, "data file")


def read(path: Path) -> sitk.Image:
    """The volume of a .nrrd or .nhdr file in float32, in LPS.

    Raises:
        BadInputError: wrong kind of voxels, header errors, truncated or damaged data.
    """
    header = read_header(path)
    size, components = _volume_axes(header)
    check_shape(size, components, path.name)
    file = data_file(path, header)
    encoding = header.fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise BadInputError(f"{path.name} is stored with the encoding {encoding[:40]!r}. Save it as raw or gzip.")
    image = sitk.GetImageFromArray(_voxels(path, header, file, size[:3]))
    try:
        grid = _grid(header)
    except (ValueError, IndexError):
        raise BadInputError(
            f"{path.name} is damaged: the directions, spacings or origin in its header are no numbers, or too few. "
            "Export it again."
        ) from None
    check_grid(grid.spacing, grid.direction, path.name)
    grid.put_on(image)
    return image


def read_grid(path: Path) -> tuple[tuple[int, ...], Grid]:
    """Size and grid of the volume that `read` makes; the voxels are not read.

    Raises:
        BadInputError: the header makes no sense.
    """
    header = read_header(path)
    try:
        return tuple(_volume_axes(header)[0][:3]), _grid(header)
    except (ValueError, IndexError):
        raise BadInputError(f"{path.name} is damaged: its NRRD header makes no sense. Export it again.") from None


def _voxels(path: Path, header: Header, file: Path, size: list[int]) -> np.ndarray:
    stored = np.dtype(_TYPES[header.fields["type"].lower()])
    expected = math.prod(header.sizes) * stored.itemsize
    raw = header.fields["encoding"].lower() == "raw"
    if header.byte_skip == -1 and not raw:
        raise BadInputError(f"{path.name}: a 'byte skip' of -1 goes with raw data only. Save it again.")
    content = load_payload(
        file,
        name=path.name,
        expected=expected,
        offset=from_the_end(file, expected) if header.byte_skip == -1 else header.end if file == path else 0,
        skip=max(header.byte_skip, 0),
        compression="none" if raw else "gzip",
    )
    if header.fields.get("endian", "little").lower() == "big":
        stored = stored.newbyteorder(">")
    return values_of(content, stored, size)


def _grid(header: Header) -> Grid:
    """Of the spatial axes.

    Raises:
        ValueError, IndexError: no numbers, or too few.
    """
    spatial = _spatial(header)[:3]
    spacing, cosines = np.ones(3), np.eye(3)
    directions = _vectors(header.fields.get("space directions", ""))
    space = header.fields.get("space", "").lower().removesuffix("-time")
    turn = np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))
    if directions:
        axes = np.array([directions[axis] for axis in spatial], dtype=float).T
        spacing = np.linalg.norm(axes, axis=0)
        cosines = turn[:, None] * axes / spacing
    elif "spacings" in header.fields:
        steps = header.fields["spacings"].split()
        spacing = np.array([float(steps[axis]) for axis in spatial])
    origin = np.zeros(3)
    if "space origin" in header.fields:
        origin = turn * np.array(_vectors(header.fields["space origin"])[0], dtype=float)[:3]
    elif not directions and "axis mins" in header.fields:
        mins = header.fields["axis mins"].split()
        origin = np.array([float(mins[axis]) for axis in spatial])
    if cosines.shape != (3, 3) or not np.isfinite([*spacing, *origin, *cosines.ravel()]).all():
        raise ValueError
    return Grid(
        tuple(np.where(spacing == 0, 1.0, spacing).tolist()), tuple(origin.tolist()), tuple(cosines.ravel().tolist())
    )


def _vectors(text: str) -> list[tuple[float, ...] | None]:
    """The vectors of a field, `(1,0,0) none (0,1,0)` for example; None stands for `none`."""
    found = re.findall(r"\(([^)]*)\)|(none)", text)
    return [None if none else tuple(float(number) for number in inside.split(",")) for inside, none in found]


def warn_about_orientation(path: Path, reporter: Reporter) -> None:
    """Say so when the file does not tell where its voxels are."""
    header = read_header(path)
    space = header.fields.get("space", "")
    if not space or space.lower().startswith("3d") or "space directions" not in header.fields:
        reporter.warning(
            f"{path.name} does not say how it is oriented (no anatomical 'space' or no 'space directions'). "
            "Its axes are taken as Left, Posterior, Superior: check left and right."
        )


def stored_type(path: Path) -> np.dtype[Any]:
    """How the file stores its voxels."""
    return np.dtype(_TYPES[read_header(path).fields["type"].lower()])


def write(image: sitk.Image, path: Path, *, like: Header | None, description: str) -> None:
    """Write a gzip-compressed .nrrd.

    Args:
        image: 3-D scalar volume.
        path: ends in .nrrd.
        like: its geometry lines are copied as they are; they must describe `image`'s grid.
        description: goes into the field `content`.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    matrix = affine(image)
    geometry = {
        "space": "left-posterior-superior",
        "space directions": " ".join(_vector(matrix[:3, axis]) for axis in range(3)),
        "space origin": _vector(matrix[:3, 3]),
    }
    if like is not None:
        geometry = {key: like.fields[key] for key in _GEOMETRY_FIELDS}
    fields = {
        "type": _TYPE_NAMES[voxels.dtype.str[1:]],
        "dimension": "3",
        "sizes": " ".join(map(str, image.GetSize())),
        **geometry,
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "gzip",
        **({"content": " ".join(description.split())} if description else {}),
    }
    # The format wants type and dimension first, and `space` before the fields that depend on it.
    text = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"
    with path.open("wb") as file:
        file.write(text.encode("utf-8"))
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            for plane in voxels:
                stream.write(np.ascontiguousarray(plane, dtype=voxels.dtype.newbyteorder("<")).data)


def copies_exactly(header: Header) -> bool:
    """Whether the geometry lines of a header can stand in the header of a 3-D volume."""
    return len(header.sizes) == 3 and all(key in header.fields for key in _GEOMETRY_FIELDS)


def _volume_axes(header: Header) -> tuple[list[int], int]:
    """Sizes of the spatial axes, and numbers per voxel."""
    spatial = _spatial(header)
    others = [count for axis, count in enumerate(header.sizes) if axis not in spatial]
    return [header.sizes[axis] for axis in spatial], math.prod(others)


def _spatial(header: Header) -> list[int]:
    """Which axes are of space (or time, where there are more than three)."""
    kinds = header.fields.get("kinds", "").lower().split()
    directions = header.fields.get("space directions", "").replace(", ", ",").split()
    spatial = []
    for axis in range(len(header.sizes)):
        no_direction = axis < len(directions) and directions[axis] == "none"
        other_kind = axis < len(kinds) and kinds[axis] not in ("domain", "space", "time", "none", "???")
        if len(header.sizes) <= 3 or not (no_direction or other_kind):
            spatial.append(axis)
    return spatial


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
