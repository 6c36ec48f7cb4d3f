"""Train a recipe: cohort in, model package out."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from modality_synthesis.datasets.cache import Pair, preprocess_pairs
from modality_synthesis.datasets.cache_folder import cache_folder
from modality_synthesis.datasets.cohort import Cohort, read_cohort
from modality_synthesis.datasets.cohort_check import Screening, decision_tables, screen
from modality_synthesis.datasets.pairs import require_disjoint
from modality_synthesis.datasets.qc import TABLE as QC_TABLE
from modality_synthesis.datasets.splits import Split, fold, split_cohort
from modality_synthesis.datasets.visit_check import Request
from modality_synthesis.errors import BadInputError, OutOfMemoryError, UsageError, WorkerLostError
from modality_synthesis.fingerprint import fingerprint, program
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Generator
from modality_synthesis.losses import WeightedLosses
from modality_synthesis.models import ModelPackage, open_package
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.synthesis.allocator import keep_freed_memory
from modality_synthesis.training.callbacks import LOG, History, NamelessLogger, ReportProgress, SaveLast, ToTensorBoard
from modality_synthesis.training.data import PairData
from modality_synthesis.training.export import package_model
from modality_synthesis.training.folder import RunFacts, RunFolder
from modality_synthesis.training.module import GeneratorModule, compile_networks
from modality_synthesis.training.monitor import KeepBest, Monitor
from modality_synthesis.training.processes import Placement, place
from modality_synthesis.training.recipe import Recipe, read_recipe
from modality_synthesis.training.report import write_report
from modality_synthesis.training.start import find_start, load_start, started_from
from modality_synthesis.training.truth import cohort_facts, truthful
from modality_synthesis.volumes.interruptions import shielded

EXAMPLES = 2


@dataclass(frozen=True)
class TrainingResult:
    """Where a finished training left its files.

    Attributes:
        folder: the run folder.
        package: the model; None in processes that only helped (all but the first of a distributed training).
        left_out: visits that could not be used, or are rejected in `qc.tsv`.
    """

    folder: Path
    package: ModelPackage | None
    left_out: tuple[str, ...] = ()


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
    devices: int | None = None,
    num_nodes: int | None = None,
    strategy: str = "auto",
    part: tuple[int, int] | None = None,
    evaluate_test: bool = True,
    keep_finished: bool = False,
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Train a generator and write its model package.

    Every visit is looked at first (`cohort_check`); what needs registration is checked as it is preprocessed. Visits
    that cannot be used are left out and named in `qc.tsv` in the run folder, where a person can accept or reject them
    for the next run.

    The run folder receives `splits.json`, `recipe.json`, `run.json`, `checkpoints/`, `logs/` (a table and
    TensorBoard), `package/<model id>`, `evaluation/` and `report.html`. With `resume`, an interrupted run goes on from
    its last finished epoch; on the CPU the result equals that of an uninterrupted run bit for bit.

    With several devices or machines each computes its share of every batch (PyTorch's DistributedDataParallel); an
    optimizer step then sees `batch_size` samples from each process. The processes are started by this call, or by
    torchrun or SLURM, and must see the same folders. The first one preprocesses, writes and scores.

    Args:
        recipe: YAML file or validated recipe.
        output: run folder.
        overrides: `KEY=VALUE` changes to the recipe.
        resume: go on from the run folder's last checkpoint.
        cohort: cohort table instead of the recipe's.
        cache: folder for preprocessed pairs; default as in `cache_folder`.
        jobs: worker processes for preprocessing.
        accelerator: auto, cpu, gpu or mps.
        devices: per machine; default what torchrun or SLURM started, else 1.
        num_nodes: machines; default what torchrun or SLURM started, else 1.
        strategy: auto or ddp.
        part: (i, k), fold i of a k-fold cross-validation over patients; the table's column `split` is not used then.
        limit_s: seconds that the preprocessing of one visit may take.
        keep_finished: with `resume`, a finished run of the same recipe, volumes and program is returned as it is.
        evaluate_test: score the finished model and the baselines on the test subjects, for the card.
        reporter: receives progress.

    Raises:
        BadInputError: a recipe or cohort that cannot be used, nothing to resume, or another recipe, cohort or program
            than the run's.
        UsageError: devices that do not exist.
        OutOfMemoryError: the device's memory is too small for a batch.
    """
    settings = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    placement = place(accelerator, devices, num_nodes, strategy)
    table = read_cohort(cohort or settings.cohort, reporter)
    names = (settings.route.source, settings.route.target)
    table.require_some(*names)
    kept_in = cache_folder(table.path, cache)
    split = _split(table, settings, part)
    settings = truthful(settings, cohort_facts(settings, table, split), reporter)
    folder = RunFolder(Path(output))
    start = find_start(settings)
    losses = WeightedLosses([(term.name, term.weight, term.parameters) for term in settings.losses])
    facts = RunFacts(
        fold=None if part is None else f"{part[0]}/{part[1]}",
        processes=placement.processes,
        device=placement.describe(),
        precision=placement.precision(settings.training.precision),
        losses=losses.describe(),
        program=program(),
        started_from=None if start is None else started_from(start),
    )
    keep_freed_memory()
    reporter = reporter or current()
    preparing, fitting, finishing = parts(reporter, (1, 8, 1))
    history = History(folder.path / LOG)
    best = KeepBest(Monitor(settings.training.monitor), settings.training.patience)
    progress = ReportProgress(fitting, settings.training.epochs)
    asked = settings
    trainer = _trainer(
        # Split and facts are what they have become by the first checkpoint.
        settings, placement, folder, [history, best, progress], history, lambda: folder.open(asked, split, facts),
    )  # fmt: skip
    leads = trainer.is_global_zero
    if leads:
        inputs = [*table.files(), *([] if isinstance(recipe, Recipe) else [Path(recipe)])]
        folder.check(settings, facts, inputs, resume=resume)
        if placement.note:
            reporter.warning(placement.note)
        if placement.launcher != "self" and placement.processes > 1:
            reporter.status(f"Waiting for the {placement.processes} processes that {placement.launcher} started")

    tested = split.test if evaluate_test else ()
    visits = table.of_subjects((*split.train, *split.validation, *tested))
    looking, preprocessing = parts(preparing, (1, 9))
    quantity = settings.output.quantity
    screening = screen(
        visits, Request(names, names, quantity), kept_in, refused=table.refused,
        tables=decision_tables(table.path, folder.path), jobs=jobs, wait=not leads, reporter=looking if leads else None,
    )  # fmt: skip
    pairs = preprocess_pairs(
        screening.usable(),
        *names,
        settings.preprocessing,
        kept_in,
        quantity=quantity,
        screening=screening,
        jobs=jobs,
        wait=not leads,
        limit_s=limit_s,
        reporter=preprocessing if leads else None,
    )
    split = split.only(pair.visit.subject for pair in pairs)
    facts = replace(facts, contents=_contents(pairs, split, settings))
    if leads:
        screening.write()
        screening.say(reporter)
        if tested and not split.test:
            reporter.warning("No test visit can be used: the card will have no measured figures.")
        _require_enough(split, table, screening)
        if resume:
            folder.check_same_data(split, facts)
        _say(settings, facts, split, part, reporter)
    left_out = tuple(visit.name for visit in screening.left_out)
    if keep_finished and resume and folder.is_finished:
        found = folder.path / "package" / settings.package.id
        return TrainingResult(folder.path, open_package(found) if leads else None, left_out)
    training = [pair for pair in pairs if pair.visit.subject in split.train]
    validation = [pair for pair in pairs if pair.visit.subject in split.validation]
    require_disjoint(training, validation)
    settings = settings.fitted(settings.samples.fitted(training))

    lightning.seed_everything(settings.training.seed, workers=True, verbose=False)
    generator = build_generator(settings.generator.name, settings.generator.parameters)
    if start is not None:
        load_start(generator, start)
    module = GeneratorModule(generator, losses, settings, examples=EXAMPLES)
    if settings.training.compile:
        compile_networks(generator)
    data = PairData(settings, training, validation, placement.processes)
    with _nothing_left_without_checkpoint(folder, leads):
        _fit(trainer, module, data, folder.checkpoint if resume else None)
    if not leads:
        return TrainingResult(folder.path, None, left_out)

    final = _kept(settings, module, best, reporter)
    examples = [
        module.demonstrate(final, data.validation[index], trainer.strategy.root_device)
        for index in range(min(EXAMPLES, len(data.validation)))
    ]
    minutes = history.seconds / 60
    facts = facts.finished(history, best, minutes=minutes, parameters=sum(map(torch.numel, final.parameters())))
    folder.close(facts, examples)
    package = package_model(
        settings,
        final,
        split,
        table,
        folder.path / "package" / settings.package.id,
        training,
        minutes=minutes,
        facts=facts,
        cache=kept_in,
        qc=folder.path / QC_TABLE,
        left_out=left_out,
        jobs=jobs,
        evaluate_test=evaluate_test,
        reporter=finishing,
    )
    write_report(folder.path)
    return TrainingResult(folder.path, package, left_out)


