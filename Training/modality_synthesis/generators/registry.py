"""Generators by name. Model packages and recipes name a generator; nothing is ever imported by a name they give."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from modality_synthesis.errors import BadInputError

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


def generator_names() -> list[str]:
    """The names a recipe or a model package may use."""
    return sorted(_GENERATORS)


def check_generator_name(name: str) -> None:
    """Refuse a name that no generator has.

    Raises:
        BadInputError: lists the names.
    """
    if name not in _GENERATORS:
        raise BadInputError(f"Unknown generator {name!r}. Known: {', '.join(generator_names())}.")


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
    known = inspect.signature(cls).parameters
    retired = getattr(cls, "retired_parameters", ())
    parameters = {key: value for key, value in (parameters or {}).items() if key not in retired}
    unknown = [key for key in parameters if key not in known]
    if unknown:
        raise BadInputError(f"Generator {name!r} has no parameter {unknown[0]!r}. Known: {', '.join(known)}.")
    try:
        return cls(**parameters)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"Generator {name!r} cannot be built: {error}") from error
