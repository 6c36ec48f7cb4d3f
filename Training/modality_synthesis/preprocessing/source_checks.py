"""Is this volume what the model was made for? Refuse what is certainly wrong, warn of what is unusual."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing.contents import brain_look, check_coarse_contrast, check_extents, check_structure
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter

# Correlation with the T1w template inside the brain, after registration. Measured: real and simulated T1w heads 0.36 to
# 0.62 (the lowest: 3 mm slices, multiple sclerosis), FLAIR 0.14, T2w -0.13 to 0.02, a PET template 0.18, a bottle 0.16.
T1W_REFUSE_BELOW = 0.25
T1W_WARN_BELOW = 0.35
# How far gray matter lies below white matter. Measured: 0.12 to 0.35 in T1w heads, 0.04 in a T1w protocol for multiple
# sclerosis with 3 mm slices, below 0 in T2w.
CONTRAST_WARN_BELOW = 0.08
THICKEST_MM = 3.5


def check_before(image: sitk.Image, source: str, name: str, reporter: Reporter) -> None:
    """Checks on the raw volume, before anything is computed.

    Raises:
        BadInputError: the values are certainly not of the source modality.
    """
    values = sitk.GetArrayViewFromImage(image)[::3, ::3, ::3]
    lowest = float(values.min())
    looks_like_ct = lowest <= -900 and float((values < -800).mean()) > 0.05
    if source in ("T1w", "T2w") and looks_like_ct:
        reporter.finding(
            Finding(
                "modality", "refuse",
                f"{name}: this is a CT (values from {lowest:.0f} HU), but the model needs a {source} MRI.",
                "Choose a model that starts from CT.",
            )
        )  # fmt: skip
        return
    if source == "CT":
        check_hounsfield(image, name, reporter)
    check_structure(image, name, reporter)
    thickest = max(image.GetSpacing())
    if thickest > THICKEST_MM:
        reporter.finding(
            Finding(
                "slice-distance", "look",
                f"{name}: slices {thickest:.1f} mm apart; the result can be no finer than its source.",
                value=round(thickest, 2), limit=THICKEST_MM,
            )
        )  # fmt: skip


def check_prepared(prepared: Prepared, source: str, reporter: Reporter) -> None:
    """Checks that need the brain, and where the chain registers, the template.

    Raises:
        BadInputError: a part of a head, another contrast than the source modality's, or not a brain.
    """
    if prepared.native_mask is not None:
        look = brain_look(prepared.native, prepared.native_mask)
        if look is not None:
            check_extents(look.extents_mm, prepared.name, reporter)
            # A T1w in template space is compared with the template, which tells more.
            if source != "CT" and not (source == "T1w" and "registration_dice" in prepared.quality):
                check_coarse_contrast(look, source, prepared.name, reporter)
    check_contrast(prepared, source, reporter)


def template_correlation(volume: sitk.Image, mask: sitk.Image) -> float:
    """How much a brain in template space looks like the T1w template there.

    Args:
        volume: on a grid in template space.
        mask: of the brain, same grid.
    """
    template = sitk.Resample(mni152().brain, volume, sitk.Transform(), sitk.sitkLinear, 0.0)
    inside = sitk.GetArrayViewFromImage(mask) > 0
    reference = sitk.GetArrayViewFromImage(template)[inside]
    both = reference > 0
    return float(np.corrcoef(sitk.GetArrayViewFromImage(volume)[inside][both], reference[both])[0, 1])


def check_contrast(prepared: Prepared, source: str, reporter: Reporter) -> None:
    """Compare a prepared T1w volume with the template it was registered to.

    Raises:
        BadInputError: not a T1w MRI, or not a brain.
    """
    if source != "T1w" or "registration_dice" not in prepared.quality:
        return
    correlation = template_correlation(prepared.image, prepared.require_mask())
    prepared.quality["template_correlation"] = round(correlation, 4)
    contrast = prepared.quality.get("gray_white_contrast", 1.0)
    if correlation < T1W_REFUSE_BELOW or contrast <= 0:
        reporter.finding(
            Finding(
                "contrast", "refuse",
                f"{prepared.name}: this does not look like a T1w MRI of a brain (correlation with the template "
                f"{correlation:.2f}). Is it a T2w, FLAIR or other volume?",
                "The model needs a T1w MRI.", round(correlation, 3), T1W_REFUSE_BELOW,
            )
        )  # fmt: skip
        return
    if contrast < CONTRAST_WARN_BELOW:
        reporter.finding(
            Finding(
                "gray-white-contrast", "look",
                f"{prepared.name}: gray and white matter differ by only {contrast:.0%} (usual: 12 % and more), so that "
                "there is little to synthesize from and noise is amplified.",
                "Use a T1w with better contrast (MPRAGE, SPGR).", round(contrast, 3), CONTRAST_WARN_BELOW,
            )
        )  # fmt: skip
    if correlation < T1W_WARN_BELOW:
        reporter.finding(
            Finding(
                "template-correlation", "look",
                f"{prepared.name}: the contrast is unusual for a T1w MRI (correlation with the template "
                f"{correlation:.2f}).",
                "Look at the result before using it.", round(correlation, 3), T1W_WARN_BELOW,
            )
        )  # fmt: skip
