"""Cohort tables, patient-level splits, preprocessed and augmented training pairs."""

from __future__ import annotations

from modality_synthesis.datasets.cohort import Cohort, Visit, read_cohort
from modality_synthesis.datasets.splits import Split, split_cohort, subjects_of

__all__ = ["Cohort", "Split", "Visit", "read_cohort", "split_cohort", "subjects_of"]
