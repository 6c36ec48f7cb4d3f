"""What happens around the epochs: checkpoint, history, progress, pictures."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import Output
from modality_synthesis.progress import Reporter
from modality_synthesis.tables import read_table
from modality_synthesis.training.panels import draw_example, pixels
from modality_synthesis.volumes import atomic_files, atomic_output

LOG = Path("logs") / "metrics.csv"


class SaveLast(Checkpoint):
    """Keeps one checkpoint, of the last finished epoch; it and the table of epochs are replaced in one step."""

    def __init__(self, path: Path, history: History, opened: Callable[[], None]) -> None:
        self.path, self.history, self.opened = path, history, opened

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.path)  # every process takes part, the first one writes
            return
        with atomic_files():
            self.opened()
            self.history.write()
            with atomic_output(self.path) as temporary:
                trainer.save_checkpoint(temporary)


class History(Callback):
    """One row per epoch: losses, validation figures, learning rate, seconds. Written to `logs/metrics.csv`.

    It is part of the checkpoint, so that a resumed run goes on with it.

    Attributes:
        rows: one per epoch.
        planes: (first epoch, plane) of each stretch that a perceptual loss spent on one plane.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.planes: list[tuple[int, str]] = []
        self._started, self._rate = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Of all epochs, those before an interruption included."""
        return sum(row["seconds"] for row in self.rows)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self._started, self._rate = time.monotonic(), float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        losses = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        facts = {"epoch": trainer.current_epoch, "seconds": round(time.monotonic() - self._started, 3)}
        self.rows.append({**facts, "learning_rate": self._rate, **losses, **module.figures})
        plane = module.losses.plane
        if plane is not None and (not self.planes or self.planes[-1][1] != plane):
            self.planes.append((trainer.current_epoch, plane))

    def write(self) -> None:
        """Write the table."""
        write_rows(self.rows, self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "planes": self.planes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])
        self.planes = [(epoch, plane) for epoch, plane in state_dict["planes"]]


def write_rows(rows: list[dict[str, float]], path: Path) -> None:
    """Rows with different keys as one table; what a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, float]]:
    """What `write_rows` wrote.

    Raises:
        BadInputError: it was changed or damaged.
    """
    try:
        records = read_table(path, "training log").records
        return [{name: float(text) for name, text in row.items() if text} for row in records]
    except ValueError as error:
        raise BadInputError(f"{path} is no training log: {error}") from None


class NamelessLogger(TensorBoardLogger):
    """TensorBoard's logger, whose files are named without the computer's host name."""

    @property
    def experiment(self) -> Any:
        """The writer; made when it is first asked for."""
        from tensorboard.summary.writer import event_file_writer

        module: Any = event_file_writer
        system, module.socket = module.socket, SimpleNamespace(gethostname=lambda: "training")
        try:
            return super().experiment
        finally:
            module.socket = system


class ReportProgress(Callback):
    """Hands Lightning's progress to the reporter."""

    def __init__(self, reporter: Reporter, epochs: int) -> None:
        self.reporter, self.epochs, self.loss = reporter, epochs, ""

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + (index + 1) / trainer.num_training_batches
        stage = f"Training, epoch {trainer.current_epoch + 1} of {self.epochs}{self.loss}"
        self.reporter.progress(done / self.epochs, stage)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        phase = module.generator.phases()[0]
        self.loss = f", loss {float(trainer.callback_metrics[f'train/{phase}/loss']):.4g}"

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        text = ", ".join(f"{name.removeprefix('validation/')} {value:.4g}" for name, value in module.figures.items())
        self.reporter.status(f"Epoch {trainer.current_epoch + 1}: validation {text}")


class ToTensorBoard(Callback):
    """Validation figures, learning rate, and pictures of the same validation subjects every few epochs."""

    def __init__(self, logger: TensorBoardLogger, output: Output, every: int) -> None:
        self.logger, self.output, self.every = logger, output, every
        self.drawn = -1

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self.logger.log_metrics(module.figures, trainer.global_step)
        period = (trainer.current_epoch + 1) // self.every if self.every else -1
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if not self.every or not trainer.is_global_zero or (period <= self.drawn and not last):
            return
        self.drawn = period
        for subject, example in sorted(module.examples.items()):
            picture = pixels(draw_example(example, self.output))
            self.logger.experiment.add_image(
                f"validation subject {subject + 1}", picture, trainer.current_epoch + 1, dataformats="HWC"
            )

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        for number, optimizer in enumerate(trainer.optimizers):
            rate = {f"learning rate/{module.generator.phases()[number]}": float(optimizer.param_groups[0]["lr"])}
            self.logger.log_metrics(rate, trainer.global_step)
