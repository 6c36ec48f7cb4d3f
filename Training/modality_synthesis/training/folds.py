"""k-fold cross-validation over patients: every fold trained and tested, and one table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.datasets.splits import fold
from modality_synthesis.evaluation.folds import FoldTable, read_fold_table, write_fold_table
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.training.folder import RunFolder
from modality_synthesis.training.recipe import Recipe, read_recipe
from modality_synthesis.training.recipe import parse_fold as parse_fold
from modality_synthesis.training.run import train
from modality_synthesis.volumes import atomic_files

TABLE = "folds.csv"


@dataclass(frozen=True)
class FoldsResult:
    """A finished cross-validation.

    Attributes:
        folder: with `fold-1` to `fold-k`, `folds.csv` and `folds.md`.
        table: of the test scores; None in processes that only helped.
        left_out: visits that could not be used.
    """

    folder: Path
    table: FoldTable | None
    left_out: tuple[str, ...] = ()


def train_folds(
    recipe: str | Path | Recipe,
    output: str | Path,
    folds: int,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    cohort: str | Path | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> FoldsResult:
    """Train and test all folds of a cross-validation, one after the other, and put their test scores together.

    Every patient of the cohort is tested exactly once, by a model that has not seen him.

    Args:
        recipe: YAML file or validated recipe.
        output: folder that receives `fold-1` to `fold-k` (run folders), `folds.csv` and `folds.md`.
        folds: their number.
        overrides: `KEY=VALUE` changes to the recipe.
        resume: keep the folds that are finished, go on with the one that was interrupted, train the others.
        cohort: cohort table instead of the recipe's.
        reporter: receives progress.
        options: further arguments of `train`.

    Raises:
        BadInputError, UsageError: as `train`; fewer patients than folds.
    """
    settings = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    reporter, folder = reporter or current(), Path(output)
    table = read_cohort(cohort or settings.cohort)
    table.require_some()
    subjects = [visit.subject for visit in table]
    tested = [fold(subjects, number, folds, seed=settings.training.seed).test for number in range(1, folds + 1)]
    _require_each_once(subjects, tested)
    helps = False
    left_out: list[str] = []
    for number, progress in enumerate(parts(reporter, [1] * folds), start=1):
        run = RunFolder(folder / f"fold-{number}")
        trained = train(
            settings,
            run.path,
            resume=resume and run.checkpoint.exists(),
            cohort=cohort,
            part=(number, folds),
            keep_finished=True,
            reporter=progress,
            **options,
        )
        helps = trained.package is None
        left_out += [name for name in trained.left_out if name not in left_out]
    if helps:  # the first process of a distributed training puts the scores together
        return FoldsResult(folder, None, tuple(left_out))
    scores = read_fold_table([folder / f"fold-{number}" for number in range(1, folds + 1)])
    with atomic_files():
        for name in (TABLE, "folds.md"):
            write_fold_table(scores, folder / name)
    return FoldsResult(folder, scores, tuple(left_out))


def _require_each_once(subjects: Sequence[str], tested: Sequence[Sequence[str]]) -> None:
    together = sorted(subject for part in tested for subject in part)
    if together != sorted(set(subjects)):
        raise AssertionError("the folds do not test every patient exactly once")
