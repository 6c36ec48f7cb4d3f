"""NIfTI-1: what ITK leaves unchecked when reading, and exact headers when writing."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.volumes.checks import MIN_VOXELS, check_grid, check_shape
from modality_synthesis.volumes.geometry import Grid, affine
from modality_synthesis.volumes.nifti_grid import locate, unit_mm
from modality_synthesis.volumes.nifti_itk import itk_grid
from modality_synthesis.volumes.paths import cannot_read, check_regular
from modality_synthesis.volumes.payload import first_bytes, load_payload

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_HEADER_BYTES = 348
_GZIP_MAGIC = b"\x1f\x8b"
_COLOUR_OR_COMPLEX = {32: 2, 128: 3, 1792: 2, 2048: 2, 2304: 4}  # NIfTI data type code → numbers per voxel
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI world is RAS
_GEOMETRY_FIELDS = (
    "pixdim",
    "xyzt_units",
    "qform_code",
    "sform_code",
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"srow_{axis}" for axis in "xyz"),
)


def read_header(path: Path) -> Nifti1Header:
    """The header of a .nii or .nii.gz file, of either byte order.

    Raises:
        BadInputError: not a single-file NIfTI-1, or a header that makes no sense.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.spatialimages import HeaderDataError

    block = _first_bytes(path)
    size = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    if 540 in size:
        raise BadInputError(f"{path.name} is a NIfTI-2 file, which is not read here. Save it as NIfTI-1 (.nii.gz).")
    if _HEADER_BYTES not in size or block[344:347] != b"n+1":
        raise BadInputError(f"{path.name} is not a NIfTI file although it is named like one. Export it again.")
    try:
        header = Nifti1Header(block, check=False)
        itemsize = header.get_data_dtype().itemsize
        rank = int(header["dim"][0])
        sound = itemsize > 0 and 1 <= rank <= 7 and all(count > 0 for count in _shape(header))
        sound = sound and 0 <= float(header["vox_offset"]) < math.inf
    except (HeaderDataError, ValueError, KeyError):
        sound = False
    if not sound:
        raise BadInputError(f"{path.name} is damaged: its NIfTI header makes no sense. Copy or download it again.")
    return header


def read(path: Path) -> tuple[sitk.Image, list[Finding]]:
    """The volume of a .nii or .nii.gz file in float32, and what is to be said about its orientation.

    The voxels are not read by ITK, which replaces NaN and infinity by 0, fills what is missing with zeros and
    ignores the checksum.

    Raises:
        BadInputError: wrong kind of voxels, header errors, truncated or damaged data.
    """
    header = read_header(path)
    shape, findings = _volume_shape(header, path.name)
    check_shape(shape, _COLOUR_OR_COMPLEX.get(int(header["datatype"]), 1), path.name)
    image = sitk.GetImageFromArray(_voxels(path, header, shape[:3]))
    grid, doubts = _located(path, header, shape)
    check_grid(grid.spacing, grid.direction, path.name)
    grid.put_on(image)
    return image, findings + doubts


def read_grid(path: Path) -> tuple[tuple[int, ...], Grid]:
    """Size and grid of the volume that `read` makes; the voxels are not read. Same errors."""
    header = read_header(path)
    shape, _ = _volume_shape(header, path.name)
    if len(shape) < 3:
        check_shape(shape, 1, path.name)
    return tuple(shape), _located(path, header, shape)[0]


def _shape(header: Nifti1Header) -> list[int]:
    """Voxels per axis; further axes of length 0, which old writers announce, are of length 1."""
    rank = int(header["dim"][0])
    dims = [int(count) for count in header["dim"][1 : rank + 1]]
    return dims[:3] + [count or 1 for count in dims[3:]]


def _volume_shape(header: Nifti1Header, name: str) -> tuple[list[int], list[Finding]]:
    """`_shape`, with slices that lie along the fourth axis, the third one being empty, brought to the third."""
    shape = _shape(header)
    if len(shape) < 4 or shape[2] != 1 or shape[3] < MIN_VOXELS or math.prod(shape[4:]) > 1:
        return shape, []
    finding = Finding(
        "fourth-dimension",
        "look",
        f"{name} is stored as {'×'.join(map(str, shape))}: its {shape[3]} slices lie along the fourth axis, where time "
        "points belong. They are taken as the slices of one volume.",
        "If they are time points of one slice, it cannot be used.",
    )
    return [shape[0], shape[1], shape[3]], [finding]


