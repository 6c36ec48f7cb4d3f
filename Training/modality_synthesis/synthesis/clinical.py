"""Clinical variables for a model, from what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.models.clinical import encode_variables
from modality_synthesis.models.clinical_words import names_of
from modality_synthesis.tables import key

if TYPE_CHECKING:
    from modality_synthesis.models.card import Card


def parse_clinical(text: str) -> dict[str, str]:
    """`age=71,sex=F` as a mapping.

    Raises:
        UsageError: a part is not NAME=VALUE.
    """
    values: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"Clinical variables are written NAME=VALUE, separated by commas; {part!r} is not.")
        values[name.strip()] = value.strip()
    return values


def clinical_values(card: Card, given: Mapping[str, object] | None) -> list[float] | None:
    """Standardized values in the order the model declares; NaN is unknown. None when it declares none.

    Raises:
        BadInputError: an unknown name, a value out of range, or a required variable left out.
    """
    declared = card.clinical_variables
    named: dict[str, object] = {}
    for name, value in (given or {}).items():
        meant = next((variable.name for variable in declared if key(name) in names_of(variable.name)), None)
        if meant is None:
            known = ", ".join(variable.name for variable in declared) or "none"
            raise BadInputError(f"The model {card.id} takes no clinical variable {name!r}. It takes: {known}.")
        if meant in named:
            raise BadInputError(f"The clinical variable {meant!r} is given twice.")
        named[meant] = value
    return encode_variables(declared, named, f"The model {card.id}") if declared else None
