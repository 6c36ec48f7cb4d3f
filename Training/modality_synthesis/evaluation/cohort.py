"""Score a model, and the baselines, on the subjects of a cohort."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from modality_synthesis.datasets.cache import Pair, preprocess_pairs
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.datasets.splits import split_cohort, subjects_of
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.baselines import Sample, fit_baselines
from modality_synthesis.evaluation.metrics import DEFINITIONS, bootstrap_interval, compare_arrays
from modality_synthesis.generators.base import Batch
from modality_synthesis.models import ModelPackage, find_model
from modality_synthesis.preprocessing import TargetMapping
from modality_synthesis.progress import Reporter, parts
from modality_synthesis.synthesis.allocator import keep_freed_memory
from modality_synthesis.synthesis.clinical import clinical_values
from modality_synthesis.synthesis.devices import choose_device
from modality_synthesis.synthesis.inference import run_generator
from modality_synthesis.synthesis.pipeline import load_generator
from modality_synthesis.volumes import atomic_output, write_json

MODEL = "model"


@dataclass(frozen=True)
class Evaluation:
    """Scores per predictor, metric and subject.

    Attributes:
        model: id of the model.
        split: which subjects.
        data_range: used by PSNR and SSIM, target units.
        subjects: in the order of the scores.
        scores: predictor -> metric -> one figure per subject.
    """

    model: str
    split: str
    data_range: float
    subjects: Sequence[str]
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Predictor -> metric -> mean over patients with its 95 % bootstrap interval."""
        result: dict[str, dict[str, dict[str, float]]] = {}
        for predictor, metrics in self.scores.items():
            result[predictor] = {}
            for metric, values in metrics.items():
                low, high = bootstrap_interval(np.array(values))
                result[predictor][metric] = {"mean": float(np.mean(values)), "low": low, "high": high}
        return result


def evaluate(
    cohort: str | Path,
    model: str | Path | ModelPackage,
    output: str | Path | None = None,
    *,
    split: str = "test",
    baselines: bool = True,
    data_range: float | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    jobs: int | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Evaluation:
    """Score a model on a cohort that has both its source and its target volumes.

    Volumes are compared on the model's grid inside the brain mask. The baselines are fitted on the cohort's
    training subjects.

    Args:
        cohort: table with the route's two modalities.
        model: id, folder or opened package.
        output: folder for `metrics.json` and `metrics.csv`; None writes nothing.
        split: train, validation, test or all.
        baselines: also score mean PET, voxelwise regression and mean PET x tissue.
        data_range: for PSNR and SSIM; default the width of the model's display window.
        cache: folder for preprocessed volumes; default `.cache` beside the table.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: worker processes for preprocessing.
        seed: of the random split, where the table has no `split` column, and of the generator's noise.
        reporter: receives progress.

    Raises:
        BadInputError: the cohort lacks volumes or subjects.
    """
    reporter = reporter or Reporter()
    package = model if isinstance(model, ModelPackage) else find_model(model)
    card = package.card
    table = read_cohort(cohort)
    table.require(card.route.source, card.route.target)
    division = split_cohort(table, seed=seed)
    wanted = table.of_subjects(subjects_of(division, split))
    if not wanted:
        raise BadInputError(f"{table.path.name}: no subject is in the split {split!r}.")
    folder = Path(cache) if cache else table.path.parent / ".cache"
    first, second, third = parts(reporter, (4, 1, 2))

    def preprocess(visits: list, progress: Reporter) -> list[Pair]:
        return preprocess_pairs(
            visits,
            card.route.source,
            card.route.target,
            card.preprocessing,
            folder,
            jobs=jobs,
            reporter=progress,
        )

    training = table.of_subjects(division.train) if baselines else []
    pairs = preprocess([*wanted, *training], first)
    tests, trains = pairs[: len(wanted)], pairs[len(wanted) :]
    mapping = card.preprocessing.target
    fitted = (
        fit_baselines(_load(pair, mapping) for pair in second.track(trains, "Fitting the baselines"))
        if trains
        else None
    )
    predict = _predictor(package, device, seed)
    low, high = card.output.display_window
    result = Evaluation(card.id, split, data_range or high - low, [visit.name for visit in wanted])
    for pair in third.track(tests, "Scoring"):
        sample = _load(pair, mapping)
        volumes = {MODEL: predict(sample, pair), **(fitted.predict(sample) if fitted else {})}
        for name, volume in volumes.items():
            figures = compare_arrays(volume, sample["target"], sample["brain"] > 0, result.data_range).as_dict()
            for metric, value in figures.items():
                result.scores.setdefault(name, {}).setdefault(metric, []).append(value)
    if output is not None:
        write_evaluation(result, Path(output))
    return result


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `metrics.json` (summary, definitions) and `metrics.csv` (one row per subject and predictor)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        {
            "model": evaluation.model,
            "split": evaluation.split,
            "subjects": len(evaluation.subjects),
            "data_range": evaluation.data_range,
            "region": "brain mask, on the model's grid",
            "definitions": dict(DEFINITIONS),
            "interval": "95 % percentile bootstrap over patients",
            "summary": evaluation.summary(),
        },
        folder / "metrics.json",
    )
    with (
        atomic_output(folder / "metrics.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["subject", "predictor", *DEFINITIONS])
        for predictor, metrics in evaluation.scores.items():
            for index, subject in enumerate(evaluation.subjects):
                writer.writerow([subject, predictor, *(f"{metrics[name][index]:.6g}" for name in DEFINITIONS)])


def _load(pair: Pair, mapping: TargetMapping) -> Sample:
    """A pair with its target in target units, 0 outside the region."""
    arrays = pair.load()
    restored = arrays["target"] * mapping.scale + mapping.offset
    return {**arrays, "target": np.where(arrays["region"] > 0, restored, 0.0).astype(np.float32)}


def _predictor(package: ModelPackage, device: str, seed: int) -> Callable[[Sample, Pair], np.ndarray]:
    keep_freed_memory()
    generator, where = load_generator(package), choose_device(device)
    card = package.card
    mapping = card.preprocessing.target

    def predict(sample: Sample, pair: Pair) -> np.ndarray:
        known = {variable.name: pair.visit.variables.get(variable.name) for variable in card.clinical_variables}
        values = clinical_values(card, known)
        batch = Batch(
            source=torch.from_numpy(sample["source"])[None, None],
            clinical=None if values is None else torch.tensor([values]),
            seed=seed,
        )
        output = run_generator(generator, batch, card.inference, where)[0, 0].numpy()
        restored = output * mapping.scale + mapping.offset
        if mapping.minimum is not None:
            restored = np.maximum(restored, mapping.minimum)
        return np.where(sample["region"] > 0, restored, 0.0).astype(np.float32)

    return predict
