"""What a synthetic volume holds, and of which kind: an MRI has no unit, so that a reference MRI is scaled to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import array, sidecar_path


def is_signal(synthetic: str | Path | sitk.Image) -> bool:
    """Whether a synthetic volume's sidecar says that its values are a signal without a unit."""
    return _record(synthetic).get("Quantity") == "signal"


def is_of_a_model(synthetic: str | Path | sitk.Image) -> bool:
    """Whether its sidecar says that a model made it: then it holds the brain and nothing else."""
    return bool(_record(synthetic).get("Model"))


def _record(synthetic: str | Path | sitk.Image) -> dict[str, Any]:
    if isinstance(synthetic, sitk.Image):
        return {}
    try:
        record = json.loads(sidecar_path(synthetic).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def covered(synthetic: sitk.Image) -> np.ndarray:
    """Where a synthetic volume holds something: its brain, dark fluid included; bool, (depth, height, width)."""
    something = sitk.Cast(synthetic != 0, sitk.sitkUInt8)
    return array(sitk.BinaryFillhole(something)) > 0


def signal_factor(synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> float:
    """The factor that makes the reference's median inside the mask the synthetic volume's.

    One factor and no offset: both scales have their zero where there is no signal, and a wrong contrast stays visible.

    Raises:
        BadInputError: one of the two has no signal there.
    """
    if not inside.any():
        raise BadInputError("The synthetic volume and the reference share no voxel with signal.")
    made, measured = (float(np.median(volume[inside])) for volume in (synthetic, reference))
    if made <= 0 or measured <= 0:
        raise BadInputError("The signals cannot be brought to one scale: the median in the mask is not positive.")
    return made / measured
