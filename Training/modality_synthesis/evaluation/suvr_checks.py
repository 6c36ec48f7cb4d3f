"""Does the PET lie where `suvr` is told it lies, and what was the tracer?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.evaluation.alignment import motion_mm
from modality_synthesis.findings import Finding, Level
from modality_synthesis.modalities import modality_of, tracer_modality
from modality_synthesis.preprocessing.pair_registration import head_foreground, register_pair
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, data_path, file_sha256, read_sidecar, resample_like
from modality_synthesis.volumes.stated import stated_modalities

# How far a rigid registration still moves the PET. Measured: simulated pairs 0.7 to 1.8 mm, the FDG and SPM templates
# on a T1w template 3 mm; other people's PET 18 to 50 mm.
MOTION_LOOK_MM, MOTION_REFUSE_MM = 5.0, 12.0
# Mutual information with the MRI after that, nats. Measured: own PET 0.60 to 0.75, PET templates on a T1w template 0.66
# and 1.0, other people's PET 0.19 to 0.46. A PET without scalp shares less: 0.26 to 0.43 (synthetic), others' 0.15.
INFORMATION_LOOK, INFORMATION_LOOK_BRAIN = 0.5, 0.2
# Of the MRI's head, so much takes up the tracer where the PET shows the whole head.
_WHOLE_HEAD = 0.6
# The PET's brain against the template's. Measured: PET and SPECT templates Dice 0.92 to 0.95 and 3 to 6 mm between the
# centers of mass, the same 20 mm away 0.84 and 14 mm, simulated scans in native space at most 0.77.
DICE_LOOK, DICE_REFUSE = 0.88, 0.80
CENTER_LOOK_MM, CENTER_REFUSE_MM = 10.0, 15.0
# Median of the lateral ventricles over that of cortex or white matter, whichever is brighter: fluid takes up no tracer.
_FLUID_AT_MOST, _FEWEST_VOXELS = 1.1, 20
_LATERAL_VENTRICLES, _WHITE_MATTER, _FIRST_CORTEX = (4, 43), (2, 41), 1000
_ALIGN = (
    "Align the PET with the MRI first (modality-synthesis align, or a rigid registration in 3D Slicer), and check that "
    "both are of the same person."
)


def check_is_pet(pet: str | Path | sitk.Image, mri: str | Path | sitk.Image | None, reporter: Reporter) -> None:
    """Whether what is given as a PET is one: not the MRI itself, and nothing that says it is an MRI or CT.

    Args:
        pet: file or image; only a file says what it is.
        mri: the person's MRI, if there is one.
        reporter: receives the finding `pet-kind`.

    Raises:
        BadInputError: it is the MRI, or its DICOM header names another machine than a PET scanner.
    """
    if isinstance(pet, sitk.Image):
        return
    name, action = Path(pet).name, "Give the PET first, and the person's T1w MRI as --mri."
    if mri is not None and not isinstance(mri, sitk.Image) and _same_content(pet, mri):
        reporter.finding(Finding("pet-kind", "refuse", f"{name} is given both as the PET and as the MRI.", action))
        return
    target = read_sidecar(pet).get("Route")
    said = [(str(target["target"]), "sidecar")] if isinstance(target, dict) and target.get("target") else []
    said += [(statement.modality, statement.where) for statement in stated_modalities(pet)]
    # Whatever else is stated, a volume that is called a PET somewhere is taken for one.
    if not said or any("PET" in modality for modality, _ in said):
        return
    modality, where = said[0]
    level: Level = "refuse" if where.startswith("DICOM") else "look"
    text = f"{name} is given as the PET, but is a {modality} by its {where}; SUVR are of PET only."
    reporter.finding(Finding("pet-kind", level, text, action))


def _same_content(first: str | Path, second: str | Path) -> bool:
    one, other = data_path(first), data_path(second)
    try:
        if one.samefile(other):
            return Path(first).name == Path(second).name or one.is_file()
        same_size = one.is_file() and other.is_file() and one.stat().st_size == other.stat().st_size
    except OSError:
        return False  # what is not there is for its reader to say
    return same_size and file_sha256(one) == file_sha256(other)


def check_on_mri(pet: sitk.Image, mri: sitk.Image, name: str, reporter: Reporter) -> None:
    """Measure how far the PET lies from the MRI (rigid registration, `register_pair`).

    Args:
        pet: float32 volume without NaN.
        mri: the person's T1w.
        name: of the PET.
        reporter: receives the findings `pet-mri-alignment` and `pet-mri-agreement`.

    Raises:
        BadInputError: the PET lies more than `MOTION_REFUSE_MM` away, or does not overlap the MRI.
    """
    still = sitk.Cast(mri, sitk.sitkFloat32)
    head, uptake = head_foreground(still, "The MRI"), head_foreground(pet, name)
    try:
        found = register_pair(
            pet, still, head, uptake, reporter=reporter,
            stage="Checking that PET and MRI lie on each other",
        )  # fmt: skip
    except RuntimeError:
        message = f"{name} and the MRI do not overlap in space."
        reporter.finding(Finding("pet-mri-alignment", "refuse", message, _ALIGN))
        return
    before, after = found.mutual_information
    # A motion that explains nothing was not there: a PET of little structure can be moved about without loss.
    motion = motion_mm(found) if after > 1.05 * before else 0.0
    brain_only = _shows_brain_only(uptake, head)
    wanted = INFORMATION_LOOK_BRAIN if brain_only else INFORMATION_LOOK
    away = motion > MOTION_REFUSE_MM and (after > 1.25 * before or after < wanted)
    level: Level = "refuse" if away else "look"
    if motion <= MOTION_LOOK_MM:
        text = f"{name} lies on the MRI (a rigid registration moves it by {motion:.1f} mm)."
        reporter.finding(Finding("pet-mri-alignment", "ok", text, value=round(motion, 2), limit=MOTION_LOOK_MM))
    else:
        limit = MOTION_REFUSE_MM if level == "refuse" else MOTION_LOOK_MM
        text = f"{name} lies about {motion:.0f} mm away from the MRI, so that regions would be read in wrong places."
        reporter.finding(Finding("pet-mri-alignment", level, text, _ALIGN, round(motion, 2), limit))
    agree = after >= wanted
    text = f"{name} and the MRI share {'enough' if agree else 'little'} structure (mutual information {after:.2f})."
    reporter.finding(
        Finding(
            "pet-mri-agreement", "ok" if agree else "look", text,
            "" if agree else "Are they of the same person? Look at both, one over the other, before using the table.",
            round(after, 3), wanted,
        )
    )  # fmt: skip


def _shows_brain_only(uptake: sitk.Image, head: sitk.Image) -> bool:
    """Whether a PET's foreground is much smaller than the MRI's head within the PET's field of view."""
    inside = array(resample_like(head, uptake, interpolator="nearest")) > 0
    return bool(np.count_nonzero(array(uptake)) < _WHOLE_HEAD * np.count_nonzero(inside))


