"""Simulated paired cohorts for demonstrations, tests and benchmarks (never for clinical claims)."""

from __future__ import annotations

from modality_synthesis.choices import SIMULATED_MODALITIES as MODALITIES
from modality_synthesis.simulation.cohort import plan_cohort, simulate_cohort
from modality_synthesis.simulation.subject import Plan, simulate_subject

__all__ = ["MODALITIES", "Plan", "plan_cohort", "simulate_cohort", "simulate_subject"]
