"""Evaluation: metrics, regions, statistics, baselines, reports and pictures."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

__all__ = ["SUVR", "Classes", "Comparison", "Evaluation", "compare", "evaluate", "save_preview", "suvr"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