def check_uptake(values: np.ndarray, labels: np.ndarray, name: str, reporter: Reporter) -> None:
    """Doubt a PET in whose ventricles more is seen than in the brain, as in a T2w MRI.

    Args:
        values: of the PET, any unit, (z, y, x).
        labels: of the atlas, same grid; 0 where the PET was not measured.
        name: of the PET.
        reporter: receives the finding `pet-contents`.
    """
    tissues = (_LATERAL_VENTRICLES, _WHITE_MATTER, np.unique(labels[labels >= _FIRST_CORTEX]))
    shown = [values[np.isin(labels, codes)] for codes in tissues]
    if min(part.size for part in shown) < _FEWEST_VOXELS:
        return
    fluid, white, cortex = (float(np.median(part)) for part in shown)
    tissue = max(white, cortex)
    if tissue <= 0 or fluid <= _FLUID_AT_MOST * tissue:
        return
    share = fluid / tissue
    text = (
        f"{name}: the ventricles are {share:.2f} times as bright as the brain; in a PET they are darker. It looks like "
        "a T2w MRI."
    )
    action = "Give the PET first, and the person's T1w MRI as --mri; look at the alignment if it is a PET."
    reporter.finding(Finding("pet-contents", "look", text, action, round(share, 3), _FLUID_AT_MOST))


