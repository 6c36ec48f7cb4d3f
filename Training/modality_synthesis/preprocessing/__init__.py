"""Preprocessing: steps with their parameters as data, and their inverses."""

from __future__ import annotations

from modality_synthesis.preprocessing.parameters import (
    BiasField,
    BrainMask,
    ChainParameters,
    Normalize,
    Register,
    Reorient,
    Resample,
    TargetMapping,
)

__all__ = [
    "BiasField",
    "BrainMask",
    "ChainParameters",
    "Normalize",
    "Register",
    "Reorient",
    "Resample",
    "TargetMapping",
]
