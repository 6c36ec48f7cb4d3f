"""Which MRI contrast a brain shows: gray against white matter, and fluid against both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing.atlas import label_image
from modality_synthesis.preprocessing.normalize import tissue_levels
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.state import Prepared

_LATERAL_VENTRICLES = (4, 43)
_FEWEST_VOXELS = 20
# A FLAIR's white matter and fluid lie below gray matter by less than a PET's do.
_FLAIR_WHITE_AT_LEAST, _FLAIR_FLUID_AT_LEAST = -0.5, -1.25


@dataclass(frozen=True)
class Contrast:
    """What was measured in a brain registered to the template; differences in standard deviations of the brain.

    Measured on real volumes (two people with multiple sclerosis at 3 mm, one after a stroke, healthy ones, an average
    T2w), registered but neither corrected for bias nor normalized:

    ====== ============= ============= =============
    ..     correlation   white - gray  fluid
    ====== ============= ============= =============
    T1w    0.44 to 0.68  0.45 to 1.55  -2.5 to -0.2
    T2w    -0.39 to -.14 -0.8 to -0.4  0.3 to 2.3
    FLAIR  0.24 and 0.40 -0.4 and -0.1 -1.0 and -0.7
    FDG    0.15 and 0.20 -1.2 and -1.0 -2.9 and -2.6
    tau    0.24 and 0.31 -0.6          -1.5 and -1.4
    ====== ============= ============= =============

    (PET: one simulated and one synthetic volume each.)

    Attributes:
        correlation: with the T1w template inside the brain.
        white_over_gray: white less gray matter.
        fluid: the lateral ventricles less the brighter of gray and white matter; None where the volume has none.
    """

    correlation: float
    white_over_gray: float
    fluid: float | None

    @property
    def modality(self) -> str | None:
        """T1w, T2w or FLAIR; None where the figures lie between them, or are no MRI's."""
        if self.correlation >= 0.3 and self.white_over_gray > 0.2:
            return "T1w"
        if self.white_over_gray > 0 or self.fluid is None:
            return None
        if self.fluid > 0.15 and self.correlation < 0.15:
            return "T2w"
        is_pale = self.white_over_gray >= _FLAIR_WHITE_AT_LEAST and self.fluid >= _FLAIR_FLUID_AT_LEAST
        return "FLAIR" if self.fluid < -0.4 and is_pale else None


def measure_contrast(prepared: Prepared) -> Contrast | None:
    """The contrast of a prepared MRI; None when it was not registered to the template, or does not reach its tissues.

    Any rising scale of the intensities gives the same signs, so that a normalized volume can be measured too.
    """
    if "registration_dice" not in prepared.quality:
        return None
    image, mask = prepared.image, prepared.require_mask()
    template = sitk.GetArrayFromImage(sitk.Resample(mni152().brain, image, sitk.Transform(), sitk.sitkLinear, 0.0))
    values, inside = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask) > 0
    both = inside & (template > 0)
    spread = float(values[inside].std()) if inside.any() else 0.0
    if spread <= 0 or not np.ptp(values[both]):
        return Contrast(0.0, 0.0, None)  # nothing to be seen, and so no MRI of any kind
    gray, white = tissue_levels(image, mask)
    labels = sitk.GetArrayFromImage(sitk.Resample(label_image(), image, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    ventricles = values[inside & np.isin(labels, _LATERAL_VENTRICLES)]
    fluid = float(np.median(ventricles)) if ventricles.size >= _FEWEST_VOXELS else None
    return Contrast(
        correlation=float(np.corrcoef(values[both], template[both])[0, 1]),
        white_over_gray=(white - gray) / spread,
        fluid=None if fluid is None else (fluid - max(gray, white)) / spread,
    )
