"""The data range of PSNR, SSIM and MS-SSIM: one definition for `compare`, `evaluate`, training and the documentation.

It is the width of the display window on the model's card: the range of values that the target takes. A volume that a
model made carries the window in its sidecar, so that `compare` uses the same as `evaluate`. SUVR volumes made elsewhere
take 2. Only where nothing says what the values are is it measured, on the reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SUVR_RANGE = 2.0
GIVEN = "given"
WINDOW = "width of the display window on the model's card"
SUVR = "2, as for every SUVR volume of no known model"
MEASURED = "99.9th percentile of the reference in the mask minus its minimum, because nothing says what the values are"


def window_width(window: Sequence[float] | None) -> float | None:
    """The width of a display window; None when it is none."""
    if not isinstance(window, (list, tuple)) or len(window) != 2:
        return None
    if not all(isinstance(end, (int, float)) for end in window):
        return None
    try:
        width = float(window[1]) - float(window[0])
    except OverflowError:
        return None
    return width if math.isfinite(width) and width > 0 else None


def known_range(
    record: Mapping[str, Any], given: float | None = None, *, pet: bool = False
) -> tuple[float, str] | None:
    """The data range and where it comes from; None where only a measurement helps.

    Args:
        record: the synthetic volume's sidecar, or `{"DisplayWindow": ...}` of a model's card.
        given: by the user.
        pet: the target is a PET in SUVR.
    """
    if given:
        return given, GIVEN
    width = window_width(record.get("DisplayWindow"))
    if width is not None:
        return width, WINDOW
    return (SUVR_RANGE, SUVR) if pet or record.get("Units") == "SUVR" else None


def measured_range(reference: np.ndarray, inside: np.ndarray) -> tuple[float, str]:
    """From the reference's values in the mask."""
    values = reference[inside]
    return float(np.percentile(values, 99.9) - values.min()), MEASURED
