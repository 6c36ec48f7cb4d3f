"""Any volume file or DICOM folder in, one checked float32 volume out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import metaimage, nifti, nrrd
from modality_synthesis.volumes.checks import check_values
from modality_synthesis.volumes.dicom_files import is_dicom_input
from modality_synthesis.volumes.geometry import Grid
from modality_synthesis.volumes.paths import split_series, volume_ending


def read_image(
    path: str | Path, *, series: str | None = None, unmeasured: bool = False, reporter: Reporter | None = None
) -> sitk.Image:
    """Read and check one 3-D grey-value volume.

    Geometry is what ITK, and so 3D Slicer, makes of the file, but for a NIfTI file whose sform and qform contradict
    each other (`nifti_grid`). Stored scaling (scl_slope, RescaleSlope, ElementToIntensityFunctionSlope) is applied.

    Args:
        path: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), a DICOM folder, or one file
            of it; `FOLDER#2` is series 2 of a DICOM folder.
        series: for DICOM: the SeriesInstanceUID, series number or description to take.
        unmeasured: accept NaN and infinity as voxels that were not measured (`coverage.read_covered`), and make NaN of
            what a DICOM header names as padding.
        reporter: receives findings and warnings: conflicting or missing orientation, corrected gantry tilt or uneven
            slices. Default: the one of the command under way (`progress.current`).

    Returns:
        float32 volume, LPS world in mm, without metadata.

    Raises:
        BadInputError: missing, unsupported, damaged or truncated file; not one 3-D grey-value volume; NaN,
            infinity or constant values; implausible voxel size; sheared axes; DICOM slices that do not form a
            regular stack.
    """
    reporter = reporter or current()
    path, named = split_series(path)
    series = series or named
    if is_dicom_input(path):
        from modality_synthesis.volumes.dicom import read_dicom

        image = read_dicom(path, series, reporter, unmeasured=unmeasured)
    else:
        if series is not None:
            raise BadInputError(f"{path.name} is no DICOM data, so that no series can be chosen in it.")
        image = _read_file(path, reporter)
    check_values(image, path.name, unmeasured=unmeasured)
    return image


def grid_reader(ending: str) -> Callable[[Path], tuple[tuple[int, ...], Grid]]:
    """What reads size and grid from a header of this kind (`paths.volume_ending`)."""
    if ending in (".nii", ".nii.gz"):
        return nifti.read_grid
    return nrrd.read_grid if ending in (".nrrd", ".nhdr") else metaimage.read_grid


def _read_file(path: Path, reporter: Reporter) -> sitk.Image:
    ending = volume_ending(path)
    if ending in (".nii", ".nii.gz"):
        image, findings = nifti.read(path)
        for finding in findings:
            reporter.finding(finding)
    elif ending in (".nrrd", ".nhdr"):
        image = nrrd.read(path)
        nrrd.warn_about_orientation(path, reporter)
    else:
        image = metaimage.scaled(path, metaimage.read(path), reporter)
    return image
