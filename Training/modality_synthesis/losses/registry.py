"""Losses by name, and their weighted sum as a recipe states it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses.names import PLACES, check_loss, check_loss_name
from modality_synthesis.precision import full_precision


def build_loss(name: str, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Make a loss: a module called with (prediction, target, mask), returning a scalar.

    Raises:
        BadInputError: unknown name or parameter.
    """
    check_loss(name, parameters or {})
    return loss_class(name)(**(parameters or {}))


def loss_class(name: str) -> type[nn.Module]:
    """The loss of a name.

    Raises:
        BadInputError: unknown.
    """
    check_loss_name(name)
    module, attribute = PLACES[name]
    return getattr(importlib.import_module(f"modality_synthesis.losses.{module}"), attribute)


class WeightedLosses(nn.Module):
    """The recipe's losses; each term is its loss times its weight.

    They compute in float32, outside autocast: no loss need care for mixed precision. A loss that changes during
    training (a schedule) has a method `set_epoch(epoch)`, called before each epoch.
    """

    def __init__(self, terms: Sequence[tuple[str, float, dict[str, Any]]]) -> None:
        super().__init__()
        self.names = [name for name, _, _ in terms]
        if repeated := {name for name in self.names if self.names.count(name) > 1}:
            raise BadInputError(f"The losses name {', '.join(sorted(repeated))} more than once.")
        self.parameters_given = [dict(parameters) for _, _, parameters in terms]
        self.weights = [weight for _, weight, _ in terms]
        self.losses = nn.ModuleList(build_loss(name, parameters) for name, _, parameters in terms)

    @full_precision
    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Named, weighted terms; their sum is what is minimized."""
        terms = zip(self.names, self.weights, self.losses, strict=True)
        return {name: weight * loss(prediction, target, mask) for name, weight, loss in terms}

    def set_epoch(self, epoch: int) -> None:
        for loss in self.losses:
            if hasattr(loss, "set_epoch"):
                loss.set_epoch(epoch)

    @property
    def plane(self) -> str | None:
        """The plane that a perceptual loss on one plane looks at now."""
        return next((plane for loss in self.losses if (plane := getattr(loss, "plane", None))), None)

    def describe(self) -> list[dict[str, Any]]:
        """Name, weight and parameters of each term, with its feature network and schedule; plain data for logs."""
        terms = zip(self.names, self.weights, self.parameters_given, self.losses, strict=True)
        return [
            {
                "name": name,
                "weight": weight,
                "parameters": parameters,
                **(loss.describe() if hasattr(loss, "describe") else {}),
            }
            for name, weight, parameters, loss in terms
        ]
