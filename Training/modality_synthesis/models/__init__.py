"""Model packages: read, write, verify, install, list. Importing this room loads neither torch nor MONAI."""

from __future__ import annotations

from modality_synthesis.models.card import Card, card_schema, write_schema
from modality_synthesis.models.package import (
    ModelPackage,
    load_weights,
    open_package,
    verify_package,
    write_package,
)
from modality_synthesis.models.store import (
    choose_model,
    find_model,
    hidden_by,
    list_models,
    remove_model,
    verify_model,
)
from modality_synthesis.models.transfer import export_model, install_model

load_model = find_model

__all__ = [
    "Card",
    "ModelPackage",
    "card_schema",
    "choose_model",
    "export_model",
    "find_model",
    "hidden_by",
    "install_model",
    "list_models",
    "load_model",
    "load_weights",
    "open_package",
    "remove_model",
    "verify_model",
    "verify_package",
    "write_package",
    "write_schema",
]
