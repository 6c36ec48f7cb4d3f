"""A thin call into ITK's file readers: what it, and so 3D Slicer, makes of a NIfTI header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.checks import not_orthonormal
from modality_synthesis.volumes.itk_paths import path_for_itk


def read_grid(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header only: GetSize, GetSpacing, GetOrigin, GetDirection, GetPixelID.

    Raises:
        BadInputError: ITK refuses the file.
    """
    reader = sitk.ImageFileReader()
    with _explained(path), path_for_itk(path) as name:
        reader.SetFileName(name)
        reader.ReadImageInformation()
    return reader


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    # ITK prints to stderr what is reported here in words.
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise not_orthonormal(path.name) from None
        reason = str(error).strip().splitlines()[-1][:200]
        raise BadInputError(
            f"{path.name} cannot be read by ITK ({reason}). Export it again, as .nii.gz for example."
        ) from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
