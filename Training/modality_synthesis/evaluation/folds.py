"""k-fold cross-validation in one table: each fold's mean, and mean and standard deviation over all patients."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import atomic_output

_SCORES = "metrics.csv"
_NAMES = ("subject", "predictor")


@dataclass(frozen=True)
class FoldTable:
    """Figures of the folds of one model.

    Attributes:
        folds: their names.
        patients: in each fold.
        figures: metric -> one mean over patients per fold.
        mean: metric -> mean over all patients of all folds.
        deviation: metric -> standard deviation over these patients (n - 1).
    """

    folds: Sequence[str]
    patients: Sequence[int]
    figures: dict[str, list[float]]
    mean: dict[str, float]
    deviation: dict[str, float]

    def rows(self) -> list[list[str]]:
        """Header and one row per metric, as text: the layout of Li 2022, Table 5, for every metric."""
        header = ["metric", *self.folds, "mean ± SD over patients"]
        return [header] + [
            [metric, *(f"{value:.4g}" for value in values), f"{self.mean[metric]:.4g} ± {self.deviation[metric]:.3g}"]
            for metric, values in self.figures.items()
        ]

    def markdown(self) -> str:
        """The table in Markdown."""
        header, *rows = self.rows()
        lines = [header, ["---"] * len(header), *rows]
        return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def fold_table(runs: Sequence[str | Path], *, predictor: str = "model") -> FoldTable:
    """Put the test scores of k runs together.

    Args:
        runs: run folders of the folds (or their evaluation folders), each with a `metrics.csv`.
        predictor: whose scores.

    Raises:
        BadInputError: scores are missing, folds were scored by different metrics, or a patient is in two of them.
    """
    if len(runs) < 2:
        raise BadInputError("A table of folds needs at least two runs.")
    tables = [_read(Path(run), predictor) for run in runs]
    metrics = list(tables[0][1])
    seen: dict[str, Path] = {}
    for run, (subjects, figures) in zip(runs, tables, strict=True):
        if list(figures) != metrics:
            raise BadInputError(f"{run}: scored by other metrics than {runs[0]}. Evaluate all folds alike.")
        for subject in subjects:
            if subject in seen:
                raise BadInputError(
                    f"{subject} is a test patient of both {seen[subject]} and {run}: these are no folds."
                )
            seen[subject] = Path(run)
    everyone = {name: np.concatenate([figures[name] for _, figures in tables]) for name in metrics}
    return FoldTable(
        folds=[f"fold {number}" for number in range(1, len(runs) + 1)],
        patients=[len(subjects) for subjects, _ in tables],
        figures={name: [float(figures[name].mean()) for _, figures in tables] for name in metrics},
        mean={name: float(values.mean()) for name, values in everyone.items()},
        deviation={name: float(values.std(ddof=1)) for name, values in everyone.items()},
    )


def write_fold_table(table: FoldTable, path: str | Path) -> None:
    """Write the table as CSV, or as Markdown where the name ends in .md."""
    with atomic_output(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        if Path(path).suffix == ".md":
            stream.write(table.markdown())
        else:
            csv.writer(stream).writerows(table.rows())


def _read(run: Path, predictor: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Subjects and metric -> figures of one run."""
    places = (run / _SCORES, run / "evaluation" / _SCORES)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise BadInputError(f"{run} holds no test scores ({_SCORES}). Give a finished run, or an evaluation's folder.")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("predictor") == predictor]
        if not rows:
            raise BadInputError(f"{path}: no scores of {predictor!r}.")
        figures = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name not in _NAMES}
        return [row["subject"] for row in rows], figures
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"{path} is no table of test scores: {error}") from None
