"""What a recipe may say: every key with its type, default and meaning, written from the models that read it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from modality_synthesis.generators import generator_names, generator_signature
from modality_synthesis.losses import loss_names, loss_signature
from modality_synthesis.signatures import Signature
from modality_synthesis.training.recipe import Recipe


def keys_text(topic: str | None = None) -> str:
    """Markdown of all keys, or of one topic: `keys`, `generators`, `losses` or `steps`."""
    parts = {"keys": _keys, "steps": _steps, "generators": _generators, "losses": _losses}
    wanted = parts if topic is None else {topic: parts[topic]}
    return "\n\n".join("\n".join(part()) for part in wanted.values()) + "\n"


def _keys() -> Iterator[str]:
    yield "# Keys of a recipe\n"
    yield "`extends: base.yaml`, or a list, takes over what other recipes say; the later one wins.\n"
    yield from _model_keys(Recipe, "", set())


def _steps() -> Iterator[str]:
    yield "# Steps of preprocessing.source\n"
    for model in _step_models():
        yield f"- `{model.model_fields['step'].default}`: {_first_line(model.__doc__)}"
        for name, field in model.model_fields.items():
            if name != "step":
                yield f"  - {_field(name, field)}"


def _generators() -> Iterator[str]:
    yield "# generator.name and generator.parameters\n"
    for name in generator_names():
        yield from _signature(name, generator_signature(name))


def _losses() -> Iterator[str]:
    yield "# losses[].name and losses[].parameters\n"
    for name in loss_names():
        yield from _signature(name, loss_signature(name))


def _model_keys(model: type[BaseModel], prefix: str, above: set[type]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"- {_field(prefix + name, field)}"
        for inner in _models_in(field.annotation):
            if inner not in above and not _is_step(inner):
                marker = "[]" if _is_list(field.annotation) else ""
                yield from _model_keys(inner, f"{prefix}{name}{marker}.", {*above, model})


def _field(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "required" if default is PydanticUndefined else f"default {_value(default)}"
    about = f" {field.description}" if field.description else ""
    return f"`{name}` ({_type(field.annotation)}; {shown}){about}"


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "as its keys say"
    return "none" if value is None else f"`{value}`"


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin is Annotated:
        return _type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type(part) for part in get_args(annotation)))
    if origin in (list, tuple, dict):
        inner = [_type(part) for part in get_args(annotation) if part is not Ellipsis]
        return f"{origin.__name__} of {', '.join(dict.fromkeys(inner))}" if inner else origin.__name__
    if annotation is type(None):
        return "none"
    if inspect.isclass(annotation):
        return "mapping" if issubclass(annotation, BaseModel) else annotation.__name__
    return str(annotation).removeprefix("typing.")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, tuple)


def _is_step(model: type[BaseModel]) -> bool:
    return "step" in model.model_fields


def _step_models() -> list[type[BaseModel]]:
    source = Recipe.model_fields["preprocessing"].annotation
    assert inspect.isclass(source)
    assert issubclass(source, BaseModel)
    return [model for model in _models_in(source.model_fields["source"].annotation) if _is_step(model)]


def _signature(name: str, signature: Signature) -> Iterator[str]:
    yield f"- `{name}`: {signature.about}"
    for parameter in signature.parameters.values():
        given = "required" if parameter.default is None else f"default {_written(parameter.default)}"
        yield f"  - `{parameter.name}` ({_type(parameter.annotation)}; {given})"


def _written(default: str) -> str:
    return "none" if default == "None" else f"`{default}`"


def _first_line(text: str | None) -> str:
    return (inspect.cleandoc(text or "").split("\n\n")[0]).replace("\n", " ")
