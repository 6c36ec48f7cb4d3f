"""Clinical variables for a model, from what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from modality_synthesis.errors import BadInputError

if TYPE_CHECKING:
    from modality_synthesis.models.card import Card, ClinicalVariable

UNKNOWN = {"", "unknown", "na", "n/a", "nan", "none"}


def parse_clinical(text: str) -> dict[str, str]:
    """`age=71,sex=F` as a mapping.

    Raises:
        BadInputError: a part is not NAME=VALUE.
    """
    values: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise BadInputError(f"Clinical variables are written NAME=VALUE, separated by commas; {part!r} is not.")
        values[name.strip()] = value.strip()
    return values


def clinical_values(card: Card, given: Mapping[str, object] | None) -> list[float] | None:
    """Standardized values in the order the model declares; NaN is unknown. None when it declares none.

    Choices are numbered in the order of the declaration.

    Raises:
        BadInputError: an unknown name, a value out of range, or a required variable left out.
    """
    given = dict(given or {})
    declared = card.clinical_variables
    names = [variable.name for variable in declared]
    stranger = next((name for name in given if name not in names), None)
    if stranger is not None:
        known = ", ".join(names) or "none"
        raise BadInputError(f"The model {card.id} takes no clinical variable {stranger!r}. It takes: {known}.")
    if not declared:
        return None
    return [_value(variable, given.get(variable.name), card.id) for variable in declared]


def _value(variable: ClinicalVariable, given: object, model: str) -> float:
    if given is None or str(given).strip().lower() in UNKNOWN:
        if variable.required:
            raise BadInputError(f"The model {model} needs the clinical variable {variable.name!r} ({variable.label}).")
        return float("nan")
    if variable.kind == "choice":
        choices = list(variable.choices or [])
        if str(given) not in choices:
            raise BadInputError(f"{variable.name}={given}: choose one of {', '.join(choices)}.")
        return float(choices.index(str(given)))
    try:
        number = float(str(given))
    except ValueError:
        raise BadInputError(f"{variable.name}={given}: a number is needed.") from None
    low, high = variable.minimum, variable.maximum
    if (low is not None and number < low) or (high is not None and number > high) or number != number:
        raise BadInputError(f"{variable.name}={given}: outside {low} to {high} {variable.unit or ''}".rstrip() + ".")
    mean, spread = variable.mean or 0.0, variable.std or 1.0
    return (number - mean) / spread
