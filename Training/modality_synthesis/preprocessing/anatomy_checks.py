"""Anatomy that cannot be right: a brain of an impossible size, a background that is not air, several doubts at once."""

from __future__ import annotations

from itertools import product

import numpy as np
import SimpleITK as sitk

from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter

# Brain with ventricles, ml. Measured: 17 adults' label maps 1072 to 1748, the network's masks of seven real heads 1237
# to 1713; at two years of age brains have about 1000. Refused: a head of 2 mm voxels declared 1 mm (679), axes
# exchanged (2449).
USUAL_ML = (950.0, 1900.0)
POSSIBLE_ML = (750.0, 2250.0)
# Share of each side that the corners of the field of view take; nothing of a head reaches into them.
_CORNER = 0.12
_FEWEST = 200
# Where a scan's corners lie between its darkest and brightest voxels. Measured: air 0.00 to 0.03 in nine heads; the
# noise that MP2RAGE leaves around the head 0.5; a negative 1.0.
_NOISE_ABOVE, _NEGATIVE_ABOVE = 0.25, 0.5
# Correlation of neighboring voxels there: noise has none.
_SMOOTH_ABOVE = 0.5
# Findings that say the same in different words; doubts of two groups do not come about by chance.
_GROUPS = {
    "brain-volume": "size",
    "brain-extent": "size",
    "registration": "registration",
    "template-correlation": "contrast",
    "gray-white-contrast": "contrast",
    "contrast": "contrast",
}


def check_background(image: sitk.Image, name: str, reporter: Reporter) -> None:
    """Look for air in the corners of an MRI's field of view.

    Args:
        image: the volume as it was read.
        name: what messages call it.
        reporter: receives the finding.

    Raises:
        BadInputError: noise as bright as the head (MP2RAGE's UNI image), or a negative.
    """
    values = sitk.GetArrayFromImage(image)
    low, high = (float(value) for value in np.percentile(values[::2, ::2, ::2], (0.5, 99.5)))
    corners = [values[place] for place in product(*(_ends(size) for size in values.shape))]
    corners = [block for block in corners if block.size >= _FEWEST]
    # A constant corner is padding, unless nothing else is there.
    measured = [block for block in corners if np.ptp(block) > 0] or corners
    if not measured or high <= low:
        return
    level = float(np.median([(float(np.median(block)) - low) / (high - low) for block in measured]))
    smooth = float(np.median([_correlation(block) for block in measured])) > _SMOOTH_ABOVE
    if smooth and level > _NEGATIVE_ABOVE:
        message = f"{name}: what is around the head is brighter than most of it: the picture is a negative."
        action = "Export it again, not inverted (without MONOCHROME1 and presentation states)."
    elif not smooth and level > _NOISE_ABOVE:
        message = (
            f"{name}: around the head is noise as bright as the head, as in the UNI (UNIT1) image of an MP2RAGE, in "
            "which neither head nor brain can be told from air."
        )
        action = "Use the scanner's denoised UNI image, or one multiplied by the second inversion (INV2)."
    else:
        return
    limit = _NEGATIVE_ABOVE if smooth else _NOISE_ABOVE
    reporter.finding(Finding("background", "refuse", message, action, round(level, 2), limit))


def check_brain_volume(volume_ml: float, name: str, reporter: Reporter) -> None:
    """Hold the brain found against what brains measure.

    Args:
        volume_ml: of the mask, ventricles included.
        name: what messages call the volume.
        reporter: receives the finding.

    Raises:
        BadInputError: no brain from early childhood on has this size.
    """
    if USUAL_ML[0] <= volume_ml <= USUAL_ML[1]:
        return
    possible = POSSIBLE_ML[0] <= volume_ml <= POSSIBLE_ML[1]
    low, high = USUAL_ML if possible else POSSIBLE_ML
    small = volume_ml < low
    cause = (
        "Is the voxel size in its header right (1 mm where no header was written), and is the whole brain in the field "
        "of view?"
        if small
        else "Are its axes named right (exchanged or mirrored ones hide the head), and its voxel size? Is it a head?"
    )
    reporter.finding(
        Finding(
            "brain-volume",
            "look" if possible else "refuse",
            f"{name}: the brain found measures {volume_ml:.0f} ml; {'usual are' if possible else 'brains have'} {low:.0f} "
            f"to {high:.0f} ml. {cause}",
            "Look at it in 3D Slicer, with its directions.",
            round(volume_ml, 1),
            low if small else high,
        )
    )


def check_doubts(name: str, reporter: Reporter) -> None:
    """Refuse a volume that two independent checks doubt.

    Args:
        name: of the volume, as its findings' messages begin.
        reporter: has the findings.

    Raises:
        BadInputError: with the likely cause.
    """
    doubts = [
        finding
        for finding in reporter.findings
        if finding.level == "look" and finding.code in _GROUPS and finding.message.startswith(f"{name}:")
    ]
    groups = {_GROUPS[finding.code] for finding in doubts}
    if len(groups) < 2:
        return
    cause = (
        "Most likely the axes in its header are wrong (exchanged or mirrored), or its voxel size, or it shows no whole "
        "head."
        if "contrast" not in groups
        else "Most likely it is another kind of image than it is taken for, or damaged."
    )
    said = "; ".join(finding.message.removeprefix(f"{name}: ").rstrip(".") for finding in doubts)
    reporter.finding(
        Finding(
            "several-doubts",
            "refuse",
            f"{name}: {len(groups)} independent checks doubt this volume ({said}). {cause}",
            "Look at it in 3D Slicer, with its directions.",
            float(len(groups)),
            2.0,
        )
    )


def _ends(size: int) -> tuple[slice, slice]:
    width = max(round(_CORNER * size), 1)
    return slice(0, width), slice(size - width, size)


def _correlation(block: np.ndarray) -> float:
    """Of neighbors along the longest axis."""
    along = np.moveaxis(block, int(np.argmax(block.shape)), 0).astype(np.float64)
    first, second = along[:-1].ravel(), along[1:].ravel()
    if first.std() == 0 or second.std() == 0:
        return 1.0
    return float(np.corrcoef(first, second)[0, 1])
