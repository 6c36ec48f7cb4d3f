"""Is this volume what the model was made for? Refuse what is certainly wrong, warn of what is unusual."""

from __future__ import annotations

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing.contrast import Contrast, measure_contrast
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.state import Prepared
from modality_synthesis.progress import Reporter

# Correlation with the T1w template inside the brain, after registration. Measured: real and simulated T1w heads 0.36 to
# 0.62 (the lowest: 3 mm slices, multiple sclerosis), FLAIR 0.14 to 0.40, T2w -0.39 to 0.02, a PET template 0.18, a
# bottle 0.16.
T1W_REFUSE_BELOW = 0.25
T1W_WARN_BELOW = 0.35
# How far gray matter lies below white matter. Measured: 0.12 to 0.35 in T1w heads, 0.04 in a T1w protocol for multiple
# sclerosis with 3 mm slices, below 0 in T2w.
CONTRAST_WARN_BELOW = 0.08
# For T2w and FLAIR models, in the brain's standard deviations (`Contrast`, with its figures of real volumes): white
# matter this far above gray is a T1w; fluid this far above or below the tissues is a T2w or a FLAIR.
WHITE_OVER_GRAY_AT_MOST = 0.2
FLUID_OF_T2W_AT_LEAST = -0.2
FLUID_OF_FLAIR_AT_MOST = 0.1
# A T2w resembles the T1w template less than anything that is no brain at all (a bottle 0.16).
T2W_CORRELATION_AT_MOST = 0.2


def looks_like_ct(image: sitk.Image) -> bool:
    """Whether a volume has the air of a CT: values near -1000 in a good part of it."""
    values = sitk.GetArrayFromImage(image)[::3, ::3, ::3]
    return float(values.min()) <= -900 and float((values < -800).mean()) > 0.05


def check_before(image: sitk.Image, source: str, name: str, reporter: Reporter) -> None:
    """Checks on the raw volume, before anything is computed.

    Raises:
        BadInputError: the values are certainly not of the source modality.
    """
    if source == "CT":
        check_hounsfield(image, name)
    elif looks_like_ct(image):
        lowest = float(sitk.GetArrayFromImage(image)[::3, ::3, ::3].min())
        raise BadInputError(
            f"{name}: this is a CT (values from {lowest:.0f} HU), but the model needs a {source} MRI. "
            "Choose a model that starts from CT."
        )
    thickest = max(image.GetSpacing())
    if thickest > 3.5:
        reporter.warning(f"{name}: slices {thickest:.1f} mm apart; the result can be no finer than its source.")


def check_contrast(prepared: Prepared, source: str, reporter: Reporter) -> None:
    """Hold a prepared MRI's contrast against that of the modality it is said to be.

    Raises:
        BadInputError: another contrast, or not a brain.
    """
    contrast = measure_contrast(prepared) if source in ("T1w", "T2w", "FLAIR") else None
    if contrast is None:
        return
    prepared.quality["template_correlation"] = round(contrast.correlation, 4)
    if source == "T1w":
        _check_t1w(prepared, contrast, reporter)
    else:
        _check_fluid_contrast(prepared.name, source, contrast, reporter)


def _check_t1w(prepared: Prepared, contrast: Contrast, reporter: Reporter) -> None:
    name, correlation = prepared.name, contrast.correlation
    difference = prepared.quality.get("gray_white_contrast", 1.0)
    if correlation < T1W_REFUSE_BELOW or difference <= 0 or contrast.white_over_gray <= 0:
        refuse_contrast(
            f"{name}: this does not look like a T1w MRI of a brain (correlation with the template {correlation:.2f}). "
            f"{_guess(contrast, 'Is it a T2w, FLAIR or other volume?')}",
            "The model needs a T1w MRI.",
            correlation,
            T1W_REFUSE_BELOW,
            reporter,
        )
    if difference < CONTRAST_WARN_BELOW:
        reporter.warning(
            f"{name}: gray and white matter differ by only {difference:.0%} (usual: 12 % and more), so that "
            "there is little to synthesize from and noise is amplified. Use a T1w with better contrast (MPRAGE, SPGR)."
        )
    if correlation < T1W_WARN_BELOW:
        reporter.warning(
            f"{name}: the contrast is unusual for a T1w MRI (correlation with the template "
            f"{correlation:.2f}). Look at the result before using it."
        )


def _check_fluid_contrast(name: str, source: str, contrast: Contrast, reporter: Reporter) -> None:
    """T2w and FLAIR: white matter below gray; fluid brighter than both, or darker."""
    needed = f"The model needs a {source} MRI."
    guess = _guess(contrast, "Is it another volume?")
    if contrast.white_over_gray > WHITE_OVER_GRAY_AT_MOST:
        refuse_contrast(
            f"{name}: this does not look like a {source} MRI of a brain (white matter is brighter than gray matter). "
            f"{guess}", needed, contrast.white_over_gray, WHITE_OVER_GRAY_AT_MOST, reporter,
        )  # fmt: skip
    if source == "T2w" and contrast.correlation > T2W_CORRELATION_AT_MOST:
        refuse_contrast(
            f"{name}: this does not look like a T2w MRI of a brain (correlation with a T1w template "
            f"{contrast.correlation:.2f}). {guess}", needed, contrast.correlation, T2W_CORRELATION_AT_MOST, reporter,
        )  # fmt: skip
    if contrast.fluid is None:
        return
    if source == "T2w" and contrast.fluid < FLUID_OF_T2W_AT_LEAST:
        refuse_contrast(
            f"{name}: this does not look like a T2w MRI of a brain (fluid is darker than gray matter). {guess}",
            needed, contrast.fluid, FLUID_OF_T2W_AT_LEAST, reporter,
        )  # fmt: skip
    if source == "FLAIR" and contrast.fluid > FLUID_OF_FLAIR_AT_MOST:
        refuse_contrast(
            f"{name}: this does not look like a FLAIR MRI of a brain (fluid is brighter than gray matter). {guess}",
            needed, contrast.fluid, FLUID_OF_FLAIR_AT_MOST, reporter,
        )  # fmt: skip
    if contrast.modality != source:
        reporter.finding(
            Finding(
                "contrast", "look", f"{name}: the contrast is unusual for a {source} MRI.",
                "Look at the result before using it.", round(contrast.fluid, 3),
            )
        )  # fmt: skip


def refuse_contrast(message: str, action: str, value: float, limit: float, reporter: Reporter) -> None:
    """Refuse a volume for its contrast.

    Raises:
        BadInputError: always.
    """
    reporter.finding(Finding("contrast", "refuse", message, action, round(value, 3), limit))


def _guess(contrast: Contrast, otherwise: str) -> str:
    return f"It looks like a {contrast.modality}." if contrast.modality else otherwise
