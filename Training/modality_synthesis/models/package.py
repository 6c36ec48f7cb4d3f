"""A model package on disk: `model.json`, `weights.safetensors`, and a few texts. No code, no pickle, ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.models.card import WEIGHTS_FILE, Card
from modality_synthesis.models.text import card_text
from modality_synthesis.validation import validate
from modality_synthesis.volumes import atomic_folder

if TYPE_CHECKING:
    import torch

CARD_FILE = "model.json"
ALLOWED_FILES = frozenset({CARD_FILE, WEIGHTS_FILE, "MODEL_CARD.md", "README.md", "LICENSE", "NOTICE", "preview.png"})


@dataclass(frozen=True)
class ModelPackage:
    """An opened package: its folder and its card. The weights stay on disk."""

    folder: Path
    card: Card


def open_package(folder: str | Path) -> ModelPackage:
    """Read a package's card.

    Raises:
        BadInputError: no package, or a card that does not fit the schema.
    """
    folder = Path(folder)
    path = folder / CARD_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{folder} is not a model package: it has no {CARD_FILE}.") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise BadInputError(f"{path} is not a JSON object.")
    return ModelPackage(folder=folder, card=validate(Card, data, f"{folder.name}/{CARD_FILE}"))


def load_weights(package: ModelPackage) -> dict[str, torch.Tensor]:
    """The weights, from the very bytes whose SHA-256 was checked.

    Raises:
        HashMismatchError: the file is not the one the card declares.
        BadInputError: missing or unreadable file, or another number of parameters than declared.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = package.folder / package.card.weights.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"The weights of {package.card.id} cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != package.card.weights.sha256:
        raise HashMismatchError(
            f"{path}: the SHA-256 differs from the model card's; the file is damaged or was changed. "
            "Install the model again."
        )
    try:
        weights = load(content)
    except SafetensorError as error:
        raise BadInputError(f"{path} is not a safetensors file: {error}") from None
    count = sum(value.numel() for value in weights.values())
    if count != package.card.weights.parameters:
        raise BadInputError(f"{path} holds {count} numbers, but its card says {package.card.weights.parameters}.")
    return weights


def verify_package(folder: str | Path) -> ModelPackage:
    """Check that a folder holds a package and nothing else, that the card is valid and the weights are intact.

    Raises:
        BadInputError, HashMismatchError: what is wrong.
    """
    package = open_package(folder)
    for path in sorted(package.folder.iterdir()):
        if path.is_symlink() or not path.is_file() or path.name not in ALLOWED_FILES:
            raise BadInputError(f"{package.folder.name}: {path.name!r} does not belong into a model package.")
    load_weights(package)
    return package


def write_package(
    folder: str | Path,
    card: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    *,
    preview: bytes | None = None,
) -> ModelPackage:
    """Write a package; it appears complete or not at all, and replaces an older one in its place.

    Args:
        folder: the package's folder.
        card: the card's fields without `weights`, which is filled in.
        weights: tensors by name.
        preview: a PNG.

    Raises:
        BadInputError: the card does not fit the schema.
    """
    from safetensors.torch import save

    # A clone per tensor: safetensors refuses shared or strided memory.
    content = save({name: value.detach().cpu().clone().contiguous() for name, value in weights.items()})
    facts = {
        **card,
        "weights": {
            "file": WEIGHTS_FILE,
            "sha256": hashlib.sha256(content).hexdigest(),
            "parameters": sum(value.numel() for value in weights.values()),
        },
    }
    validated = validate(Card, facts, CARD_FILE)
    with atomic_folder(folder) as temporary:
        (temporary / WEIGHTS_FILE).write_bytes(content)
        (temporary / CARD_FILE).write_text(validated.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (temporary / "MODEL_CARD.md").write_text(
            card_text(validated, has_preview=preview is not None), encoding="utf-8"
        )
        if preview is not None:
            (temporary / "preview.png").write_bytes(preview)
    return ModelPackage(folder=Path(folder), card=validated)
