"""Clinical variables as the numbers a generator takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import ClinicalVariable
from modality_synthesis.models.clinical_words import choice
from modality_synthesis.tables import as_number, is_unknown


def encode_variables(variables: Sequence[ClinicalVariable], given: Mapping[str, object], who: str) -> list[float]:
    """Standardized values in the order of the declaration; NaN is unknown.

    Numbers are standardized with the training patients' mean and standard deviation; choices are numbered in the order
    they are declared.

    Args:
        variables: the model's declaration.
        given: values by name; what is left out is unknown.
        who: what needs the variables, for messages: "The model m", "The recipe".

    Raises:
        BadInputError: a value out of range, or a required variable left out.
    """
    return [_encode(variable, given.get(variable.name), who) for variable in variables]


def number(variable: ClinicalVariable, given: object) -> float | None:
    """A number as written, in the variable's unit; None when unknown.

    Raises:
        BadInputError: no number, or out of range.
    """
    if is_unknown(given):
        return None
    value = as_number(given)
    if value is None:
        raise BadInputError(f"{variable.name}={given}: a number is needed.")
    low, high = variable.minimum, variable.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise BadInputError(f"{variable.name}={given}: outside {low} to {high} {variable.unit or ''}".rstrip() + ".")
    return value


def _encode(variable: ClinicalVariable, given: object, who: str) -> float:
    if is_unknown(given):
        if variable.required:
            raise BadInputError(f"{who} needs the clinical variable {variable.name!r} ({variable.label}).")
        return float("nan")
    if variable.kind == "choice":
        choices = variable.choices or ()
        return float(choices.index(choice(variable.name, str(given).strip(), choices)))
    value = number(variable, given)
    assert value is not None
    mean = 0.0 if variable.mean is None else variable.mean
    return (value - mean) / (variable.std or 1.0)
