"""Is a target or reference volume what it is taken for: its unit, its place, its contrast?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.findings import Finding
from modality_synthesis.preprocessing.contents import BrainLook, brain_look, check_coarse_contrast, check_structure
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.pair_registration import head_foreground
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import stated_units

# The brain's median SUVR, whatever the tracer and the reference region.
SUVR_RANGE = (0.2, 5.0)
# Share of the brain that lies in the target's head.
OVERLAP_REFUSED, OVERLAP_DOUBTED = 0.5, 0.9
# Modified z-score (Iglewicz & Hoaglin 1993): 0.6745 (x - median) / MAD. Where a cohort is more alike than 10 %, its
# spread counts as 10 %: two scanners' calibrations differ by as much.
FAR_Z, LEAST_SPREAD = 3.5, 0.10
FEWEST_FOR_FAR = 4
MEDIAN = "target-median"
FAR = "far-from-cohort"


def check_target_before(image: sitk.Image, target: str, name: str, reporter: Reporter) -> None:
    """Checks on the raw target or reference volume.

    Args:
        image: as read.
        target: its modality.
        name: what messages call it.
        reporter: receives the findings.
    """
    if target == "CT":
        check_hounsfield(image, name, reporter)
    check_structure(image, name, reporter)


def check_target(
    image: sitk.Image, brain: sitk.Image, target: str, path: Path, reporter: Reporter, *, quantity: str | None = None
) -> None:
    """Check a target that lies on its person's brain: place, unit, contrast.

    Args:
        image: the target as read.
        brain: uint8 mask of the person's brain in the same world, found in the source volume.
        target: its modality.
        path: of it; messages name the file, and its sidecar is asked for `Units`.
        reporter: receives the findings `target-overlap`, `target-median`, `target-units` and `contrast`.
        quantity: what is expected, `SUVR` for example; None expects nothing.

    """
    look = brain_look(image, brain)
    if not _check_overlap(look, brain, target, path.name, reporter) or look is None:
        return
    values, mask = look.values, look.mask
    median = float(np.nanmedian(sitk.GetArrayViewFromImage(values)[sitk.GetArrayViewFromImage(mask) > 0]))
    about = f"{path.name}: the median in the brain is {median:.4g}"
    reporter.finding(Finding(MEDIAN, "ok", about, value=float(f"{median:.6g}")))
    if quantity == "SUVR":
        check_suvr(median, path, reporter)
    elif not target.endswith("PET") and target != "CT":
        check_coarse_contrast(look, target, path.name, reporter)


def _check_overlap(look: BrainLook | None, brain: sitk.Image, target: str, name: str, reporter: Reporter) -> bool:
    whole = float(sitk.GetArrayViewFromImage(brain).sum()) * float(np.prod(brain.GetSpacing())) / 1000.0
    share = 0.0
    if look is not None and whole > 0:
        head = look.values > -300.0 if target == "CT" else head_foreground(look.values, name)
        met = sitk.And(sitk.Cast(head, sitk.sitkUInt8), look.mask)
        share = min(float(sitk.GetArrayFromImage(met).sum()) * float(np.prod(met.GetSpacing())) / 1000.0 / whole, 1.0)
    if share >= OVERLAP_DOUBTED:
        return True
    refused = share < OVERLAP_REFUSED
    reporter.finding(
        Finding(
            "target-overlap", "refuse" if refused else "look",
            f"{name}: only {share:.0%} of the brain in the source volume lies within the head of this {target}. They "
            "are not aligned, or a part is missing.",
            "Align them first (modality-synthesis align), or correct the header.", round(share, 3),
            OVERLAP_REFUSED if refused else OVERLAP_DOUBTED,
        )
    )  # fmt: skip
    return not refused


def check_suvr(median: float, path: Path, reporter: Reporter) -> None:
    """Refuse a PET whose brain has no value that an SUVR can have.

    Args:
        median: in the brain.
        path: of the volume.
        reporter: receives the finding `target-units`.
    """
    low, high = SUVR_RANGE
    if low <= median <= high:
        return
    units = stated_units(path)
    stated = f" (its JSON or DICOM header says Units: {units})" if units else ""
    factor = f"about {_two_digits(median)} times what it must be" if median > 0 else "no value that an uptake can have"
    reporter.finding(
        Finding(
            "target-units", "refuse",
            f"{path.name}: SUVR is expected, with a median in the brain between {low:g} and {high:g}, usually near 1; "
            f"here it is {median:.4g}, {factor}{stated}.",
            f"Divide by the reference region first: modality-synthesis suvr {path.name} --mri T1W -o regions.csv "
            "--image SUVR.nii.gz",
            float(f"{median:.5g}"), high if median > high else low,
        )
    )  # fmt: skip


def far_from_cohort(medians: Sequence[float]) -> list[float | None]:
    """For each person, the modified z-score of the target's median in the brain where it is far from the others'.

    Args:
        medians: one per person; NaN is unknown.

    Returns:
        None for whom the cohort does not tell, and for whoever is among the others.
    """
    values = np.asarray(medians, dtype=float)
    known = values[np.isfinite(values)]
    if known.size < FEWEST_FOR_FAR:
        return [None] * len(values)
    middle = float(np.median(known))
    spread = max(float(np.median(np.abs(known - middle))) / 0.6745, LEAST_SPREAD * abs(middle), 1e-12)
    scores = (values - middle) / spread
    return [float(score) if np.isfinite(score) and abs(score) > FAR_Z else None for score in scores]


def far_finding(score: float, median: float, others: float, name: str) -> Finding:
    """What is said of a person whose target lies far from the cohort's."""
    return Finding(
        FAR, "look",
        f"{name}: the median in the brain, {median:.4g}, is far from the cohort's, {others:.4g} (modified z-score "
        f"{score:.1f}): another unit, reference region or scale?",
        "Look at it; reject it in qc.tsv if it is wrong.", round(score, 2), FAR_Z,
    )  # fmt: skip


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"
