"""How the atlas reaches a person: through the T1w MRI, or through a mask of the person's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing import BiasField, BrainMask, ChainParameters, Register, Reorient, prepare
from modality_synthesis.preprocessing.contents import brain_look, check_coarse_contrast
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import array, read_image, resample_like

_CHAIN = ChainParameters(source=(Reorient(), BrainMask(), BiasField(), Register()))


def to_template(
    mri: str | Path | sitk.Image, reporter: Reporter | None = None, name: str = ""
) -> tuple[sitk.Transform, dict[str, float]]:
    """The transform from a person's world to the template's, through the T1w MRI, and how good it is.

    Args:
        mri: file or image.
        reporter: receives progress, warnings, and the finding `contrast` where the MRI looks like no T1w.
        name: what messages call it.

    Raises:
        BadInputError: unreadable MRI, or the registration failed.
    """
    reporter = reporter or current()
    name = name or ("The MRI" if isinstance(mri, sitk.Image) else Path(mri).name)
    source = mri if isinstance(mri, sitk.Image) else read_image(mri, reporter=reporter)
    prepared = prepare(source, _CHAIN, name=name, reporter=reporter)
    look = brain_look(prepared.native, prepared.require_mask())
    if look is not None:
        check_coarse_contrast(look, "T1w", name, reporter, refuse=False)
    return prepared.to_native.GetInverse(), dict(prepared.quality)


def custom_mask(mask: str | Path | sitk.Image, grid: sitk.Image) -> tuple[np.ndarray, sitk.Image]:
    """A reference region from a file, aligned with the volume in the world; above 0.5 is inside.

    Returns:
        The mask on the volume's grid, bool, and as it was read.

    Raises:
        BadInputError: unreadable, or empty on the volume's grid.
    """
    image = sitk.Cast(mask if isinstance(mask, sitk.Image) else read_image(mask, reporter=current()), sitk.sitkFloat32)
    inside = array(resample_like(image, grid, interpolator="nearest")) > 0.5
    if not inside.any():
        name = "The reference mask" if isinstance(mask, sitk.Image) else Path(mask).name
        raise BadInputError(f"{name} is empty where the PET is. Is it aligned with the PET?")
    return inside, image
