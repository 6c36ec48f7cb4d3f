"""Read a PyTorch checkpoint as tensors and plain values; nothing in it is executed."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.foreign_weights import load_foreign_weights


def load_checkpoint(path: Path, *, map_location: str = "cpu") -> Any:
    """The content of a checkpoint whose check sums are right.

    PyTorch does not look at the sums: flipped bits would become weights.

    Raises:
        OSError: the file cannot be opened.
        ValueError: damaged, of another kind, or not safe to read; says why in one line.
    """
    with path.open("rb"):
        pass
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (bad := archive.testzip()) is not None:
                    raise ValueError(f"{bad} in it has another check sum")
        return load_foreign_weights(path, map_location=map_location)
    except (MemoryError, ModalitySynthesisError):
        raise
    except Exception as error:  # unpickling damaged bytes raises anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(first.rstrip(".")) from None
