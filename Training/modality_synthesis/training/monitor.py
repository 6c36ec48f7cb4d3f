"""The figure that says which weights are best, and the weights themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    import lightning
    from torch import Tensor


@dataclass(frozen=True)
class Monitor:
    """A figure of the validation, and which of its values are better."""

    name: str

    @property
    def larger_is_better(self) -> bool:
        return self.name in ("validation/SSIM", "validation/PSNR")

    @property
    def is_loss(self) -> bool:
        return self.name == "validation/loss"

    def badness(self, figures: Mapping[str, float]) -> float:
        """The figure, or its opposite where larger is better: smaller is always better."""
        return -figures[self.name] if self.larger_is_better else figures[self.name]


class KeepBest(Callback):
    """Keeps the weights of the best validation, and stops when no better one comes for too long.

    The figure must not depend on the losses' schedules (the published code of the cyclic loss monitors the scheduled
    loss and forgets the best weights at each switch of planes). The weights are part of the checkpoint, so that a
    resumed run knows them.

    Args:
        monitor: by which figure.
        patience: validations without a better one before the training stops; None never stops.

    Attributes:
        value: the best figure, None before the first validation.
        epoch: of the best figure, from 0.
        weights: of the best figure, on the CPU.
    """

    def __init__(self, monitor: Monitor, patience: int | None) -> None:
        self.monitor, self.patience = monitor, patience
        self.value: float | None = None
        self.epoch = -1
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        badness = self.monitor.badness(module.figures)
        if math.isnan(badness) or (self.value is not None and badness >= self.monitor.badness(self._figures)):
            self.waited += 1
        else:
            self.value, self.epoch, self.waited = module.figures[self.monitor.name], trainer.current_epoch, 0
            state = module.best_generator.package_state()
            self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}
        self._stop(trainer)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self._stop(trainer)

    @property
    def stopped(self) -> bool:
        """Whether patience ran out."""
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.value, self.epoch = state_dict["value"], state_dict["epoch"]
        self.waited, self.weights = state_dict["waited"], state_dict["weights"]

    @property
    def _figures(self) -> dict[str, float]:
        return {self.monitor.name: math.nan if self.value is None else self.value}

    def _stop(self, trainer: lightning.Trainer) -> None:
        # Lightning goes on until the least number of epochs is reached, and asks again.
        if self.stopped:
            trainer.should_stop = True