def _located(path: Path, header: Nifti1Header, shape: list[int]) -> tuple[Grid, list[Finding]]:
    if not all(math.isfinite(step) and step != 0 for step in header["pixdim"][1:4].tolist()):
        raise BadInputError(f"{path.name} has no voxel size in its header (pixdim is zero or not finite). Correct it.")
    spacing = np.abs(header["pixdim"][1:4].astype(float)) * unit_mm(header)
    check_grid(spacing.tolist(), np.eye(3).ravel().tolist(), path.name)
    return locate(header, tuple(shape[:3]), itk_grid(header), path.name)


def stored_type(path: Path) -> np.dtype[Any]:
    """How the file stores its voxels."""
    return read_header(path).get_data_dtype()


def write(image: sitk.Image, path: Path, *, like: Nifti1Header | None, description: str) -> None:
    """Write .nii or .nii.gz (compressed quickly; the same volume gives the same bytes).

    Args:
        image: 3-D scalar volume.
        path: ends in .nii or .nii.gz.
        like: its geometry fields are copied bit for bit; they must describe `image`'s grid.
        description: at most 79 bytes are kept.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    header = _header(image, voxels.dtype)
    for field in _GEOMETRY_FIELDS if like is not None else ():
        header[field] = like[field]  # type: ignore[index]
    header["descrip"] = description.encode("ascii", "replace")[:79]
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
                _write_parts(stream, header, voxels)
        else:
            _write_parts(file, header, voxels)


def _voxels(path: Path, header: Nifti1Header, shape: list[int]) -> np.ndarray:
    """Scaled values, float32 (z, y, x)."""
    dtype = header.get_data_dtype()
    offset = max(int(header["vox_offset"]), _HEADER_BYTES)
    content = load_payload(
        path,
        name=path.name,
        expected=offset + math.prod(shape) * dtype.itemsize,
        compression="gzip" if _is_gzip(path) else "none",
    )
    stored = np.frombuffer(content, dtype, count=math.prod(shape), offset=offset).reshape(shape[::-1])
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # A slope of zero, or none at all, means that the values are stored as they are.
    if not math.isfinite(slope) or slope == 0 or not math.isfinite(intercept):
        slope, intercept = 1.0, 0.0
    values = np.empty(stored.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for plane, target in zip(stored, values, strict=True):
            target[:] = plane if (slope, intercept) == (1.0, 0.0) else plane * np.float64(slope) + intercept
    return values


def _first_bytes(path: Path) -> bytes:
    check_regular(path)
    packed = _is_gzip(path)
    if packed and path.suffix.lower() != ".gz":
        raise BadInputError(f"{path.name} is gzip-compressed. Rename it to {path.name}.gz.")
    try:
        with path.open("rb") as stream:
            block = first_bytes(stream, _HEADER_BYTES) if packed else stream.read(_HEADER_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise BadInputError(f"{path.name} is damaged ({error}). Copy or download it again.") from None
    if len(block) < _HEADER_BYTES:
        raise BadInputError(
            f"{path.name} is truncated: {len(block)} bytes are no NIfTI header. Copy or download it again."
        )
    return block


def _is_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(2) == _GZIP_MAGIC
    except OSError as error:
        raise cannot_read(path, error) from None


def _header(image: sitk.Image, dtype: np.dtype[Any]) -> Nifti1Header:
    from nibabel.nifti1 import Nifti1Header

    header = Nifti1Header(endianness="<")
    header.set_data_dtype(dtype)
    header.set_data_shape(image.GetSize())
    header.set_xyzt_units("mm", "sec")
    matrix = _LPS @ affine(image)
    header.set_qform(matrix, code=1)
    header.set_sform(matrix, code=1)
    # set_qform derives the voxel size from the matrix, one rounding later.
    header["pixdim"][1:4] = image.GetSpacing()
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = b"n+1"
    return header


def _write_parts(stream: Any, header: Nifti1Header, voxels: np.ndarray) -> None:
    stream.write(header.binaryblock)
    stream.write(bytes(4))  # no extensions
    for plane in voxels:
        stream.write(np.ascontiguousarray(plane, dtype=voxels.dtype.newbyteorder("<")).data)
