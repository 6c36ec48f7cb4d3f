"""Synthesis: a model package and a volume in, a synthetic volume out."""

from __future__ import annotations

from modality_synthesis.synthesis.synthesize import Synthesis, load_generator, synthesize

__all__ = ["Synthesis", "load_generator", "synthesize"]
