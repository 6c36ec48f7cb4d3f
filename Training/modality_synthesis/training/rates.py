"""The learning rate over a training: schedules by name, each with the numbers it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class _Rate(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConstantRate(_Rate):
    """The same rate all along."""

    name: Literal["constant"] = "constant"


class CosineRate(_Rate):
    """Half a cosine from the full rate down to `floor` (Loshchilov 2017, without restarts).

    With `period`, the rate falls to `floor` in so many epochs, rises again in as many, and so on: PyTorch's
    CosineAnnealingLR with T_max = period, stepped once per epoch.
    """

    name: Literal["cosine"] = "cosine"
    floor: float = Field(0.01, ge=0, lt=1, description="Lowest rate as a share of the learning rate.")
    period: int | None = Field(None, ge=1, description="Epochs from the highest to the lowest rate; None: all.")


class OneCycleRate(_Rate):
    """Up during the warm-up, then down to almost nothing (Smith 2018): PyTorch's OneCycleLR."""

    name: Literal["one-cycle"] = "one-cycle"


class StepRate(_Rate):
    """The rate times `factor` after every `every` epochs."""

    name: Literal["step"] = "step"
    every: int = Field(ge=1, description="Epochs.")
    factor: float = Field(0.1, gt=0, lt=1)


class LinearRate(_Rate):
    """Constant, then a straight line to zero, changing once per epoch.

    CycleGAN (Zhu 2017): the last half of 200 epochs; there 1 - (epoch - 100) / 101 for epochs counted from 1.
    """

    name: Literal["linear"] = "linear"
    decay: float = Field(0.5, gt=0, le=1, description="Share of the epochs, at the end, in which the rate falls.")


class PlateauRate(_Rate):
    """The rate times `factor` whenever the monitored figure has not improved for more than `patience` validations."""

    name: Literal["plateau"] = "plateau"
    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(5, ge=0, description="Validations.")
    floor: float = Field(0.001, ge=0, lt=1, description="Lowest rate as a share of the learning rate.")


_Any = ConstantRate | CosineRate | OneCycleRate | StepRate | LinearRate | PlateauRate


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


# In a recipe: `schedule: cosine`, or `schedule: {name: step, every: 30}`.
Rate = Annotated[_Any, Field(discriminator="name"), BeforeValidator(_named)]


class Plateau:
    """`factor` to the power of how often the monitored figure stalled.

    The rule of PyTorch's ReduceLROnPlateau (relative threshold 1e-4, no cooldown), as a factor that goes together with
    a warm-up. Its attributes are plain numbers, because they are saved in checkpoints.
    """

    def __init__(self, warmup: int, factor: float, patience: int, floor: float) -> None:
        self.warmup, self.factor, self.patience, self.floor = warmup, factor, patience, floor
        self.best, self.waited, self.share = math.inf, 0, 1.0

    def __call__(self, step: int) -> float:
        return min((step + 1) / self.warmup, 1.0) * self.share

    def observe(self, value: float) -> None:
        """Take note of a validation; smaller values are better."""
        if value < self.best - 1e-4 * abs(self.best) or (math.isinf(self.best) and math.isfinite(value)):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.share, self.waited = max(self.share * self.factor, self.floor), 0


def rate_share(rate: _Any, *, warmup: int, steps: int, epochs: int) -> Callable[[int], float]:
    """The share of the learning rate as a function of the optimizer step, both counted from 0.

    Args:
        rate: any schedule but one-cycle.
        warmup: steps during which the rate rises linearly, at least 1.
        steps: of the whole training.
        epochs: of the whole training.
    """
    if isinstance(rate, PlateauRate):
        return Plateau(warmup, rate.factor, rate.patience, rate.floor)

    def by_epoch(epoch: int) -> float:
        if isinstance(rate, StepRate):
            return rate.factor ** (epoch // rate.every)
        if isinstance(rate, LinearRate):
            falling = round(rate.decay * epochs)
            return 1 - max(0, epoch + 1 - (epochs - falling)) / (falling + 1)
        if isinstance(rate, CosineRate) and rate.period is not None:
            return rate.floor + (1 - rate.floor) * (1 + math.cos(math.pi * epoch / rate.period)) / 2
        return 1.0

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup * by_epoch(step * epochs // steps)
        if isinstance(rate, CosineRate) and rate.period is None:
            return max((1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1))) / 2, rate.floor)
        return by_epoch(step * epochs // steps)

    return share


def rate_scheduler(
    optimizer: torch.optim.Optimizer, rate: _Any, learning_rate: float, *, warmup: float, steps: int, epochs: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """A scheduler to step after every optimizer step.

    Args:
        optimizer: whose rate it sets.
        rate: the schedule.
        learning_rate: the highest rate.
        warmup: share of the steps with a rising rate.
        steps: of the whole training.
        epochs: of the whole training.
    """
    from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

    if isinstance(rate, OneCycleRate):
        return OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=max(warmup, 0.01))
    return LambdaLR(optimizer, rate_share(rate, warmup=max(round(warmup * steps), 1), steps=steps, epochs=epochs))


def plateau_of(scheduler: Any) -> Plateau | None:
    """The part of a scheduler that wants to hear of validations, if it has one."""
    shares = scheduler.lr_lambdas if hasattr(scheduler, "lr_lambdas") else []
    return next((share for share in shares if isinstance(share, Plateau)), None)
