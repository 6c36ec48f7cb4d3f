"""Training: a recipe and a cohort in, a model package out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.training.folds import FoldsResult, train_folds
    from modality_synthesis.training.importing import import_checkpoint
    from modality_synthesis.training.recipe import Recipe, parse_fold, read_recipe
    from modality_synthesis.training.report import write_report
    from modality_synthesis.training.run import TrainingResult, train

_LAZY = {
    "FoldsResult": "folds",
    "Recipe": "recipe",
    "TrainingResult": "run",
    "import_checkpoint": "importing",
    "parse_fold": "recipe",
    "read_recipe": "recipe",
    "train": "run",
    "train_folds": "folds",
    "write_report": "report",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = [
    "FoldsResult",
    "Recipe",
    "TrainingResult",
    "import_checkpoint",
    "parse_fold",
    "read_recipe",
    "train",
    "train_folds",
    "write_report",
]
