"""One Lightning module for every generator: phases, optimizers, averaged weights, validation."""

from __future__ import annotations

import copy
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from modality_synthesis.evaluation.metrics import compare_arrays
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.training.recipe import Optimizer


class GeneratorModule(lightning.LightningModule):
    """Trains a `Generator`, whatever it is made of.

    Each phase of the generator has its own optimizer and learning-rate schedule; a batch runs through all phases.

    Args:
        generator: what is trained.
        losses: the recipe's losses.
        optimizer: the recipe's optimizer settings.
        steps: optimizer steps of the whole run, for the learning-rate schedule.
        average_decay: of the exponential moving average whose weights are validated and packaged; None turns it off.
        data_range: for the validation metrics, network values.
        seed: everything random within an epoch starts from (seed, epoch).
    """

    def __init__(
        self,
        generator: Generator,
        losses: WeightedLosses,
        optimizer: Optimizer,
        *,
        steps: int,
        average_decay: float | None,
        data_range: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.losses = generator, losses
        self.settings, self.steps = optimizer, steps
        self.average_decay, self.data_range, self.seed = average_decay, data_range, seed
        self.averaged = copy.deepcopy(generator).requires_grad_(False) if average_decay else None

    @property
    def best_generator(self) -> Generator:
        """The generator whose weights are validated and packaged."""
        return self.averaged if self.averaged is not None else self.generator

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        optimizers = [self._optimizer(phase) for phase in self.generator.phases()]
        schedules = [
            {"scheduler": _schedule(optimizer, self.settings, self.steps), "interval": "step"}
            for optimizer in optimizers
        ]
        return optimizers, schedules

    def on_train_epoch_start(self) -> None:
        # A resumed run must draw the numbers that an uninterrupted one would have drawn in this epoch.
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.current_epoch]).generate_state(1)[0]))
        self.losses.set_epoch(self.current_epoch)
        dataset = self.trainer.train_dataloader.dataset
        dataset.set_epoch(self.current_epoch)

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        example = Batch(source=batch["source"], target=batch["target"], mask=batch["mask"])
        boundary = (index + 1) % self.settings.accumulate == 0 or index + 1 == self.trainer.num_training_batches
        for phase, optimizer, schedule in zip(
            self.generator.phases(),
            self._as_list(self.optimizers()),
            self._as_list(self.lr_schedulers()),
            strict=True,
        ):
            self.toggle_optimizer(optimizer)
            report = self.generator.training_step(phase, example, self.losses)
            self.manual_backward(report.loss / self.settings.accumulate)
            if boundary:
                self._step(optimizer, schedule)
            self.untoggle_optimizer(optimizer)
            self._log_step(phase, report.loss, report.terms)
        if boundary:
            self._update_average()

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        generator = self.best_generator
        output = generator.synthesize(Batch(source=batch["source"], seed=self.seed))
        arrays = [
            volume.float().cpu().numpy()[:, 0] for volume in (output, batch["target"], batch["mask"], batch["brain"])
        ]
        for synthetic, target, region, brain in zip(*arrays, strict=True):
            figures = compare_arrays(synthetic * region, target * region, brain > 0, self.data_range).as_dict()
            named = {f"validation/{name}": value for name, value in figures.items()}
            self.log_dict(named, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def _optimizer(self, phase: str) -> torch.optim.Optimizer:
        parameters = list(self.generator.phase_parameters(phase))
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        if self.settings.name == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
        cls = torch.optim.Adam if self.settings.name == "adam" else torch.optim.AdamW
        return cls(parameters, lr=rate, weight_decay=decay)

    def _step(self, optimizer: Any, schedule: Any) -> None:
        if self.settings.gradient_clip is not None:
            self.clip_gradients(
                optimizer, gradient_clip_val=self.settings.gradient_clip, gradient_clip_algorithm="norm"
            )
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.averaged is None or self.average_decay is None:
            return
        # Early on the average follows closely, or it would remember the random start.
        decay = min(self.average_decay, (1 + self.global_step) / (10 + self.global_step))
        for average, value in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
            average.lerp_(value, 1 - decay)
        for average, value in zip(self.averaged.buffers(), self.generator.buffers(), strict=True):
            average.copy_(value)

    def _log_step(self, phase: str, loss: Tensor, terms: Any) -> None:
        named = {f"train/{phase}/{name}": value.detach() for name, value in terms.items()}
        named[f"train/{phase}/loss"] = loss.detach()
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1)

    @staticmethod
    def _as_list(value: Any) -> list[Any]:
        return list(value) if isinstance(value, (list, tuple)) else [value]


def _schedule(
    optimizer: torch.optim.Optimizer, settings: Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    warmup = max(round(settings.warmup * steps), 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        return max(0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(steps - warmup, 1)))), 0.01)

    if settings.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=steps + 1, pct_start=max(settings.warmup, 0.01)
        )
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