def _contents(pairs: Sequence[Pair], split: Split, recipe: Recipe) -> dict[str, str]:
    """Visit -> hash of what it is learned from: its preprocessed volumes, and what the table says about it."""
    learned = {*split.train, *split.validation}
    target = recipe.route.target
    by_maker = recipe.preprocessing.target.standardization is not None
    return {
        pair.visit.name: fingerprint(
            pair=pair.path.name,
            variables=[pair.visit.variable(one.name) for one in recipe.clinical_variables],
            manufacturer=pair.visit.manufacturer(target) if by_maker else None,
        )[:16]
        for pair in pairs
        if pair.visit.subject in learned
    }


def _require_enough(split: Split, table: Cohort, screening: Screening) -> None:
    """Somebody to learn from, and somebody to validate with."""
    for name, subjects in (("train", split.train), ("validation", split.validation)):
        if not subjects:
            left = screening.left_out
            first = f" {left[0].name}: {' '.join(screening.findings.reasons(left[0]))}" if left else ""
            raise BadInputError(
                f"{table.path.name}: no visit of the split '{name}' can be used. {screening.summary()}{first}"
            )


@contextmanager
def _nothing_left_without_checkpoint(folder: RunFolder, leads: bool) -> Iterator[None]:
    """A run that ends before its first checkpoint takes its logs with it: there is nothing to resume."""
    logs = folder.path / LOG.parent
    made = [place for place in (logs, *logs.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        if leads and not folder.checkpoint.exists() and logs in made:
            with shielded():
                shutil.rmtree(logs, ignore_errors=True)
                for place in made[1:]:
                    with suppress(OSError):
                        place.rmdir()
        raise


def _split(table: Cohort, recipe: Recipe, part: tuple[int, int] | None) -> Split:
    if part is None:
        return split_cohort(table, seed=recipe.training.seed)
    return fold([visit.subject for visit in table], *part, seed=recipe.training.seed)


def _say(recipe: Recipe, facts: RunFacts, split: Split, part: tuple[int, int] | None, reporter: Reporter) -> None:
    """What is about to happen, for the log."""
    route, optimizer, schedule = recipe.route, recipe.optimizer, recipe.training
    reporter.status(
        f"Training {recipe.name}: {route.source} to {route.target} by {recipe.generator.name}, on {facts.device}, "
        f"{facts.precision}"
    )
    sizes = ", ".join(f"{len(subjects)} {name}" for name, subjects in split.as_dict().items())
    reporter.status(f"Patients: {sizes}" + (f"; fold {part[0]} of {part[1]}" if part else ""))
    if facts.started_from is not None:
        reporter.status(f"Starts from {facts.started_from['id']} {facts.started_from['version']}")
    for line in facts.loss_lines():
        reporter.status(f"Loss: {line}")
    together = schedule.batch_size * facts.processes * optimizer.accumulate
    reporter.status(
        f"Optimizer: {optimizer.name}, learning rate {optimizer.learning_rate:g} ({optimizer.schedule.name}), "
        f"{together} sample(s) per step, {schedule.epochs} epochs; weights kept: {schedule.keep}"
        + (f" by {schedule.monitor}" if schedule.keep == "best" else "")
    )
    if schedule.monitor == "validation/loss" and any("schedule" in term for term in facts.losses):
        reporter.warning(
            "training.monitor is the loss, which changes with its schedule: its values in different epochs cannot be "
            "compared, and neither the best weights nor stopping early mean much. Use validation/MAE, PSNR or SSIM."
        )


def _trainer(
    recipe: Recipe,
    placement: Placement,
    folder: RunFolder,
    callbacks: list[Any],
    history: History,
    opened: Callable[[], None],
) -> lightning.Trainer:
    schedule = recipe.training
    logger = NamelessLogger(folder.path / "logs", name="", version="")
    with _quiet():
        try:
            return lightning.Trainer(
                max_epochs=schedule.epochs,
                min_epochs=schedule.minimum_epochs,
                accelerator=placement.accelerator,
                devices=placement.devices,
                num_nodes=placement.nodes,
                strategy=placement.strategy(),
                plugins=[placement.environment()],
                precision=placement.precision(schedule.precision),
                deterministic=schedule.deterministic,
                benchmark=not schedule.deterministic,
                num_sanity_val_steps=0,
                callbacks=[
                    *callbacks,
                    ToTensorBoard(logger, recipe.output, schedule.image_every),
                    SaveLast(folder.checkpoint, history, opened),
                ],
                logger=logger,
                log_every_n_steps=1,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
        except (MisconfigurationException, ValueError, RuntimeError, KeyError) as error:
            raise UsageError(f"These devices cannot be used: {str(error).strip().splitlines()[0]}") from None


def _fit(trainer: lightning.Trainer, module: GeneratorModule, data: PairData, checkpoint: Path | None) -> None:
    deterministic = torch.are_deterministic_algorithms_enabled()
    with _quiet():
        try:
            trainer.fit(module, data, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=True)
        except torch.OutOfMemoryError:
            raise OutOfMemoryError(
                "The device's memory is too small for this training. Use a smaller training.batch_size (with "
                "optimizer.accumulate to make up for it), training.precision=bf16-mixed, or a smaller network."
            ) from None
        except RuntimeError as error:
            if checkpoint is not None and "loading state_dict" in str(error):
                raise BadInputError(
                    f"{checkpoint} is not of this recipe's generator, or of another version of it. Train again without "
                    "--resume, in another folder."
                ) from None
            if "DataLoader worker" in str(error):
                raise WorkerLostError(
                    "A process that loads training samples was ended by the system: too little memory, or a small "
                    "/dev/shm (Docker: --shm-size=2g). Use training.workers=0."
                ) from None
            if "deterministic" not in str(error):
                raise
            raise BadInputError(
                f"training.deterministic: {str(error).splitlines()[0]} Use training.deterministic=warn, or another "
                "generator."
            ) from None
        finally:
            torch.use_deterministic_algorithms(deterministic)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice on loader workers, tensor cores and the like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
        yield


def _kept(recipe: Recipe, module: GeneratorModule, best: KeepBest, reporter: Reporter) -> Generator:
    generator = module.best_generator
    if recipe.training.keep == "last":
        return generator
    if best.value is None or math.isnan(best.value):
        reporter.warning(f"{recipe.training.monitor} was never a number; the last weights are packaged.")
        return generator
    generator.load_state_dict({**generator.state_dict(), **best.weights})
    reporter.status(f"The weights of epoch {best.epoch + 1} are kept: {recipe.training.monitor} {best.value:.4g}")
    return generator
