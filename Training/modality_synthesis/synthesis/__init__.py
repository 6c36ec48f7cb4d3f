"""Synthesis: a model package and a volume in, a synthetic volume out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modality_synthesis.synthesis.batch import synthesize_batch
    from modality_synthesis.synthesis.dicom_export import export_dicom
    from modality_synthesis.synthesis.pipeline import Synthesis, load_generator, synthesize

_LAZY = {
    "Synthesis": "pipeline",
    "export_dicom": "dicom_export",
    "load_generator": "pipeline",
    "synthesize": "pipeline",
    "synthesize_batch": "batch",
}

__all__ = ["Synthesis", "export_dicom", "load_generator", "synthesize", "synthesize_batch"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
