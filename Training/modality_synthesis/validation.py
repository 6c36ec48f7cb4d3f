"""Turn a failed validation of user-written data into one line that says where and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from modality_synthesis.errors import BadInputError
from modality_synthesis.signatures import did_you_mean

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], data: Mapping[str, Any], name: str) -> Model:
    """`model.model_validate(data)`.

    Args:
        model: the pydantic model.
        data: what a file said.
        name: the file's name, for the message.

    Raises:
        BadInputError: names the file, the key and, for an unknown key, the nearest known one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInputError(f"{name}: {_describe(error, model)}") from None


def _describe(error: ValidationError, model: type[BaseModel]) -> str:
    details = error.errors()
    # An unknown key is the likeliest slip, and it may also be why another key is missing.
    first = next((item for item in details if item["type"] == "extra_forbidden"), details[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"unknown key '{where}'.{did_you_mean(key, sorted(_keys(model)))}"
    if first["type"] == "missing":
        return f"the key '{where}' is missing."
    return f"'{where}': {first['msg'][:1].lower()}{first['msg'][1:]}."


def _keys(annotation: Any, seen: set[type] | None = None) -> set[str]:
    """All field names of a model and of the models inside it."""
    seen = set() if seen is None else seen
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return set()
        seen.add(annotation)
        names = set(annotation.model_fields)
        for field in annotation.model_fields.values():
            names |= _keys(field.annotation, seen)
        return names
    names = set()
    for argument in get_args(annotation):
        names |= _keys(argument, seen)
    return names
