"""k-fold cross-validation in one table: each fold's mean, and mean and standard deviation over all patients."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.statistics import per_patient
from modality_synthesis.json_files import read_json_object
from modality_synthesis.tables import read_table
from modality_synthesis.volumes import atomic_output

_SCORES, _FACTS = "metrics.csv", "metrics.json"
_NAMES = ("subject", "patient", "predictor", "synthetic", "model")


@dataclass(frozen=True)
class FoldTable:
    """Figures of the folds of one model; every mean is over patients, whose visits were averaged first.

    Attributes:
        folds: their names.
        patients: in each fold.
        figures: metric -> the mean over the patients of each fold; NaN where it is not defined for any of them.
        average: metric -> mean of the folds' means (the average of Li 2022, Table 5).
        mean: metric -> mean over all patients of all folds.
        deviation: metric -> standard deviation over these patients (n - 1), not over folds.
        counted: metric -> patients for whom it is defined.
    """

    folds: Sequence[str]
    patients: Sequence[int]
    figures: dict[str, list[float]]
    average: dict[str, float]
    mean: dict[str, float]
    deviation: dict[str, float]
    counted: dict[str, int]

    def rows(self) -> list[list[str]]:
        """Header and one row per metric, as text: the layout of Li 2022, Table 5, for every metric."""
        header = ["metric", *self.folds, "average of folds", "mean over patients", "SD over patients", "patients"]
        return [header] + [
            [
                metric,
                *(_cell(value) for value in (*values, self.average[metric], self.mean[metric])),
                _cell(self.deviation[metric]),
                str(self.counted[metric]),
            ]
            for metric, values in self.figures.items()
        ]

    def markdown(self) -> str:
        """The table in Markdown."""
        header, *rows = self.rows()
        lines = [header, ["---"] * len(header), *([cell or "–" for cell in row] for row in rows)]
        return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)

    def summary(self) -> dict[str, dict[str, object]]:
        """Metric -> its figures, for JSON; None where one is not defined."""
        return {
            metric: {
                "folds": [_known(value) for value in values],
                "average": _known(self.average[metric]),
                "mean": _known(self.mean[metric]),
                "sd_over_patients": _known(self.deviation[metric]),
                "patients": self.counted[metric],
            }
            for metric, values in self.figures.items()
        }


def fold_table(
    folds: Sequence[str], patients: Sequence[str], scores: Mapping[str, Sequence[float]], *, names: Sequence[str]
) -> FoldTable:
    """The table of figures per visit.

    Args:
        folds: each visit's fold.
        patients: each visit's patient.
        scores: metric -> one figure per visit; NaN and infinity are not defined.
        names: of the folds, in the table's order.
    """
    fold_of = dict(zip(patients, folds, strict=True))
    order = list(fold_of)
    member = {name: np.array([fold_of[patient] == name for patient in order]) for name in names}
    figures, everyone = {}, {}
    for metric, values in scores.items():
        known = [float(value) if math.isfinite(value) else math.nan for value in values]
        everyone[metric] = per_patient(known, patients)[1]
        figures[metric] = [_mean(everyone[metric][inside]) for inside in member.values()]
    return FoldTable(
        folds=list(names),
        patients=[int(inside.sum()) for inside in member.values()],
        figures=figures,
        average={metric: _mean(np.array(values)) for metric, values in figures.items()},
        mean={metric: _mean(values) for metric, values in everyone.items()},
        deviation={metric: _deviation(values) for metric, values in everyone.items()},
        counted={metric: int(np.isfinite(values).sum()) for metric, values in everyone.items()},
    )


def read_fold_table(runs: Sequence[str | Path], *, predictor: str | None = None) -> FoldTable:
    """Put the test scores of k runs together.

    Args:
        runs: run folders of the folds (or their evaluation folders), each with a `metrics.csv`.
        predictor: whose scores; default the model that the runs trained.

    Raises:
        BadInputError: scores are missing, folds were scored by different metrics, a patient is in two of them, or the
            runs are of several models and none is named.
    """
    if len(runs) < 2:
        raise BadInputError("A table of folds needs at least two runs.")
    places = [_place(Path(run)) for run in runs]
    models = [predictor or _model(path) for path in places]
    if len(set(models)) > 1:
        raise BadInputError(
            f"The runs are of several models ({', '.join(dict.fromkeys(models))}): these are no folds of one."
        )
    tables = [_read(path, models[0]) for path in places]
    metrics = list(tables[0][1])
    seen: dict[str, Path] = {}
    folds, patients = [], []
    for number, (run, (owners, figures)) in enumerate(zip(runs, tables, strict=True), start=1):
        if list(figures) != metrics:
            raise BadInputError(f"{run}: scored by other metrics than {runs[0]}. Evaluate all folds alike.")
        for patient in dict.fromkeys(owners):
            if patient in seen:
                raise BadInputError(
                    f"{patient} is a test patient of both {seen[patient]} and {run}: these are no folds."
                )
            seen[patient] = Path(run)
        folds += [f"fold {number}"] * len(owners)
        patients += owners
    scores = {name: [value for _, figures in tables for value in figures[name]] for name in metrics}
    return fold_table(folds, patients, scores, names=list(dict.fromkeys(folds)))


def write_fold_table(table: FoldTable, path: str | Path) -> None:
    """Write the table as CSV, or as Markdown where the name ends in .md."""
    with atomic_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        if Path(path).suffix == ".md":
            stream.write(table.markdown())
        else:
            csv.writer(stream).writerows(table.rows())


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _deviation(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if known.size > 1 else math.nan


def _cell(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _place(run: Path) -> Path:
    places = (run / _SCORES, run / "evaluation" / _SCORES)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise BadInputError(f"{run} holds no test scores ({_SCORES}). Give a finished run, or an evaluation's folder.")
    return path


def _model(scores: Path) -> str:
    """The one model that was judged, as the evaluation's `metrics.json` names it."""
    path = scores.with_name(_FACTS)
    try:
        contenders = [str(name) for name in read_json_object(path)["contenders"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(f"{path} does not say which model was judged. Name it with --predictor.") from None
    if len(contenders) != 1:
        raise BadInputError(f"{path} judges {', '.join(contenders)}. Name one with --predictor.")
    return contenders[0]


def _read(path: Path, predictor: str) -> tuple[list[str], dict[str, list[float]]]:
    """Patients and metric -> figures, one per visit, of one run; an empty cell is a figure that is not defined."""
    try:
        every = read_table(path, "table of test scores").records
        rows = [row for row in every if row.get("predictor") == predictor]
        if not rows:
            there = ", ".join(dict.fromkeys(str(row.get("predictor")) for row in every))
            raise BadInputError(f"{path}: no scores of {predictor!r}; it has {there}.")
        figures = {name: [float(row[name] or "nan") for row in rows] for name in rows[0] if name not in _NAMES}
        return [row.get("patient") or row["subject"] for row in rows], figures
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"{path} is no table of test scores: {error}") from None
