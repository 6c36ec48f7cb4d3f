"""A DICOM folder in, one volume out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.checks import check_grid, check_shape
from modality_synthesis.volumes.dicom_grid import on_grid
from modality_synthesis.volumes.dicom_index import choose, dicom_series, read_header
from modality_synthesis.volumes.dicom_pixels import stack_values
from modality_synthesis.volumes.dicom_stack import Stack, build_stack

# Two blocks of 0.5 and 5 mm need 10 times as many planes as the thick one has slices.
_MOST_PLANES = 12


def read_dicom(path: Path, series: str | None, reporter: Reporter, *, unmeasured: bool = False) -> sitk.Image:
    """Read one series of a DICOM folder.

    Gantry tilt is corrected by shifting the slices within their planes, and slices at uneven distances (two blocks of
    different thickness) are interpolated onto a regular grid; each with a warning.

    Args:
        path: the folder, or one file of it (then that file's series, with a warning if it has other files).
        series: SeriesInstanceUID, series number or description; needed when the folder holds several volumes.
        reporter: receives warnings.
        unmeasured: what its header names as padding, and what lies beside tilted slices, is NaN; else a CT's padding is
            air, and beside tilted slices the volume has its lowest value.

    Returns:
        float32 volume, LPS world in mm.

    Raises:
        BadInputError: no, or several, series fit; the slices form no regular volume; damaged files.
    """
    stack, name = find_stack(path, series, reporter), (path.parent if path.is_file() else path).name
    columns, rows = stack.slices[0].size
    check_shape((columns, rows, stack.depth), 1, name)
    if stack.depth > _MOST_PLANES * len(stack.slices):
        raise BadInputError(
            f"{name}: its {len(stack.slices)} slices lie so unevenly that {stack.depth} planes would be needed for a "
            "regular volume. Use an evenly spaced reconstruction."
        )
    check_grid(stack.spacing, stack.direction.ravel().tolist(), name)
    voxels = stack_values(stack.slices, name, reporter, unmeasured=unmeasured)
    files = len({part.path for part in stack.slices})
    if path.is_file() and files > 1:
        reporter.warning(f"{path.name} is one image of a DICOM series: the whole series of {files} images is read.")
    if any(stack.shear):
        reporter.warning(
            f"{name}: the slices are tilted by {stack.tilt_degrees:.1f} degrees (gantry tilt). They were "
            "shifted onto a grid at right angles; the result is on that grid."
        )
    if not stack.is_even:
        reporter.warning(
            f"{name}: the {len(stack.slices)} slices lie {stack.distances.min():.2f} to {stack.distances.max():.2f} mm "
            f"apart. {stack.depth} planes every {stack.spacing[2]:.2f} mm were interpolated between them; the result "
            "is on that grid, and shows no more detail than the slices."
        )
    return on_grid(stack, voxels, outside=np.nan if unmeasured else float(voxels.min()))


def stack_grid(stack: Stack) -> sitk.Image:
    """The grid of the volume that `read_dicom` makes of a stack; all its voxels are zero."""
    columns, rows = stack.slices[0].size
    return on_grid(stack, np.zeros((len(stack.slices), rows, columns), dtype=np.uint8), outside=0)


def find_stack(path: Path, series: str | None, reporter: Reporter) -> Stack:
    """The ordered slices that `read_dicom` reads; headers only. Arguments and errors are the same."""
    if path.is_file():
        if read_header(path) is None:
            raise BadInputError(f"{path.name} is a DICOM file without image data. Give the folder of an image series.")
        folder = path.parent
    else:
        folder = path
    info = choose(dicom_series(folder), series, folder.name, path)
    for doubt in info.doubts:
        action = "Compare the result with another program's, or export the series again."
        reporter.finding(Finding("dicom-header", "look", f"{folder.name}: {doubt}.", action))
    stack = build_stack(info.planes, folder.name)
    repeated = len(info.planes) - len(stack.slices)
    if repeated:
        reporter.warning(f"{folder.name}: {repeated} slices are there twice (the same images); one of each is used.")
    return stack
