"""k-fold cross-validation over patients: every fold trained and tested, and one table of all."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.datasets.splits import fold
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.progress import Reporter, parts
from modality_synthesis.training.folder import RunFolder
from modality_synthesis.training.recipe import Recipe, read_recipe
from modality_synthesis.training.run import train
from modality_synthesis.volumes import atomic_output

TABLE = "folds.csv"


@dataclass(frozen=True)
class FoldsResult:
    """A finished cross-validation.

    Attributes:
        folder: with `fold-1` to `fold-k`, `folds.csv` and `folds.md`.
        scores: metric -> mean over the test patients of each fold, in their order; empty in processes that only
            helped.
    """

    folder: Path
    scores: dict[str, list[float]]

    def summary(self) -> dict[str, tuple[float, float]]:
        """Metric -> mean and standard deviation (n - 1) over the folds."""
        return {name: (float(np.mean(values)), float(np.std(values, ddof=1))) for name, values in self.scores.items()}

    def rows(self) -> list[list[str]]:
        """The table as text: a header, then one row per metric."""
        count = len(next(iter(self.scores.values()), []))
        summary = self.summary()
        header = ["metric", *(f"fold {number}" for number in range(1, count + 1)), "mean", "SD"]
        return [header] + [
            [name, *(f"{value:.4g}" for value in [*values, *summary[name]])] for name, values in self.scores.items()
        ]


def parse_fold(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5).

    Raises:
        UsageError: written otherwise.
    """
    number, sign, folds = text.partition("/")
    if not sign or not number.strip().isdigit() or not folds.strip().isdigit():
        raise UsageError(f"A fold is written NUMBER/FOLDS, 1/5 for example; {text!r} is not.")
    return int(number), int(folds)


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
    reporter, folder = reporter or Reporter(), Path(output)
    subjects = [visit.subject for visit in read_cohort(cohort or settings.cohort)]
    tested = [fold(subjects, number, folds, seed=settings.training.seed).test for number in range(1, folds + 1)]
    _require_each_once(subjects, tested)
    helps = False
    for number, progress in enumerate(parts(reporter, [1] * folds), start=1):
        run = RunFolder(folder / f"fold-{number}")
        if resume and run.is_finished:
            continue
        trained = train(
            settings,
            run.path,
            resume=resume and run.checkpoint.exists(),
            cohort=cohort,
            part=(number, folds),
            reporter=progress,
            **options,
        )
        helps = trained.package is None
    if helps:  # the first process of a distributed training puts the scores together
        return FoldsResult(folder, {})
    result = FoldsResult(folder, _scores([folder / f"fold-{number}" for number in range(1, folds + 1)]))
    _write(result)
    return result


def _require_each_once(subjects: Sequence[str], tested: Sequence[Sequence[str]]) -> None:
    together = sorted(subject for part in tested for subject in part)
    if together != sorted(set(subjects)):
        raise AssertionError("the folds do not test every patient exactly once")


def _scores(runs: Sequence[Path]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for run in runs:
        path = run / "evaluation" / "metrics.json"
        if not path.is_file():
            raise BadInputError(f"{run} holds no test scores ({path.name}); train it again.")
        model = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["package"]["id"]
        for name, figures in json.loads(path.read_text(encoding="utf-8"))["summary"][model].items():
            scores.setdefault(name, []).append(figures["mean"])
    return scores


def _write(result: FoldsResult) -> None:
    header, *rows = result.rows()
    with atomic_output(result.folder / TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    lines = [header, ["---"] * len(header), *rows]
    with atomic_output(result.folder / "folds.md") as temporary:
        temporary.write_text("".join("| " + " | ".join(cells) + " |\n" for cells in lines), encoding="utf-8")
