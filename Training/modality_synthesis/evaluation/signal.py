"""What a synthetic volume holds, and of which kind: an MRI has no unit, so that a reference MRI is scaled to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, read_sidecar

# Below these, one factor tells nothing: it is the quotient of noise, or of a constant. In T1w and T2w brains, simulated
# or synthetic, the middle half of the values spans 0.8 to 1.1 of the median, which is half of the 99th percentile.
LEAST_CONTRAST = 0.05
LEAST_MEDIAN = 0.1


def is_signal(synthetic: str | Path | sitk.Image) -> bool:
    """Whether a synthetic volume's sidecar says that its values are a signal without a unit."""
    return sidecar_record(synthetic).get("Quantity") == "signal"


def is_of_a_model(synthetic: str | Path | sitk.Image) -> bool:
    """Whether its sidecar says that a model made it: then it holds the brain and nothing else."""
    return bool(sidecar_record(synthetic).get("Model"))


def sidecar_record(synthetic: str | Path | sitk.Image) -> dict[str, Any]:
    """What the JSON beside a volume says; empty without a readable one.

    Raises:
        BadInputError: it describes another file than this one.
    """
    return {} if isinstance(synthetic, sitk.Image) else read_sidecar(synthetic)


def covered(synthetic: sitk.Image) -> np.ndarray:
    """Where a synthetic volume holds something: its brain, dark fluid included; bool, (depth, height, width)."""
    something = sitk.Cast(synthetic != 0, sitk.sitkUInt8)
    return array(sitk.BinaryFillhole(something)) > 0


def with_signal(reference: np.ndarray) -> tuple[np.ndarray, float]:
    """Where a reference shows more than air, bool, and the threshold: 5 % of its 99.9th percentile."""
    threshold = 0.05 * float(np.percentile(reference, 99.9))
    return reference > threshold, threshold


def match_signal(
    synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray, reporter: Reporter
) -> tuple[float | None, str | None]:
    """`signal_factor`, or the reason why there is none, which is also given as a warning.

    A model that has hardly learned yet makes volumes of nothing, or of one gray value. Scaling a reference to these
    gives figures without meaning (a PSNR of -200 dB), so that it is left as it is.

    Args:
        synthetic: on the reference's grid.
        reference: same shape.
        inside: bool, same shape.
        reporter: receives the warning.

    Raises:
        BadInputError: as `signal_factor`.
    """
    flaw = _flaw(synthetic[inside])
    if flaw is None:
        return signal_factor(synthetic, reference, inside), None
    reason = (
        f"The synthetic volume is {flaw}: matching the reference's signal to it would be meaningless, so the reference "
        "was not scaled, and figures in signal units (MAE, PSNR, SSIM) say nothing. Is the model trained?"
    )
    reporter.warning(reason)
    return None, reason


def _flaw(values: np.ndarray) -> str | None:
    # Quartiles: the volume's edge, where it fades into nothing, is contrast of no tissue.
    low, middle, high, most = np.percentile(values, [25, 50, 75, 99]) if values.size else np.zeros(4)
    if middle <= LEAST_MEDIAN * most or most <= 0:
        return f"nearly zero (median {middle:.3g} in the mask, 99th percentile {most:.3g})"
    if high - low < LEAST_CONTRAST * middle:
        return f"nearly constant (half of the mask lies between {low:.4g} and {high:.4g})"
    return None


def signal_factor(synthetic: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> float:
    """The factor that brings the reference nearest to the synthetic volume: least mean absolute difference.

    One factor and no offset: both scales have their zero where there is no signal, and a wrong contrast stays visible.
    It is the median of the quotients, weighted by the reference: white matter counts more than fluid (in T1w), an
    outlier no more than any voxel. Equal medians would depend on how much of the mask is fluid.

    Raises:
        BadInputError: one of the two has no signal there.
    """
    if not inside.any():
        raise BadInputError("The synthetic volume and the reference share no voxel with signal.")
    measured = reference[inside].astype(np.float64)
    weights = np.abs(measured)
    shown = weights > 0
    if not shown.any():
        raise BadInputError("The signals cannot be brought to one scale: the reference is zero in the mask.")
    quotients = synthetic[inside][shown] / measured[shown]
    order = np.argsort(quotients, kind="stable")
    reached = np.cumsum(weights[shown][order])
    factor = float(quotients[order][np.searchsorted(reached, reached[-1] / 2)])
    if factor <= 0:
        raise BadInputError(
            "The signals cannot be brought to one scale: where the reference is bright, nothing was made."
        )
    return factor
