"""Losses: one file per idea, and a registry by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.losses.names import check_loss, check_loss_name, loss_names, loss_signature
    from modality_synthesis.losses.registry import WeightedLosses, build_loss

_LAZY = {
    "WeightedLosses": "registry",
    "build_loss": "registry",
    "check_loss": "names",
    "check_loss_name": "names",
    "loss_names": "names",
    "loss_signature": "names",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = ["WeightedLosses", "build_loss", "check_loss", "check_loss_name", "loss_names", "loss_signature"]
