"""One Lightning module for every generator: phases, optimizers, averaged weights, validation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.evaluation.metrics import QUICK, compare_arrays
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.preprocessing import TargetScaling
from modality_synthesis.synthesis.inference import run_generator
from modality_synthesis.training.monitor import Monitor
from modality_synthesis.training.rates import plateau_of, rate_scheduler
from modality_synthesis.training.recipe import Recipe


@dataclass(frozen=True)
class Example:
    """What a validation subject looks like: (depth, height, width) arrays, the target's units except `source`."""

    source: np.ndarray
    synthetic: np.ndarray
    reference: np.ndarray
    brain: np.ndarray


class GeneratorModule(lightning.LightningModule):
    """Trains a `Generator`, whatever it is made of.

    Each phase of the generator has its own optimizer and learning-rate schedule; a batch runs through all phases. With
    several processes each computes its share of the samples, and what all of them found is what counts.

    Args:
        generator: what is trained.
        losses: the recipe's losses.
        recipe: its optimizer, training, inference, target mapping and display window.
        examples: validation subjects, from the first, whose volumes are kept for pictures.

    Attributes:
        figures: of the last validation, by the names the log uses; empty in epochs without one.
        examples: of the last validation.
    """

    def __init__(self, generator: Generator, losses: WeightedLosses, recipe: Recipe, *, examples: int = 2) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.losses, self.recipe = generator, losses, recipe
        decay = recipe.training.average_decay
        self.averaged = copy.deepcopy(generator).requires_grad_(False) if decay else None
        if self.averaged is not None:
            self.averaged.drop_training_parts()
        low, high = recipe.output.display_window
        self.data_range = high - low
        self.monitor = Monitor(recipe.training.monitor)
        self.figures: dict[str, float] = {}
        self.examples: dict[int, Example] = {}
        self._wanted_examples = examples
        self._sums = torch.zeros(0)

    @property
    def best_generator(self) -> Generator:
        """The generator whose weights are validated and packaged."""
        return self.averaged if self.averaged is not None else self.generator

    # Training

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        settings, epochs = self.recipe.optimizer, self.recipe.training.epochs
        batches = int(self.trainer.estimated_stepping_batches) // epochs
        steps = -(-batches // settings.accumulate) * epochs
        optimizers = [self._optimizer(phase) for phase in self.generator.phases()]
        schedules = [
            rate_scheduler(
                optimizer, settings.schedule, settings.learning_rate, warmup=settings.warmup, steps=steps, epochs=epochs
            )
            for optimizer in optimizers
        ]
        return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]

    def on_train_epoch_start(self) -> None:
        self.losses.set_epoch(self.current_epoch)
        self.trainer.train_dataloader.dataset.set_epoch(self.current_epoch)
        # A schedule's last epoch is validated whatever its number: its weights may be the ones that are packaged.
        last = self.current_epoch + 1 == self.recipe.training.epochs
        self.trainer.check_val_every_n_epoch = 1 if last else self.recipe.training.validate_every
        self.figures, self.examples = {}, {}

    def on_train_batch_start(self, batch: dict[str, Tensor], index: int) -> None:
        # A resumed run must draw the numbers that an uninterrupted one would have drawn, and no process the numbers of
        # another. Seeding each epoch is not enough: Lightning makes the loader's iterator, which draws one too, before
        # or after an epoch's start.
        rank = [self.global_rank] if self.global_rank else []
        entropy = [self.recipe.training.seed, self.current_epoch, index, *rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        example = self._example(batch)
        first = index - index % self.recipe.optimizer.accumulate
        last = min(first + self.recipe.optimizer.accumulate, int(self.trainer.num_training_batches)) - 1
        for phase, optimizer, schedule in zip(
            self.generator.phases(),
            self._as_list(self.optimizers()),
            self._as_list(self.lr_schedulers()),
            strict=True,
        ):
            self.toggle_optimizer(optimizer)
            with self._sharing_gradients(index == last):
                report = self.generator.training_step(phase, example, self.losses)
                self.manual_backward(report.loss / (last - first + 1))
            if index == last:
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            self.untoggle_optimizer(optimizer)
            named = {f"train/{phase}/{name}": value.detach() for name, value in report.terms.items()}
            named[f"train/{phase}/loss"] = report.loss.detach()
            self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(example.source), sync_dist=True)
        if index == last:
            self._update_average()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Not earlier: with 16-bit floats the gradients are scaled until here, and clipping would meet the wrong norm.
        if self.recipe.optimizer.gradient_clip is not None:
            self.clip_gradients(
                optimizer, gradient_clip_val=self.recipe.optimizer.gradient_clip, gradient_clip_algorithm="norm"
            )

    def on_train_epoch_end(self) -> None:
        # Before the checkpoint is written, so that the last one is of an epoch that went well.
        for name, value in self.trainer.callback_metrics.items():
            if name.startswith("train/") and not torch.isfinite(value):
                _, phase, term = name.split("/", 2)
                raise ModalitySynthesisError(
                    f"The training diverged: {term!r} of the phase {phase!r} is not a number in epoch "
                    f"{self.current_epoch + 1}. Lower optimizer.learning_rate or optimizer.gradient_clip, or train "
                    "with precision 32-true."
                )

    def _optimizer(self, phase: str) -> torch.optim.Optimizer:
        settings, parameters = self.recipe.optimizer, list(self.generator.phase_parameters(phase))
        rate, decay = settings.learning_rate, settings.weight_decay
        if settings.name == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
        cls = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
        return cls(parameters, lr=rate, betas=settings.betas, weight_decay=decay)

    def _sharing_gradients(self, now: bool) -> AbstractContextManager[Any]:
        """Processes average their gradients once per optimizer step, not once per batch."""
        model = self.trainer.strategy.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) and not now else nullcontext()

    @torch.no_grad()
    def _update_average(self) -> None:
        wanted = self.recipe.training.average_decay
        if self.averaged is None or wanted is None:
            return
        # Early on the average follows closely, or it would remember the random start.
        step = self.global_step // len(self.generator.phases())  # Lightning counts every optimizer's steps
        decay = min(wanted, (1 + step) / (10 + step))
        parameters, buffers = dict(self.generator.named_parameters()), dict(self.generator.named_buffers())
        for name, average in self.averaged.named_parameters():
            average.lerp_(parameters[name], 1 - decay)
        for name, average in self.averaged.named_buffers():
            average.copy_(buffers[name])

    # Validation

    def on_validation_epoch_start(self) -> None:
        # Single precision where the device has no other.
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        self._sums = torch.zeros(self._subjects, 1 + len(self._metrics), dtype=kind, device=self.device)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Score one subject as the model package will synthesize it, in the target's units inside the brain."""
        # Processes take subjects in turn; the last of them may meet one that another process had.
        subject = (index * self.trainer.world_size + self.global_rank) % self._subjects
        example = self._example(batch)
        # Nor in half precision: that is how the package's own synthesis runs.
        with torch.autocast(self.device.type, enabled=False):
            output = run_generator(self.best_generator, example, self.recipe.inference, self.device)
        self.best_generator.to(self.device)  # short of memory, it has gone to the CPU
        figures = []
        if self.monitor.is_loss:
            target, mask = example.reference()
            figures = [float(sum(self.losses(output.to(self.device), target, mask).values()))]
        shown = self._shown(batch, output)
        compared = compare_arrays(shown.synthetic, shown.reference, shown.brain > 0, self.data_range, names=QUICK)
        row = [1.0, *(compared[name] for name in QUICK), *figures]
        self._sums[subject] += torch.tensor(row, dtype=self._sums.dtype, device=self.device)
        if subject < self._wanted_examples:
            self.examples[subject] = shown

    def on_validation_epoch_end(self) -> None:
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        means = (sums[:, 1:] / sums[:, :1]).mean(dim=0).tolist()
        self.figures = {f"validation/{name}": value for name, value in zip(self._metrics, means, strict=True)}
        for schedule in self._as_list(self.lr_schedulers()):
            if (plateau := plateau_of(schedule)) is not None:
                plateau.observe(self.monitor.badness(self.figures))

    @property
    def _metrics(self) -> Sequence[str]:
        return [*QUICK, *(["loss"] if self.monitor.is_loss else [])]

    @property
    def _subjects(self) -> int:
        return len(self._as_list(self.trainer.val_dataloaders)[0].dataset)

    def demonstrate(self, generator: Generator, sample: dict[str, Tensor], device: torch.device) -> Example:
        """One sample of the data set as a generator shows it."""
        batch = {name: value[None] for name, value in sample.items()}
        return self._shown(batch, run_generator(generator, self._example(batch), self.recipe.inference, device))

    def _shown(self, batch: dict[str, Tensor], output: Tensor) -> Example:
        mapping = self.recipe.preprocessing.target
        scale, offset = batch["scaling"][0].tolist() if "scaling" in batch else (mapping.scale, mapping.offset)
        source, target, region, brain = (
            batch[name][0, 0].float().cpu().numpy() for name in ("source", "target", "mask", "brain")
        )
        scaling = TargetScaling(scale, offset, mapping.minimum, mapping.background)
        measured = replace(scaling, minimum=None)  # what was measured is not clamped
        synthetic = scaling.to_units(output[0, 0].float().cpu().numpy(), region)
        return Example(source, synthetic, measured.to_units(target, region), brain)

    def _example(self, batch: dict[str, Tensor]) -> Batch:
        return Batch(
            source=batch["source"], target=batch["target"], mask=batch["mask"], clinical=batch.get("clinical"),
            seed=self.recipe.training.seed, regions=batch.get("regions"),
        )  # fmt: skip

    @staticmethod
    def _as_list(value: Any) -> list[Any]:
        return list(value) if isinstance(value, (list, tuple)) else [value]


def compile_networks(generator: Generator) -> None:
    """Compile in place, which leaves the names of the weights alone.

    A system that calls its networks itself (adversarial training, diffusion) has each of them compiled.
    """
    whole = type(generator).training_step is Generator.training_step
    for part in [generator] if whole else generator.children():
        if any(True for _ in part.parameters()):
            part.compile()
