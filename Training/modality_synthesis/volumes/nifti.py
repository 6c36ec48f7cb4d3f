"""NIfTI-1: what ITK leaves unchecked when reading, and exact headers when writing.

Which of a header's two orientations counts is ITK's decision (and so 3D Slicer's): the sform when its code is
1 or the qform has no code, else the qform.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.checks import check_shape
from modality_synthesis.volumes.geometry import affine, largest_displacement
from modality_synthesis.volumes.itk_io import read_grid
from modality_synthesis.volumes.paths import cannot_read
from modality_synthesis.volumes.payload import load_payload

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_HEADER_BYTES = 348
_GZIP_MAGIC = b"\x1f\x8b"
_COLOUR_OR_COMPLEX = {32: 2, 128: 3, 1792: 2, 2048: 2, 2304: 4}  # NIfTI data type code → numbers per voxel
_UNIT_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
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
_DISAGREEMENT_MM = 0.1


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
        header.get_data_dtype()
        rank = int(header["dim"][0])
        dims = [int(count) for count in header["dim"][1 : rank + 1]]
        sound = 1 <= rank <= 7 and all(count > 0 for count in dims) and float(header["vox_offset"]) >= 0
    except (HeaderDataError, ValueError, KeyError):
        sound = False
    if not sound:
        raise BadInputError(f"{path.name} is damaged: its NIfTI header makes no sense. Copy or download it again.")
    return header


def read(path: Path) -> sitk.Image:
    """The volume of a .nii or .nii.gz file in float32, with ITK's geometry.

    The voxels are not read by ITK, which replaces NaN and infinity by 0, fills what is missing with zeros and
    ignores the checksum.

    Raises:
        BadInputError: wrong kind of voxels, header errors, truncated or damaged data.
    """
    header = read_header(path)
    dims = header["dim"].tolist()
    shape = dims[1 : dims[0] + 1]
    check_shape(shape, _COLOUR_OR_COMPLEX.get(int(header["datatype"]), 1), path.name)
    if not all(math.isfinite(step) and step != 0 for step in header["pixdim"][1:4].tolist()):
        raise BadInputError(f"{path.name} has no voxel size in its header (pixdim is zero or not finite). Correct it.")
    image = sitk.GetImageFromArray(_voxels(path, header, shape[:3]))
    grid = read_grid(path)
    image.SetSpacing(grid.GetSpacing())
    image.SetOrigin(grid.GetOrigin())
    image.SetDirection(grid.GetDirection())
    return image


def warn_about_orientation(path: Path, image: sitk.Image, reporter: Reporter) -> None:
    """Say so when the file does not tell where its voxels are, or tells it in two ways that disagree.

    Args:
        path: the file.
        image: as ITK read it.
        reporter: receives the warning.
    """
    header = read_header(path)
    coded = _coded_affines(header)
    if not coded:
        reporter.warning(
            f"{path.name} does not say how it is oriented (no qform or sform code). Its axes are taken as "
            "Left, Posterior, Superior, as ITK and 3D Slicer do: check left and right."
        )
        return
    used = _LPS @ affine(image)
    apart = {name: largest_displacement(used, matrix, image.GetSize()) for name, matrix in coded.items()}
    worst = max(apart, key=lambda name: apart[name])
    if not apart[worst] <= _DISAGREEMENT_MM:
        best = min(apart, key=lambda name: apart[name])
        other = f"the {best} is used" if best != worst else "the voxel size in pixdim is used"
        pair = "qform and sform" if best != worst else f"{worst} and voxel size"
        reporter.warning(
            f"{path.name}: {pair} disagree by up to {apart[worst]:.1f} mm; {other}, as ITK and 3D Slicer do. "
            "Check the position and left/right."
        )


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
    packed = _is_gzip(path)
    if packed and path.suffix.lower() != ".gz":
        raise BadInputError(f"{path.name} is gzip-compressed. Rename it to {path.name}.gz.")
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            block = stream.read(_HEADER_BYTES)
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


def _coded_affines(header: Nifti1Header) -> dict[str, np.ndarray]:
    """Index → RAS in mm, for each orientation that the header declares valid."""
    scale = np.diag([_UNIT_TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])
    found = {}
    if int(header["sform_code"]) > 0:
        found["sform"] = scale @ header.get_sform()
    if int(header["qform_code"]) > 0:
        with np.errstate(invalid="ignore"):
            found["qform"] = scale @ header.get_qform()
    return found


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
