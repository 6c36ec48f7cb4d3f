"""What ITK, and so 3D Slicer, makes of the geometry in a NIfTI header.

ITK is shown a header made here, of the geometry alone: in one of somebody else's, infinity in the sform keeps its
decomposition going for ever, and what else it reads (extensions, names of further files) is no business of a grid's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.volumes.geometry import Grid
from modality_synthesis.volumes.nifti_grid import possible_forms

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_FIELDS = {
    "sform": tuple(f"srow_{axis}" for axis in "xyz"),
    "qform": (*(f"quatern_{axis}" for axis in "bcd"), *(f"qoffset_{axis}" for axis in "xyz")),
}


def itk_grid(header: Nifti1Header) -> Grid | None:
    """The grid of a NIfTI file as ITK has it, to the last bit; None when ITK refuses it (a sheared sform).

    Args:
        header: with a voxel size that a scan can have.
    """
    reader = sitk.ImageFileReader()
    # ITK prints to stderr what is said here in words.
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory(prefix="modality-synthesis-") as folder:
            file = Path(folder) / "header.nii"
            file.write_bytes(_geometry_of(header).binaryblock + bytes(4))
            reader.SetFileName(str(file))
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    axes = reader.GetDimension()
    cosines = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
    return Grid(reader.GetSpacing()[:3], reader.GetOrigin()[:3], tuple(cosines.ravel().tolist()))


def _geometry_of(header: Nifti1Header) -> Nifti1Header:
    """A header of one byte per voxel on the same grid, without the orientations that are none."""
    from nibabel.nifti1 import Nifti1Header

    plain = Nifti1Header(endianness="<")
    plain.set_data_dtype(np.uint8)
    plain["dim"], plain["xyzt_units"] = header["dim"], header["xyzt_units"]
    plain["pixdim"] = 1.0
    plain["pixdim"][0] = -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    plain["pixdim"][1:4] = header["pixdim"][1:4]
    for form in possible_forms(header):
        for field in _FIELDS[form]:
            plain[field] = header[field]
        plain[f"{form}_code"] = header[f"{form}_code"]
    plain["vox_offset"], plain["magic"] = 352, b"n+1"
    return plain
