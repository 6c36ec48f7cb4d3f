"""PyTorch's own files of weights (.pt, .pth, .ckpt), which anybody may have written. Synthesis never reads one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from modality_synthesis.errors import BadInputError

# Before it, a file could run code although only weights are asked for (CVE-2025-32434, CVE-2026-24747).
OLDEST_TORCH = (2, 10)


def load_foreign_weights(path: Path, *, map_location: str = "cpu") -> Any:
    """The tensors and plain values in a file; nothing in it is executed.

    Raises:
        BadInputError: the installed torch is too old to read such files safely.
        Exception: what torch raises for damaged or unsafe files, of many kinds.
    """
    import torch

    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < OLDEST_TORCH:
        raise BadInputError(
            f"{path.name} is a file of PyTorch weights, which torch {torch.__version__} cannot read safely. Upgrade: "
            f"pip install 'torch>={'.'.join(map(str, OLDEST_TORCH))}', or give the weights as .safetensors."
        )
    return torch.load(path, map_location=map_location, weights_only=True)
