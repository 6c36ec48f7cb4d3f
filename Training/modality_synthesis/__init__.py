"""ModalitySynthesis: turn one brain modality into another and measure how far the result can be trusted.

The public functions below are loaded when first used, so that `import modality_synthesis` stays quick and
imports neither torch nor MONAI.
"""

from __future__ import annotations

from modality_synthesis._lazy import lazy_names
from modality_synthesis._version import __version__

_PUBLIC = {
    "synthesize": "synthesis",
    "export_dicom": "synthesis",
    "load_model": "models",
    "load_synthesizer": "synthesis",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "suvr": "evaluation",
    "train": "training",
    "simulate_cohort": "simulation",
}

__getattr__ = lazy_names(__name__, _PUBLIC)
__all__ = ["__version__", *sorted(_PUBLIC)]  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return __all__
