"""Train a recipe: cohort in, model package out."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from modality_synthesis.datasets.cache import Pair, preprocess_pairs
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.datasets.pairs import EpochShuffle, PairDataset
from modality_synthesis.datasets.splits import Split, split_cohort
from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.models import ModelPackage
from modality_synthesis.progress import Reporter, parts
from modality_synthesis.synthesis.allocator import keep_freed_memory
from modality_synthesis.training.export import package_model
from modality_synthesis.training.module import GeneratorModule
from modality_synthesis.training.recipe import Recipe, read_recipe
from modality_synthesis.volumes import atomic_output, write_json

LAST_CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class TrainingResult:
    """Where a finished training left its files."""

    package: ModelPackage
    folder: Path


def train(
    recipe: str | Path | Recipe,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    cohort: str | Path | None = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    evaluate_test: bool = True,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Train a generator and write its model package.

    The run folder receives `splits.json`, `recipe.json`, `checkpoints/`, `logs/` (CSV and TensorBoard), and
    `package/<model id>`. With `resume`, an interrupted run goes on from its last finished epoch; on the CPU the result
    equals that of an uninterrupted run bit for bit.

    Args:
        recipe: YAML file or validated recipe.
        output: run folder.
        overrides: `KEY=VALUE` changes to the recipe.
        resume: go on from the run folder's last checkpoint.
        cohort: cohort table instead of the recipe's.
        cache: folder for preprocessed pairs; default `.cache` beside the cohort table.
        jobs: worker processes for preprocessing.
        accelerator: Lightning's accelerator: auto, cpu, gpu, mps.
        devices: Lightning's devices.
        evaluate_test: score the finished model and the baselines on the test subjects, for the card.
        reporter: receives progress.

    Raises:
        BadInputError: a recipe or cohort that cannot be used, or nothing to resume.
    """
    reporter = reporter or Reporter()
    settings = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    folder = Path(output)
    checkpoint = folder / "checkpoints" / LAST_CHECKPOINT
    if resume and not checkpoint.exists():
        raise BadInputError(f"Nothing to resume in {folder}: {checkpoint.name} is missing. Start without --resume.")
    if not resume and checkpoint.exists():
        raise BadInputError(f"{folder} holds a training run. Continue it with --resume, or choose another folder.")
    keep_freed_memory()
    table = read_cohort(cohort or settings.cohort)
    table.require(settings.route.source, settings.route.target)
    split = split_cohort(table, seed=settings.training.seed)
    _write_facts(folder, settings, split)

    preparing, fitting, finishing = parts(reporter, (1, 8, 1))
    visits = [*table.of_subjects(split.train), *table.of_subjects(split.validation)]
    pairs = preprocess_pairs(
        visits,
        settings.route.source,
        settings.route.target,
        settings.preprocessing,
        Path(cache) if cache else table.path.parent / ".cache",
        jobs=jobs,
        reporter=preparing,
    )
    training_pairs = [pair for pair in pairs if pair.visit.subject in split.train]
    validation_pairs = [pair for pair in pairs if pair.visit.subject in split.validation]
    started = time.monotonic()
    module = _fit(
        settings,
        training_pairs,
        validation_pairs,
        folder,
        checkpoint if resume else None,
        accelerator,
        devices,
        fitting,
    )
    package = package_model(
        settings,
        module.best_generator,
        split,
        table,
        folder / "package" / settings.package.id,
        minutes=(time.monotonic() - started) / 60,
        cache=cache,
        jobs=jobs,
        evaluate_test=evaluate_test,
        reporter=finishing,
    )
    return TrainingResult(package=package, folder=folder)


def _write_facts(folder: Path, recipe: Recipe, split: Split) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(split.as_dict(), folder / "splits.json")
    write_json(recipe.model_dump(mode="json"), folder / "recipe.json")


def _fit(
    recipe: Recipe,
    training_pairs: list[Pair],
    validation_pairs: list[Pair],
    folder: Path,
    checkpoint: Path | None,
    accelerator: str,
    devices: int | str,
    reporter: Reporter,
) -> GeneratorModule:
    schedule = recipe.training
    lightning.seed_everything(schedule.seed, workers=True, verbose=False)
    generator = build_generator(recipe.generator.name, recipe.generator.parameters)
    losses = WeightedLosses([(term.name, term.weight, term.parameters) for term in recipe.losses])
    loader = DataLoader(
        PairDataset(training_pairs, augmented=schedule.augment, seed=schedule.seed),
        batch_size=schedule.batch_size,
        sampler=EpochShuffle(len(training_pairs), schedule.seed),
        num_workers=schedule.workers,
    )
    validation = DataLoader(PairDataset(validation_pairs), batch_size=1)
    steps = -(-len(loader) // recipe.optimizer.accumulate) * schedule.epochs
    low, high = recipe.output.display_window
    module = GeneratorModule(
        generator,
        losses,
        recipe.optimizer,
        steps=steps,
        average_decay=schedule.average_decay,
        data_range=(high - low) / recipe.preprocessing.target.scale,
        seed=schedule.seed,
    )
    callbacks: list[Callback] = [
        _SaveLast(folder / "checkpoints" / LAST_CHECKPOINT),
        _ReportProgress(reporter, schedule.epochs),
    ]
    if schedule.patience:
        callbacks.append(EarlyStopping("validation/MAE", patience=schedule.patience))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on loader workers and tensor-core precision
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            max_epochs=schedule.epochs,
            accelerator=accelerator,
            devices=devices,
            precision=_precision(schedule.precision, accelerator),
            check_val_every_n_epoch=schedule.validate_every,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            logger=[
                CSVLogger(folder / "logs", name="", version=""),
                TensorBoardLogger(folder / "logs", name="", version=""),
            ],
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            module,
            loader,
            validation,
            ckpt_path=None if checkpoint is None else str(checkpoint),
            weights_only=True,
        )
    return module


def _precision(wanted: str, accelerator: str) -> Any:
    if wanted != "auto":
        return wanted
    # Half precision pays on a GPU only: most CPUs emulate it many times slower.
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


class _SaveLast(Checkpoint):
    """Keeps one checkpoint, of the last finished epoch; it is replaced in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(self.path) as temporary:
            trainer.save_checkpoint(temporary)


class _ReportProgress(Callback):
    """Hands Lightning's progress to the reporter."""

    def __init__(self, reporter: Reporter, epochs: int) -> None:
        self.reporter, self.epochs = reporter, epochs

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        done = trainer.current_epoch + (index + 1) / trainer.num_training_batches
        self.reporter.progress(done / self.epochs, f"Training, epoch {trainer.current_epoch + 1} of {self.epochs}")

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        figures = {
            name.split("/")[1]: float(value)
            for name, value in trainer.callback_metrics.items()
            if "validation/" in name
        }
        if figures:
            text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            self.reporter.status(f"Epoch {trainer.current_epoch + 1}: validation {text}")
