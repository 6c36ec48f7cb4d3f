"""Losses by name, and their weighted sum as a recipe states it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses.pixelwise import L1Loss, MSELoss
from modality_synthesis.losses.ssim import SSIMLoss

_LOSSES: dict[str, type[nn.Module]] = {"mse": MSELoss, "l1": L1Loss, "ssim": SSIMLoss}


def loss_names() -> list[str]:
    """The names a recipe may use."""
    return sorted(_LOSSES)


def build_loss(name: str, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Make a loss: a module called with (prediction, target, mask), returning a scalar.

    Raises:
        BadInputError: unknown name or parameter.
    """
    if name not in _LOSSES:
        raise BadInputError(f"Unknown loss {name!r}. Known: {', '.join(loss_names())}.")
    known = inspect.signature(_LOSSES[name]).parameters
    for key in parameters or {}:
        if key not in known:
            raise BadInputError(f"Loss {name!r} has no parameter {key!r}. Known: {', '.join(known) or 'none'}.")
    return _LOSSES[name](**(parameters or {}))


class WeightedLosses(nn.Module):
    """The recipe's losses; each term is its loss times its weight.

    A loss that changes during training (a schedule) has a method `set_epoch(epoch)`, called before each epoch.
    """

    def __init__(self, terms: Sequence[tuple[str, float, dict[str, Any]]]) -> None:
        super().__init__()
        if not terms:
            raise BadInputError("A recipe needs at least one loss.")
        self.names = [name for name, _, _ in terms]
        self.weights = [weight for _, weight, _ in terms]
        self.losses = nn.ModuleList(build_loss(name, parameters) for name, _, parameters in terms)

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Named, weighted terms; their sum is what is minimized."""
        terms = zip(self.names, self.weights, self.losses, strict=True)
        return {name: weight * loss(prediction, target, mask) for name, weight, loss in terms}

    def set_epoch(self, epoch: int) -> None:
        for loss in self.losses:
            if hasattr(loss, "set_epoch"):
                loss.set_epoch(epoch)
