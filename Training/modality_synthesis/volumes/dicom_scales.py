"""Scales beside the public rescale: Philips' private ones, and the Real World Value Mapping.

The rescale (slope and intercept) is what every program applies, 3D Slicer too. Some scanners and archives keep the true
scale elsewhere. Where that is the public one times one constant, it changes no ratio between voxels, and nothing for a
model, which normalizes an MRI; where it differs from slice to slice, the public scale puts stripes into the volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.dicom_numbers import items, number, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Scaling = tuple[float, float]

_MR_BLOCK, _MR_SLOPE = "Philips MR Imaging DD 001", 0x0E
_PET_BLOCK, _PET_SUV, _PET_ACTIVITY = "Philips PET Private Group", 0x00, 0x09
# Of the mean; the scanner's slopes hold seven digits.
_SAME = 1e-4


@dataclass(frozen=True)
class OtherScale:
    """What makes other values of rescaled ones: `gain` times the value plus `offset`.

    Attributes:
        kind: whose scale it is, in words.
        code: of its finding.
        gain: factor.
        offset: in the other scale's unit.
        unit: of the result; empty for arbitrary signal.
        always: it counts even where it is the same for all slices.
    """

    kind: str
    code: str
    gain: float
    offset: float = 0.0
    unit: str = ""
    always: bool = False


def other_scale(dataset: Dataset, frame: int, scaling: Scaling, *, rescaled: bool) -> OtherScale | None:
    """The scale that a header gives beside the public one; None without.

    Args:
        dataset: the image's header.
        frame: index in the file.
        scaling: slope and intercept that were applied to this frame.
        rescaled: whether these stand in the header.
    """
    modality, maker = text(dataset, "Modality"), text(dataset, "Manufacturer").lower()
    found: OtherScale | None = None
    if "philips" in maker and modality == "MR":
        found = _philips_mr(dataset, frame, scaling)
    elif modality == "PT":
        found = _philips_pet(dataset)
    return found or _real_world(dataset, frame, scaling, rescaled=rescaled)


def with_other_scales(
    voxels: np.ndarray, scales: Sequence[OtherScale | None], modality: str, name: str, reporter: Reporter
) -> np.ndarray:
    """Apply other scales where they are more than one constant, or where without them there is no unit; else say so.

    Args:
        voxels: rescaled, float32 (slice, row, column).
        scales: of each slice.
        modality: DICOM's code.
        name: the series' name, for messages.
        reporter: receives a finding.

    Raises:
        BadInputError: only some slices have one, and it matters; or it contradicts the public scale of a CT or PET.
    """
    known = [scale for scale in scales if scale is not None]
    if not known:
        return voxels
    first = known[0]
    gains, offsets = (np.array([getattr(scale, part) for scale in known]) for part in ("gain", "offset"))
    signal = max(float(np.nanmax(np.abs(voxels))), 1e-12)
    alike = np.ptp(gains) <= _SAME * np.abs(gains).mean() and np.ptp(offsets) <= _SAME * np.abs(gains).mean() * signal
    if alike and not first.always:
        reporter.finding(
            Finding(
                first.code, "ok",
                f"{name}: the public scale (Rescale Slope) was used; {first.kind} differs from it by the factor "
                f"{gains[0]:.6g} in all slices alike, which changes no ratio between voxels.",
                value=float(gains[0]),
            )
        )  # fmt: skip
        return voxels
    if len(known) < len(scales) or len({scale.kind for scale in known}) > 1:
        raise BadInputError(
            f"{name}: only {len(known)} of {len(scales)} slices hold {first.kind}, which differs from slice to slice."
            " Export the series from the scanner again, with private elements."
            if not alike
            else f"{name}: only {len(known)} of {len(scales)} slices hold {first.kind}, without which their numbers "
            "have no unit. Export the series from the scanner again, with private elements."
        )
    if modality != "MR" and not first.always:
        raise BadInputError(
            f"{name}: {first.kind} and the public scale (Rescale Slope) contradict each other: their ratio goes from "
            f"{gains.min():.4g} to {gains.max():.4g} between slices. Export the series from the scanner again."
        )
    unit = f" The values are in {first.unit}." if first.unit else ""
    much = "" if alike else f", which differs by a factor of up to {_spread(gains):.2f} between slices"
    reporter.finding(
        Finding(
            first.code, "look",
            f"{name}: the public scale (Rescale Slope) is not the scanner's: {first.kind} was applied{much}.{unit} 3D "
            "Slicer does not apply it.",
            "Check that no stripes are left across the slices.",
        )
    )  # fmt: skip
    gain, offset = (part.astype(np.float32)[:, None, None] for part in (gains, offsets))
    scaled: np.ndarray = voxels * gain + offset
    return scaled


def _spread(gains: np.ndarray) -> float:
    sizes = np.abs(gains)
    return float(sizes.max() / max(sizes.min(), 1e-12))


def _philips_mr(dataset: Dataset, frame: int, scaling: Scaling) -> OtherScale | None:
    """Philips stores its own slope SS beside the public one, RS: the signal is (stored * RS + RI) / (RS * SS)
    (Chenevert 2014, Transl Oncol 7:65). RS alone is made for the display, and PACS overwrite it."""
    slope = _private(dataset, frame, _MR_BLOCK, 0x2005, _MR_SLOPE)
    if slope is None or slope * scaling[0] == 0:
        return None
    return OtherScale("Philips' private scale (2005,100E)", "philips-scale", 1.0 / (scaling[0] * slope))


def _philips_pet(dataset: Dataset) -> OtherScale | None:
    """Philips' PET in counts is made Bq/mL by one private factor, or SUV by another."""
    if text(dataset, "Units").upper() != "CNTS":
        return None
    for element, unit in ((_PET_ACTIVITY, "Bq/mL"), (_PET_SUV, "SUV")):
        factor = _private(dataset, 0, _PET_BLOCK, 0x7053, element)
        if factor is not None and factor > 0:
            kind = f"Philips' private factor (7053,10{element:02X})"
            return OtherScale(kind, "philips-scale", factor, unit=unit, always=True)
    return None


def _real_world(dataset: Dataset, frame: int, scaling: Scaling, *, rescaled: bool) -> OtherScale | None:
    """The linear Real World Value Mapping (0040,9096); of several, none, since each means another quantity."""
    mappings: list[Any] = []
    for holder in (dataset, *_groups(dataset, frame)):
        mappings = items(holder, "RealWorldValueMappingSequence") or mappings
    if len(mappings) != 1:
        return None
    slope, intercept = number(mappings[0], "RealWorldValueSlope"), number(mappings[0], "RealWorldValueIntercept") or 0.0
    if not slope or not scaling[0]:
        return None
    gain = slope / scaling[0]
    kind = "the Real World Value Mapping (0040,9096)"
    return OtherScale(kind, "real-world-values", gain, intercept - gain * scaling[1], always=not rescaled)


def _private(dataset: Dataset, frame: int, creator: str, group: int, element: int) -> float | None:
    """A finite number in a private block of the header, of the frame's functional groups, or of a sequence there."""
    for holder in (dataset, *_groups(dataset, frame)):
        try:
            value = float(holder.private_block(group, creator)[element].value)
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(value):
            return value
    return None


def _groups(dataset: Dataset, frame: int) -> Iterator[Any]:
    """The frame's functional groups, the shared ones, and the items of the sequences in them."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = items(dataset, "SharedFunctionalGroupsSequence")[:1]
    for group in (*per_frame[frame : frame + 1], *shared):
        yield group
        for element in group:
            if element.VR == "SQ":
                yield from element.value or []
