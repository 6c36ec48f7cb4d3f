"""Cohort tables, patient-level splits, preprocessed and augmented training pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.datasets.cohort import Cohort, Visit, read_cohort
    from modality_synthesis.datasets.splits import Split, split_cohort, subjects_of

_LAZY = {
    "Cohort": "cohort",
    "Split": "splits",
    "Visit": "cohort",
    "read_cohort": "cohort",
    "split_cohort": "splits",
    "subjects_of": "splits",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = ["Cohort", "Split", "Visit", "read_cohort", "split_cohort", "subjects_of"]
