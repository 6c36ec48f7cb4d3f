"""Losses: one file per idea, and a registry by name."""

from __future__ import annotations

from modality_synthesis.losses.registry import WeightedLosses, build_loss, loss_names

__all__ = ["WeightedLosses", "build_loss", "loss_names"]
