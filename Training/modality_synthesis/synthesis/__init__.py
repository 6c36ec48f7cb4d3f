"""Synthesis: a model package and a volume in, a synthetic volume out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modality_synthesis.synthesis.pipeline import Synthesis, load_generator, synthesize

_LAZY = ("Synthesis", "load_generator", "synthesize")

__all__ = ["Synthesis", "load_generator", "synthesize"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("modality_synthesis.synthesis.pipeline"), name)
