"""Generators by name. Model packages and recipes name a generator; nothing is ever imported by a name they give."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
# The largest generator here has about 1,400.
_MOST_TENSORS = 4_000
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
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # what numbers no network can have raise, deep inside torch, is of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadInputError(f"Generator {name!r} cannot be built: {reason}") from error


def weight_shapes(name: str, parameters: Mapping[str, Any], *, most: int = _MOST_TENSORS) -> dict[str, tuple[int, ...]]:
    """The tensors that a package of this generator holds, by name, found without making any: for parameters that
    nobody has vouched for.

    Args:
        name: of the generator.
        parameters: of its constructor.
        most: tensors; with more it is given up, before it takes all memory.

    Raises:
        BadInputError: unknown name, parameters that it does not take or that are for training only, or more than
            `most` tensors.
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook as on_registration

    _refuse_training_parameters(name, parameters)
    count = 0

    def limit(module: object, key: str, parameter: object) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ValueError(f"it would have more than {most} tensors")

    hook = on_registration(limit)
    try:
        with torch.device("meta"), _numbers_in_memory():
            generator = build_generator(name, dict(parameters))
    finally:
        hook.remove()
    return {key: tuple(value.shape) for key, value in generator.package_state().items()}


@contextmanager
def _numbers_in_memory() -> Iterator[None]:
    """MONAI computes rates of dropping out as a tensor and reads them: those must exist although the weights do not."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.linspace:
                kwargs.setdefault("device", "cpu")
            return func(*args, **kwargs)

    with Mode():
        yield


def _refuse_training_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    """Files to start training from are the trainer's business; a package that names one would have it opened."""
    cls = generator_class(name)
    named = [key for key in getattr(getattr(cls, "func", cls), "training_parameters", ()) if key in parameters]
    if named:
        raise BadInputError(f"{named[0]!r} is a parameter for training; a model package may not have it.")
    for value in parameters.values():
        # Systems of several networks name each of them.
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            inner = value.get("parameters")
            _refuse_training_parameters(value["name"], inner if isinstance(inner, Mapping) else {})
