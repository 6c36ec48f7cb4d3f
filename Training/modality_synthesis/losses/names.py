"""The names and parameters of the losses, without the losses: recipes are checked before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.signatures import Signature, signature
from modality_synthesis.validation import did_you_mean

# Name -> module and class.
PLACES: dict[str, tuple[str, str]] = {
    "bce": ("cross_entropy", "BCELoss"),
    "contextual": ("contextual", "ContextualLoss"),
    "foreground-weighted": ("foreground", "ForegroundWeightedLoss"),
    "l1": ("pixelwise", "L1Loss"),
    "mse": ("pixelwise", "MSELoss"),
    "perceptual-2.5d": ("perceptual", "Perceptual25DLoss"),
    "perceptual-2d": ("perceptual", "Perceptual2DLoss"),
    "perceptual-3d": ("perceptual_3d", "Perceptual3DLoss"),
    "perceptual-cyclic-2.5d": ("perceptual", "PerceptualCyclic25DLoss"),
    "ssim": ("ssim", "SSIMLoss"),
}


def loss_names() -> list[str]:
    """The names a recipe may use."""
    return sorted(PLACES)


def check_loss_name(name: str) -> None:
    """Refuse a name that no loss has.

    Raises:
        BadInputError: lists the names.
    """
    if name not in PLACES:
        raise BadInputError(
            f"Unknown loss {name!r}.{did_you_mean(name, loss_names())} Known: {', '.join(loss_names())}."
        )


def loss_signature(name: str) -> Signature:
    """The parameters of a loss, without loading it.

    Raises:
        BadInputError: unknown.
    """
    check_loss_name(name)
    module, attribute = PLACES[name]
    return signature(f"{__name__.rpartition('.')[0]}.{module}", attribute)


def check_loss(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse a loss that cannot be built, as far as that is known without loading it.

    Args:
        name: of the loss.
        parameters: of its constructor; `loss` and `parameters` among them are another loss.

    Raises:
        BadInputError: unknown name, a parameter it does not take, or a value that makes no sense.
    """
    loss_signature(name).check(f"Loss {name!r}", parameters)
    if "loss" in parameters:
        check_loss(parameters["loss"], parameters.get("parameters") or {})
