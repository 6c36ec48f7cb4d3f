"""A model package on disk: `model.json`, `weights.safetensors`, and a few texts. No code, no pickle, ever."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.models.card import BASELINES_FILE, WEIGHTS_FILE, Card
from modality_synthesis.models.contents import (
    CARD_FILE,
    CARD_TEXT_FILE,
    PREVIEW_FILE,
    PackageFiles,
    package_files,
    refuse_pointer,
)
from modality_synthesis.models.reading import parse_card, read_card
from modality_synthesis.models.text import card_text
from modality_synthesis.validation import validate

if TYPE_CHECKING:
    import torch

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class ModelPackage:
    """An opened package: its folder and its card. The weights stay on disk."""

    folder: Path
    card: Card

    @property
    def weights_path(self) -> Path:
        """The file of weights."""
        return self.folder / self.card.weights.file

    @property
    def baselines_path(self) -> Path | None:
        """The file of fitted baselines; None when the package keeps none."""
        return None if self.card.baselines is None else self.folder / self.card.baselines.file


def open_package(folder: str | Path) -> ModelPackage:
    """Read a package's card.

    Raises:
        BadInputError: no package, or a card that does not fit the schema.
    """
    folder = Path(folder)
    return ModelPackage(folder=folder, card=read_card(folder))


def load_weights(package: ModelPackage) -> dict[str, torch.Tensor]:
    """The weights, from the very bytes whose SHA-256 was checked.

    Raises:
        HashMismatchError: the file is not the one the card declares.
        BadInputError: missing or unreadable file, or another number of parameters than declared.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = _existing_weights(package)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}.") from None
    _check_hash(package, hashlib.sha256(content).hexdigest())
    try:
        weights = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadInputError(f"{path} is not a safetensors file: {error}") from None
    _check_count(package, sum(value.numel() for value in weights.values()))
    return weights


def stored_shapes(package: ModelPackage) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in the file of weights, by name; only its header is read.

    Raises:
        BadInputError: missing, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    path = _existing_weights(package)
    try:
        with safe_open(path, framework="np") as header:
            return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"{path} is not a safetensors file: {error}") from None


def read_baselines(package: ModelPackage) -> bytes:
    """The file of fitted baselines, whose SHA-256 was checked.

    Raises:
        HashMismatchError: the file is not the one the card declares.
        BadInputError: the package keeps none, or the file is missing or cannot be read.
    """
    from modality_synthesis.volumes.paths import check_regular

    path, declared = package.baselines_path, package.card.baselines
    if path is None or declared is None:
        raise BadInputError(f"{package.folder.name} keeps no baselines.")
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}. Install the model again.") from None
    if hashlib.sha256(content).hexdigest() != declared.sha256:
        raise _changed(path)
    return content


def verify_package(folder: str | Path) -> ModelPackage:
    """Check that a folder holds a package and nothing else, that the card is valid and the weights are intact.

    The weights are hashed piece by piece and only their header is read, so that this needs neither torch nor memory.

    Raises:
        BadInputError, HashMismatchError: what is wrong.
    """
    from modality_synthesis.volumes import file_sha256

    package = open_package(folder)
    package_files(package.folder)
    path = _existing_weights(package)
    _check_hash(package, file_sha256(path))
    _check_count(package, sum(map(math.prod, stored_shapes(package).values())))
    if package.card.baselines is not None:
        read_baselines(package)
    return package


def write_package(
    folder: str | Path,
    card: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    extra_files: Mapping[str, bytes] | None = None,
    *,
    preview: bytes | None = None,
    baselines: tuple[bytes, int] | None = None,
) -> ModelPackage:
    """Write a package; it appears complete or not at all, and replaces an older one in its place.

    Args:
        folder: the package's folder.
        card: the card's fields without `weights`, which is filled in.
        weights: tensors by name.
        extra_files: LICENSE, NOTICE, README.md, preview.png or further `*.json`, by name.
        preview: a PNG; the same as `preview.png` among the extra files.
        baselines: the file of fitted baselines, and how many training subjects they were fitted on.

    Raises:
        BadInputError: the card does not fit the schema, an extra file does not belong into a package, or the folder
            holds something else; nothing is written then.
    """
    from safetensors.torch import save

    from modality_synthesis.volumes import atomic_folder

    folder = Path(folder)
    _refuse_other_folder(folder)
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
    if baselines is not None:
        content_hash = hashlib.sha256(baselines[0]).hexdigest()
        facts["baselines"] = {"file": BASELINES_FILE, "sha256": content_hash, "subjects": baselines[1]}
    card_bytes = (validate(Card, facts, CARD_FILE).model_dump_json(indent=2) + "\n").encode()
    # What counts is what a reader will find, so the card is read back before anything is written.
    validated = parse_card(card_bytes, CARD_FILE)
    extra = {**(extra_files or {}), **({} if preview is None else {PREVIEW_FILE: preview})}
    text = card_text(validated, has_preview=PREVIEW_FILE in extra)
    files = {**_checked(extra), CARD_FILE: card_bytes, WEIGHTS_FILE: content, CARD_TEXT_FILE: text.encode()}
    if baselines is not None:
        files[BASELINES_FILE] = baselines[0]
    sizes = PackageFiles(folder.name)
    for name, data in files.items():
        sizes.add(name, len(data))
    with atomic_folder(folder) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
    return ModelPackage(folder=folder, card=validated)


def _existing_weights(package: ModelPackage) -> Path:
    path = package.weights_path
    if not path.is_file():
        raise BadInputError(f"{package.folder} has no {path.name}. Install the model again.")
    refuse_pointer(path)
    return path


def _check_hash(package: ModelPackage, found: str) -> None:
    if found != package.card.weights.sha256:
        raise _changed(package.weights_path)


def _changed(path: Path) -> HashMismatchError:
    return HashMismatchError(
        f"{path}: the SHA-256 differs from the model card's; the file is damaged or was changed. "
        "Install the model again."
    )


def _check_count(package: ModelPackage, found: int) -> None:
    declared = package.card.weights.parameters
    if found != declared:
        raise BadInputError(f"{package.weights_path} holds {found} numbers, but its card says {declared}.")


def _checked(extra: Mapping[str, bytes]) -> dict[str, bytes]:
    made_here = {CARD_FILE, WEIGHTS_FILE, CARD_TEXT_FILE, BASELINES_FILE} & set(extra)
    if made_here:
        raise BadInputError(f"{min(made_here)!r} is written from the card and the weights; do not give it.")
    if not extra.get(PREVIEW_FILE, _PNG).startswith(_PNG):
        raise BadInputError(f"{PREVIEW_FILE} is not a PNG.")
    return dict(extra)


def _refuse_other_folder(folder: Path) -> None:
    """A package replaces the whole folder, so that only a package or nothing may be in its place."""
    if folder.is_file():
        raise BadInputError(f"{folder} is a file; a model package is a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise BadInputError(f"{folder} holds something other than a model package; it is not replaced.")
