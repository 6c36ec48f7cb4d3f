"""Is this volume what the model was made for? Refuse what is certainly wrong, warn of what is unusual."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing.anatomy_checks import check_background, check_doubts
from modality_synthesis.preprocessing.contents import brain_look, check_coarse_contrast, check_extents, check_structure
from modality_synthesis.preprocessing.contrast import Contrast, measure_contrast
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_mark

# Correlation with the T1w template inside the brain, after registration. Measured: real and simulated T1w heads 0.36 to
# 0.62 (the lowest: 3 mm slices, multiple sclerosis), FLAIR 0.14 to 0.40, T2w -0.39 to 0.02, a PET template 0.18, a
# bottle 0.16.
T1W_REFUSE_BELOW = 0.25
T1W_WARN_BELOW = 0.35
# How far gray matter lies below white matter. Measured: 0.12 to 0.35 in T1w heads, 0.04 in a T1w protocol for multiple
# sclerosis with 3 mm slices, below 0 in T2w.
CONTRAST_WARN_BELOW = 0.08
THICKEST_MM = 3.5
# Of T2w and FLAIR, in the brain's standard deviations (`Contrast`, with the figures of real volumes): white matter so
# far above gray is a T1w's; fluid so far above or below both is a T2w's, or a FLAIR's.
WHITE_OVER_GRAY_AT_MOST = 0.2
FLUID_OF_T2W_AT_LEAST = -0.2
FLUID_OF_FLAIR_AT_MOST = 0.1
# A T2w resembles the T1w template less than anything does that is no brain.
T2W_CORRELATION_AT_MOST = 0.2


def looks_like_ct(image: sitk.Image) -> bool:
    """Whether a volume has a CT's air: a good part of it near -1000."""
    values = sitk.GetArrayFromImage(image)[::3, ::3, ::3]
    return float(values.min()) <= -900 and float((values < -800).mean()) > 0.05


def check_origin(path: Path, reporter: Reporter) -> None:
    """Say of a source that was made by a model itself: what is made from it has the errors of both."""
    mark = read_mark(path)
    if mark is None:
        return
    reporter.finding(
        Finding(
            "synthetic-source", "look",
            f"{path.name} is synthetic itself{f' ({mark.name})' if mark.model else ''}; errors add up.",
            "Start from a measured volume.",
        )
    )  # fmt: skip


def check_before(image: sitk.Image, source: str, name: str, reporter: Reporter) -> None:
    """Checks on the raw volume, before anything is computed.

    Raises:
        BadInputError: the values are certainly not of the source modality.
    """
    if source in ("T1w", "T2w", "FLAIR") and looks_like_ct(image):
        lowest = float(sitk.GetArrayFromImage(image)[::3, ::3, ::3].min())
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
    if source in ("T1w", "T2w", "FLAIR"):
        check_background(image, name, reporter)
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
    check_doubts(prepared.name, reporter)


def check_contrast(prepared: Prepared, source: str, reporter: Reporter) -> None:
    """Hold the contrast of an MRI that was registered to the template against that of its modality.

    Raises:
        BadInputError: another contrast, or not a brain.
    """
    measured = measure_contrast(prepared) if source in ("T1w", "T2w", "FLAIR") else None
    if measured is None:
        return
    prepared.quality["template_correlation"] = round(measured.correlation, 4)
    if source == "T1w":
        _check_t1w(prepared, measured, reporter)
    else:
        _check_fluid(prepared.name, source, measured, reporter)


def _check_fluid(name: str, source: str, found: Contrast, reporter: Reporter) -> None:
    """T2w and FLAIR: white matter is darker than gray; fluid is brighter than both, or darker."""
    wrong: tuple[str, float, float] | None = None
    if found.white_over_gray > WHITE_OVER_GRAY_AT_MOST:
        wrong = "white matter is brighter than gray matter", found.white_over_gray, WHITE_OVER_GRAY_AT_MOST
    elif source == "T2w" and found.correlation > T2W_CORRELATION_AT_MOST:
        text = f"its correlation with a T1w template is {found.correlation:.2f}"
        wrong = text, found.correlation, T2W_CORRELATION_AT_MOST
    elif found.fluid is None:
        return
    elif source == "T2w" and found.fluid < FLUID_OF_T2W_AT_LEAST:
        wrong = "fluid is darker than gray matter", found.fluid, FLUID_OF_T2W_AT_LEAST
    elif source == "FLAIR" and found.fluid > FLUID_OF_FLAIR_AT_MOST:
        wrong = "fluid is brighter than gray matter", found.fluid, FLUID_OF_FLAIR_AT_MOST
    if wrong is not None:
        reason, value, limit = wrong
        reporter.finding(
            Finding(
                "contrast", "refuse",
                f"{name}: this does not look like a {source} MRI of a brain ({reason}). "
                f"{_guess(found, 'Is it a PET or another volume?')}",
                f"The model needs a {source} MRI.", round(value, 3), limit,
            )
        )  # fmt: skip


def _guess(found: Contrast, otherwise: str) -> str:
    return f"It looks like a {found.modality}." if found.modality else otherwise


def _check_t1w(prepared: Prepared, measured: Contrast, reporter: Reporter) -> None:
    correlation = measured.correlation
    contrast = prepared.quality.get("gray_white_contrast", 1.0)
    if correlation < T1W_REFUSE_BELOW or contrast <= 0 or measured.white_over_gray <= 0:
        reporter.finding(
            Finding(
                "contrast", "refuse",
                f"{prepared.name}: this does not look like a T1w MRI of a brain (correlation with the template "
                f"{correlation:.2f}). {_guess(measured, 'Is it a PET, a T2w, a FLAIR or another volume?')}",
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
