"""Synthesis: a model package and a volume in, a synthetic volume out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.synthesis.batch import synthesize_batch
    from modality_synthesis.synthesis.dicom_export import export_dicom
    from modality_synthesis.synthesis.pipeline import Synthesis, synthesize
    from modality_synthesis.synthesis.synthesizer import Synthesizer, load_generator, load_synthesizer

_LAZY = {
    "Synthesis": "pipeline",
    "export_dicom": "dicom_export",
    "Synthesizer": "synthesizer",
    "load_generator": "synthesizer",
    "load_synthesizer": "synthesizer",
    "synthesize": "pipeline",
    "synthesize_batch": "batch",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = [
    "Synthesis",
    "Synthesizer",
    "export_dicom",
    "load_generator",
    "load_synthesizer",
    "synthesize",
    "synthesize_batch",
]
