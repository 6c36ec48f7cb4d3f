"""Turn a failed validation of user-written data into one line that says where and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from modality_synthesis.errors import BadInputError

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
    return f"'{where}': {problem(first)}."


def did_you_mean(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """` Did you mean 'epochs'?` for a misspelled word; empty where nothing is near."""
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def problem(details: ErrorDetails) -> str:
    """What one failed check of pydantic says, for people."""
    if details["type"] == "string_pattern_mismatch":
        return f"{details['input']!r} is not written as it should be"
    message = details["msg"].removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


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
