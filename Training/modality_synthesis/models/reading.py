"""Read `model.json` strictly: what two readers could understand differently is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modality_synthesis._version import __version__
from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import Card
from modality_synthesis.models.contents import CARD_FILE, LARGEST_OTHER_BYTES, refuse_pointer
from modality_synthesis.models.versions import version_key
from modality_synthesis.validation import validate


def read_card(folder: Path) -> Card:
    """The card in a package's folder.

    Raises:
        BadInputError: no card, no JSON, or a card that does not fit the schema.
    """
    path = folder / CARD_FILE
    try:
        if not path.is_file():
            raise BadInputError(f"{folder} is not a model package: it has no {CARD_FILE}.{_hint(folder)}")
        refuse_pointer(path)
        if path.stat().st_size > LARGEST_OTHER_BYTES:
            raise BadInputError(f"{path} is too large for a model card.")
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}.") from None
    return parse_card(content, f"{folder.name}/{CARD_FILE}")


def parse_card(content: bytes, name: str) -> Card:
    """The card in a file's content.

    Raises:
        BadInputError: no JSON, or a card that does not fit the schema; the message begins with `name`.
    """
    try:
        # Editors may have put a byte order mark before it, or chosen UTF-16.
        text = content.decode(json.detect_encoding(content))
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise BadInputError(f"{name} cannot be read: nested too deeply.") from None
    except ValueError as error:
        raise BadInputError(f"{name} cannot be read: {error}.") from None
    if not isinstance(data, dict):
        raise BadInputError(f"{name} is not a JSON object.")
    _refuse_newer_schema(data, name)
    try:
        return validate(Card, data, name)
    except BadInputError as error:
        raise BadInputError(f"{error}{_advice(data, str(error))}") from None


def _refuse_newer_schema(data: dict[str, Any], name: str) -> None:
    schema, known = data.get("schema_version", 1), 1
    if isinstance(schema, int) and schema > known:
        raise BadInputError(
            f"{name}: 'schema_version' is {schema}, and ModalitySynthesis {__version__} reads {known}. Upgrade: pip "
            "install --upgrade modality-synthesis (in 3D Slicer, update the extension)."
        )


def _advice(data: dict[str, Any], message: str) -> str:
    """What to do about a card that does not fit, when a newer version may have made it."""
    training = data.get("training")
    made_by = training.get("package_version") if isinstance(training, dict) else None
    try:
        newer = isinstance(made_by, str) and version_key(made_by) > version_key(__version__)
    except (ValueError, TypeError):
        newer = False
    if newer:
        return f" The package was made by version {made_by}, this is {__version__}: upgrade to use it."
    if "unknown key" in message and "Did you mean" not in message:
        return (
            f" If a newer version than {__version__} made the package, upgrade (pip install --upgrade "
            "modality-synthesis); otherwise remove the key."
        )
    return ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} is there twice")
        data[key] = value
    return data


def _hint(folder: Path) -> str:
    if folder.suffix.lower() == ".zip" and folder.is_file():
        return f" Install it first: modality-synthesis models install {folder.name}"
    return ""
