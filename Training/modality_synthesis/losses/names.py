"""The names of the losses, without the losses: recipes are checked before torch is loaded."""

from __future__ import annotations

from modality_synthesis.errors import BadInputError

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
        raise BadInputError(f"Unknown loss {name!r}. Known: {', '.join(loss_names())}.")
