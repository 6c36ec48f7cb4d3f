"""ModalitySynthesis: turn one brain modality into another and measure how far the result can be trusted.

The public functions below are loaded when first used, so that `import modality_synthesis` stays quick and
imports neither torch nor MONAI.
"""

from __future__ import annotations

import importlib
from typing import Any

from modality_synthesis._version import __version__

_PUBLIC = {
    "synthesize": "modality_synthesis.synthesis",
    "export_dicom": "modality_synthesis.synthesis",
    "load_model": "modality_synthesis.models",
    "compare": "modality_synthesis.evaluation",
    "evaluate": "modality_synthesis.evaluation",
    "suvr": "modality_synthesis.evaluation",
    "train": "modality_synthesis.training",
    "simulate_cohort": "modality_synthesis.simulation",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'modality_synthesis' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