def check_template_space(pet: sitk.Image, covered: np.ndarray, name: str, reporter: Reporter) -> None:
    """Compare the PET's brain with the template's, where the PET was measured.

    Args:
        pet: float32 volume without NaN.
        covered: bool, its coverage (z, y, x).
        name: of the PET.
        reporter: receives the finding `template-space`.

    Raises:
        BadInputError: the two brains lie apart.
    """
    brain = array(resample_like(mni152().mask, pet, interpolator="nearest")) > 0
    expected = brain & covered
    action = "Give the T1w MRI instead (--mri), or bring the PET into MNI152 space first."
    if not expected.any():
        text = f"{name} does not reach the template's brain, so it is not in template space."
        reporter.finding(Finding("template-space", "refuse", text, action))
        return
    found = _uptake(array(pet), covered, expected)
    if found is None:
        text = f"{name} shows no brain that stands out; whether it lies in template space cannot be told."
        reporter.finding(Finding("template-space", "look", text, "Look at it over the template."))
        return
    dice = 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))
    apart = float(np.linalg.norm(_center(found, pet) - _center(expected, pet)))
    level: Level = (
        "refuse" if dice < DICE_REFUSE or apart > CENTER_REFUSE_MM
        else "look" if dice < DICE_LOOK or apart > CENTER_LOOK_MM
        else "ok"
    )  # fmt: skip
    verdict = "does not lie" if level == "refuse" else "hardly lies" if level == "look" else "lies"
    text = f"{name} {verdict} in template space (overlap of the brains {dice:.2f}, centers {apart:.0f} mm apart)."
    limit = DICE_REFUSE if level == "refuse" else DICE_LOOK
    reporter.finding(
        Finding("template-space", level, text, "" if level == "ok" else action, round(float(dice), 3), limit)
    )


def _uptake(values: np.ndarray, covered: np.ndarray, expected: np.ndarray) -> np.ndarray | None:
    """What takes up half of what the median voxel of the expected brain does: its largest part, without holes.

    None when the air is no darker than that: without an outline there is nothing to compare.
    """
    from scipy import ndimage

    threshold = 0.5 * float(np.median(values[expected]))
    if float(np.percentile(values[covered], 5)) >= threshold:
        return None
    parts, count = ndimage.label(ndimage.binary_opening((values > threshold) & covered))
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    found: np.ndarray = ndimage.binary_fill_holes(parts == largest)
    return found


def _center(mask: np.ndarray, grid: sitk.Image) -> np.ndarray:
    index = [float(hits.mean()) for hits in np.nonzero(mask)][::-1]
    return np.array(grid.TransformContinuousIndexToPhysicalPoint(index))


def pet_modality(pet: str | Path | sitk.Image, tracer: str | None) -> str | None:
    """Of which modality a PET is: what the caller says, its sidecar (also BIDS'), or `trc-` in its name; else None."""
    if tracer is not None:
        return tracer_modality(tracer)
    if isinstance(pet, sitk.Image):
        return None
    record = read_sidecar(pet)
    route = record.get("Route")
    target = route.get("target") if isinstance(route, dict) else None
    entity = next((part[4:] for part in Path(pet).name.split("_") if part.startswith("trc-")), "")
    for name in (target, record.get("Tracer"), record.get("TracerName"), entity):
        found = modality_of(name) if isinstance(name, str) and name else None
        if found is not None:
            return found
    return None
