"""Preprocessing: steps with their parameters as data, and their inverses.

`parameters` is light (model cards need it); what computes is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names
from modality_synthesis.preprocessing.parameters import (
    BiasField,
    BrainMask,
    ChainParameters,
    CTAnchor,
    CTBrainMask,
    CTHead,
    Normalize,
    RefineMask,
    Register,
    Reorient,
    Resample,
    SignalNormalization,
    Standardization,
    TargetMapping,
    TargetStatistics,
    Window,
)

if TYPE_CHECKING:
    from modality_synthesis.preprocessing.chain import prepare
    from modality_synthesis.preprocessing.state import Prepared
    from modality_synthesis.preprocessing.target import (
        TargetScaling,
        check_target_coverage,
        measured_region,
        prepare_target,
        restore_target,
        sample_target,
        target_region,
        target_scaling,
    )

_LAZY = {
    "Prepared": "state",
    "TargetScaling": "target",
    "check_target_coverage": "target",
    "measured_region": "target",
    "prepare": "chain",
    "prepare_target": "target",
    "restore_target": "target",
    "sample_target": "target",
    "target_region": "target",
    "target_scaling": "target",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = [
    "BiasField",
    "BrainMask",
    "CTAnchor",
    "CTBrainMask",
    "CTHead",
    "ChainParameters",
    "Normalize",
    "Prepared",
    "RefineMask",
    "Register",
    "Reorient",
    "Resample",
    "SignalNormalization",
    "Standardization",
    "TargetMapping",
    "TargetScaling",
    "TargetStatistics",
    "Window",
    "check_target_coverage",
    "measured_region",
    "prepare",
    "prepare_target",
    "restore_target",
    "sample_target",
    "target_region",
    "target_scaling",
]
