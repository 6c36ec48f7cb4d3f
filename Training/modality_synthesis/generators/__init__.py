"""Generators: one file per published system, and a registry by name. Nothing here touches files."""

from __future__ import annotations

from modality_synthesis.generators.registry import (
    build_generator,
    check_generator,
    check_generator_name,
    generator_class,
    generator_names,
    generator_signature,
    weight_shapes,
)

__all__ = [
    "build_generator", "check_generator", "check_generator_name", "generator_class", "generator_names",
    "generator_signature", "weight_shapes",
]  # fmt: skip
