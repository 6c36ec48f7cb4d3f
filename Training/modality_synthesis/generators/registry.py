"""Generators by name. Model packages and recipes name a generator; nothing is ever imported by a name they give."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.signatures import Signature, signature
from modality_synthesis.validation import did_you_mean

if TYPE_CHECKING:
    from modality_synthesis.generators.base import Generator

_GENERATORS: dict[str, tuple[str, str]] = {
    "cyclegan": ("cyclegan", "CycleGAN"),
    "pix2pix": ("pix2pix", "Pix2Pix"),
    "pasta": ("pasta", "Pasta"),
    "residual-unet": ("residual_unet", "ResidualUNet"),
    "swin-unetr": ("swin_unetr", "SwinUNETR"),
    "unet": ("unet", "UNet"),
    "unetr": ("unetr", "UNETR"),
    "drunet-34": ("drunet", "DRUNet34"),
    "drunet-50": ("drunet", "DRUNet50"),
    "drunet-101": ("drunet", "DRUNet101"),
    "unet-2d": ("unet2d", "UNet2D"),
}
_ROOM = __name__.rpartition(".")[0]
# Parameters that are other generators, and those that are a mapping of the parameters of a part.
_NETWORKS = ("network", "reverse")
_PARTS = {
    "discriminator": ("discriminator", "PatchDiscriminator"),
    "sampling": ("pasta.volume", "Sampling"),
}


def generator_names() -> list[str]:
    """The names a recipe or a model package may use."""
    return sorted(_GENERATORS)


def check_generator_name(name: str) -> None:
    """Refuse a name that no generator has.

    Raises:
        BadInputError: lists the names.
    """
    if name not in _GENERATORS:
        raise BadInputError(
            f"Unknown generator {name!r}.{did_you_mean(name, generator_names())} Known: {', '.join(generator_names())}."
        )


def generator_signature(name: str) -> Signature:
    """The parameters of a generator, without loading it.

    Raises:
        BadInputError: unknown.
    """
    check_generator_name(name)
    module, attribute = _GENERATORS[name]
    return signature(f"{_ROOM}.{module}", attribute)


def check_generator(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse a generator that cannot be built, as far as that is known without loading it.

    Args:
        name: of the generator.
        parameters: of its constructor.

    Raises:
        BadInputError: unknown name, a parameter it does not take, or a value that makes no sense.
    """
    what, known = f"Generator {name!r}", generator_signature(name)
    for key in _NETWORKS:
        if key in known.parameters and parameters.get(key) is not None:
            check_network(parameters[key])
    known.check(what, parameters)
    for key in parameters.keys() & _PARTS.keys():
        module, attribute = _PARTS[key]
        part = signature(f"{_ROOM}.{module}", attribute)
        part.check(f"{what}, {key}", parameters[key] or {}, elsewhere=("in_channels",))


def check_network(choice: Any) -> None:
    """Refuse what is no generator inside another one: `{name: unet, parameters: {...}}`.

    Raises:
        BadInputError: as `check_generator`, or another form.
    """
    if not isinstance(choice, Mapping) or "name" not in choice or set(choice) - {"name", "parameters"}:
        raise BadInputError("A network inside a generator is written {name: ..., parameters: {...}}.")
    check_generator(choice["name"], choice.get("parameters") or {})


def generator_class(name: str) -> type[Generator]:
    """The generator of a name.

    Raises:
        BadInputError: unknown.
    """
    check_generator_name(name)
    module, attribute = _GENERATORS[name]
    return getattr(importlib.import_module(f"modality_synthesis.generators.{module}"), attribute)


def build_generator(name: str, parameters: dict[str, Any] | None = None) -> Generator:
    """Make a generator.

    Args:
        name: one of `generator_names()`.
        parameters: keyword arguments of its constructor.

    Raises:
        BadInputError: unknown name, or parameters it does not take.
    """
    cls = generator_class(name)
    retired = getattr(cls, "retired_parameters", ())
    parameters = {key: value for key, value in (parameters or {}).items() if key not in retired}
    check_generator(name, parameters)
    try:
        return cls(**parameters)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"Generator {name!r} cannot be built: {error}") from error
