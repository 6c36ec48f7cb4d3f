"""Training: a recipe and a cohort in, a model package out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modality_synthesis.training.recipe import Recipe, read_recipe
    from modality_synthesis.training.run import TrainingResult, train

_LAZY = {"Recipe": "recipe", "read_recipe": "recipe", "TrainingResult": "run", "train": "run"}

__all__ = ["Recipe", "TrainingResult", "read_recipe", "train"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
