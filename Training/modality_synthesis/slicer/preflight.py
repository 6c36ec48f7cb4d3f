"""Quick checks of a volume against a model's card, before anything is computed. NumPy only.

The worker repeats the decisive ones and adds those that need preprocessing; here a wrong choice is told at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

INFO, WARN, REFUSE = "info", "warning", "refuse"

# Limits, in mm. A head needs about 130 mm along every axis; coarser slices than 3.5 mm limit what a result can show.
THICK_SLICE_MM = 3.5
SPACING_MM = (0.05, 20.0)
HEAD_MM = (110.0, 500.0)
FEWEST_VOXELS = 8
# CT air is about -1000 HU; a head CT shows plenty of it. The same limits as in `modality_synthesis.preprocessing.source_checks`.
CT_AIR_HU = -900
CT_AIR_SHARE = 0.05
CT_MUST_REACH_HU = -500
# Positions of DICOM slices are rounded, often to 0.1 mm.
STACK_MM = 0.5
STRAIGHTEN = (
    "In the settings under DICOM, set the acquisition geometry regularization to apply a transform, load the series again "
    "and harden the transform; or give the DICOM folder to the command line, which does it."
)
MODALITY_WORDS = {
    "T1w": ("t1", "mprage", "mp2rage", "spgr", "bravo", "tfe"),
    "T2w": ("t2", "flair"),
    "PET": ("pet", "fdg", "suvr", "tau", "amyloid"),
}
DICOM_WORDS = {"PT": "PET", "MR": "MRI", "NM": "SPECT"}


@dataclass(frozen=True)
class Finding:
    """One thing to know about a volume. `level` is info, warning or refuse."""

    level: str
    text: str


def examine(array: np.ndarray, ijk_to_ras: np.ndarray, name: str, card: object = None) -> list[Finding]:
    """What speaks for or against using a volume with a model.

    :param array: voxels, in the order slice, row, column.
    :param ijk_to_ras: 4x4 matrix.
    :param name: of the volume.
    :param card: the model's `Card`; None checks the volume alone.
    """
    if array.ndim != 3:
        return [Finding(REFUSE, f"{name} has {array.ndim} dimensions; a single 3-D volume is needed.")]
    findings = [*_check_geometry(array, ijk_to_ras, name), *_check_values(array, name)]
    if any(finding.level == REFUSE for finding in findings) or card is None:
        return findings
    sample = array[::3, ::3, ::3]
    findings += _check_modality(sample, name, card.source)
    findings += _check_ranges(sample, np.linalg.norm(ijk_to_ras[:3, :3], axis=0), card)
    return findings


def examine_stack(array: np.ndarray, positions: np.ndarray, orientation: np.ndarray) -> list[Finding]:
    """Whether a volume's slices were scanned where Slicer puts them: at equal distances, each right above the other.

    Slicer straightens a gantry tilt and evens out slice distances only when told to, and then as a transform.

    :param array: voxels, in the order slice, row, column.
    :param positions: of the DICOM slices' first pixels, LPS, (slices, 3).
    :param orientation: direction cosines of a row, then of a column.
    """
    if len(positions) != array.shape[0] or len(positions) < 2:
        return []  # resampled since: hardened, cropped, averaged
    row, column = np.asarray(orientation, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    offsets = np.asarray(positions, dtype=float)
    offsets = offsets[np.argsort(offsets @ normal, kind="stable")]
    offsets = offsets - offsets[0]
    heights = offsets @ normal
    height = heights[-1]
    if height <= 0:
        return []
    shift = offsets[-1] - height * normal
    findings = []
    if np.linalg.norm(shift) > STACK_MM:
        degrees = np.degrees(np.arctan2(np.linalg.norm(shift), height))
        findings.append(
            Finding(REFUSE, f"Scanned with a gantry tilt of {degrees:.1f}°, which is not undone. {STRAIGHTEN}")
        )
    steps = np.diff(heights)
    if np.abs(heights - np.linspace(0, height, len(heights))).max() > STACK_MM:
        text = (
            f"Scanned in slices {steps.min():.1f} to {steps.max():.1f} mm apart, which Slicer shows at equal distances."
        )
        findings.append(Finding(WARN, f"{text} {STRAIGHTEN}"))
    return findings


def mismatch(array: np.ndarray, name: str, modality: str, source: str) -> str:
    """Why a volume cannot be what a model starts from, as far as can be told at once; empty when it may be.

    :param array: voxels, in the order slice, row, column.
    :param modality: what DICOM says (MR, CT, PT …); empty when unknown.
    :param source: of the model: T1w, T2w, CT …
    """
    if array.ndim != 3:
        return f"{array.ndim} dimensions"
    if modality and modality != ("CT" if source == "CT" else "MR"):
        return DICOM_WORDS.get(modality, modality)
    findings = _check_modality(array[::3, ::3, ::3], name, source)
    if refusal(findings):
        return "no CT in Hounsfield units" if source == "CT" else "CT"
    return "" if source == "CT" else _named(name, source)


def refusal(findings: list[Finding]) -> str:
    """The first reason to refuse; empty when there is none."""
    return next((finding.text for finding in findings if finding.level == REFUSE), "")


def _check_geometry(array: np.ndarray, ijk_to_ras: np.ndarray, name: str) -> list[Finding]:
    axes = np.asarray(ijk_to_ras, dtype=float)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if min(array.shape) < FEWEST_VOXELS:
        return [Finding(REFUSE, f"{name} has only {min(array.shape)} slices; a whole head is needed.")]
    if not (np.all(spacing >= SPACING_MM[0]) and np.all(spacing <= SPACING_MM[1])):
        return [Finding(REFUSE, f"{name}: a voxel spacing of {_mm(spacing)} cannot be right. Correct it in Volumes.")]
    directions = axes / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        return [Finding(REFUSE, f"{name}: the axes are not perpendicular. Resample the volume first.")]
    extent = spacing * array.shape[::-1]
    tilt = np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), -1, 1))).max()
    stack = ("sagittal", "coronal", "axial")[int(np.abs(directions[:, 2]).argmax())]
    oblique = f", oblique by {tilt:.0f}°" if tilt >= 1 else ""
    findings = [Finding(INFO, f"{stack.capitalize()} stack{oblique}, {_mm(spacing)}, field of view {_mm(extent)}")]
    if spacing.max() > THICK_SLICE_MM:
        findings.append(
            Finding(WARN, f"Slices {spacing.max():.1f} mm apart: the result can be no finer than its source.")
        )
    if extent.min() < HEAD_MM[0] or extent.max() > HEAD_MM[1]:
        findings.append(Finding(WARN, f"The field of view ({_mm(extent)}) is unusual for a whole head."))
    return findings


def _check_values(array: np.ndarray, name: str) -> list[Finding]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [Finding(REFUSE, f"{name} has voxels without a value (NaN): load one that holds the head.")]
    if array.size == 0 or array.min() == array.max():
        return [Finding(REFUSE, f"{name} has the same value everywhere: there is no image in it.")]
    return []


def _check_modality(sample: np.ndarray, name: str, source: str) -> list[Finding]:
    lowest = float(sample.min())
    looks_like_ct = lowest <= CT_AIR_HU and float((sample < -800).mean()) > CT_AIR_SHARE
    if source != "CT" and looks_like_ct:
        return [Finding(REFUSE, f"{name} is a CT (values from {lowest:.0f} HU), but this model needs a {source} MRI.")]
    if source == "CT" and lowest > CT_MUST_REACH_HU:
        return [
            Finding(
                REFUSE,
                f"{name} is no CT in Hounsfield units: its lowest value is {lowest:.0f}, air would be about -1000.",
            )
        ]
    other = _named(name, source) if source != "CT" else ""
    if other:
        return [Finding(WARN, f"The name says {other}, but this model needs a {source} MRI.")]
    return [Finding(INFO, "Values as in a CT" if source == "CT" else f"Values as in an MRI; {source} is assumed")]


def _named(name: str, source: str) -> str:
    """The modality that a name says, when it is another one. Its words stand alone: `Petra` is no PET."""
    words = name.lower()
    if any(hint in words for hint in MODALITY_WORDS.get(source, ())):
        return ""
    for modality, hints in MODALITY_WORDS.items():
        if modality != source and re.search(rf"(?<![a-z])(?:{'|'.join(hints)})+w?(?![a-z])", words):
            return modality
    return ""


def _check_ranges(sample: np.ndarray, spacing: np.ndarray, card: object) -> list[Finding]:
    measured = {
        "minimum": float(sample.min()),
        "maximum": float(sample.max()),
        "spacing": float(spacing.max()),
    }
    findings = []
    for key, limits in card.input_ranges.items():
        value = measured.get(key)
        if value is not None and not limits[0] <= value <= limits[1]:
            text = f"{key.capitalize()} {value:.4g}: outside what the model saw in training ({limits[0]:g} to {limits[1]:g})."
            findings.append(Finding(WARN, text))
    return findings


def _mm(values: np.ndarray) -> str:
    return " × ".join(f"{value:.4g}" for value in values) + " mm"
