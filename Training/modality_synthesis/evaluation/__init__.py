"""Evaluation: metrics, regions, statistics, baselines, reports and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.evaluation.classes import Classes
    from modality_synthesis.evaluation.cohort import evaluate
    from modality_synthesis.evaluation.comparison import Comparison, compare
    from modality_synthesis.evaluation.preview import save_preview
    from modality_synthesis.evaluation.study import Evaluation
    from modality_synthesis.evaluation.tables import SUVR, suvr

_LAZY = {
    "SUVR": "tables",
    "Classes": "classes",
    "Comparison": "comparison",
    "Evaluation": "study",
    "compare": "comparison",
    "evaluate": "cohort",
    "save_preview": "preview",
    "suvr": "tables",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = ["SUVR", "Classes", "Comparison", "Evaluation", "compare", "evaluate", "save_preview", "suvr"]
