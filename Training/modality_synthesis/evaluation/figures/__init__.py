"""Figures for a paper: what a network looks at, how it learned, and where its results differ from reality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.evaluation.figures.curves import draw_curves
    from modality_synthesis.evaluation.figures.difference import draw_difference
    from modality_synthesis.evaluation.figures.features import draw_features
    from modality_synthesis.evaluation.figures.filters import draw_filters
    from modality_synthesis.evaluation.figures.profile import draw_profile

_LAZY = {
    "draw_curves": "curves",
    "draw_difference": "difference",
    "draw_features": "features",
    "draw_filters": "filters",
    "draw_profile": "profile",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = ["draw_curves", "draw_difference", "draw_features", "draw_filters", "draw_profile"]
