"""The networks that ship with the program: which there are, and their files, verified like a model's weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.resources import resource


@dataclass(frozen=True)
class Shipped:
    """A file in `Resources/Networks`, and the hash it must have."""

    file: str
    sha256: str


SHIPPED = {
    "vgg16": Shipped("vgg16-imagenet.safetensors", "e166042194f49e08b67209b54eb61368c3b090c3b8a04c096dac549166138834"),
    "brain-mask": Shipped("brain-mask.safetensors", "c3a61beeba7d89410186dce87925567e2bf1a1385d3b41c9880d7c02ce65183f"),
}


def shipped_weights(name: str) -> Path:
    """The verified file of a shipped network.

    Raises:
        BadInputError: no such network is shipped.
        HashMismatchError: the file was changed.
    """
    if name not in SHIPPED:
        raise BadInputError(f"{name!r} is not the name of a shipped network. Known: {', '.join(SHIPPED)}.")
    path = resource("Networks", SHIPPED[name].file)
    if network_sha256(path) != SHIPPED[name].sha256:
        raise HashMismatchError(f"{path} is not the file that was shipped. Reinstall the package.")
    return path


def network_sha256(path: Path) -> str:
    """SHA-256 of a file, computed once as long as it does not change.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
