"""Turn a trained generator into a model package with measured figures on its card."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.datasets.splits import Split
from modality_synthesis.evaluation.cohort import MODEL, Evaluation, evaluate
from modality_synthesis.evaluation.metrics import DEFINITIONS
from modality_synthesis.generators.base import Generator
from modality_synthesis.models import ModelPackage, write_package
from modality_synthesis.progress import Reporter
from modality_synthesis.training.recipe import Recipe

UNITS = {"MAE": "target units", "RMSE": "target units", "PSNR": "dB"}


def package_model(
    recipe: Recipe,
    generator: Generator,
    split: Split,
    cohort: Cohort,
    folder: Path,
    *,
    minutes: float,
    cache: str | Path | None,
    jobs: int | None,
    evaluate_test: bool,
    reporter: Reporter,
) -> ModelPackage:
    """Write the package; with test subjects at hand, score it and write it again with the figures on its card."""
    facts = _card(recipe, split, minutes)
    package = write_package(folder, facts, generator.package_state())
    if not (evaluate_test and split.test):
        return package
    result = evaluate(
        cohort.path, package, folder.parent.parent / "evaluation", cache=cache, jobs=jobs, seed=recipe.training.seed,
        reporter=reporter,
    )  # fmt: skip
    return write_package(folder, {**facts, "metrics": _metrics(result, recipe)}, generator.package_state())


def _card(recipe: Recipe, split: Split, minutes: float) -> dict[str, Any]:
    facts = recipe.package
    return {
        "id": facts.id,
        "version": facts.version,
        "name": facts.name,
        "badge": facts.badge,
        "route": recipe.route.model_dump(mode="json"),
        "generator": recipe.generator.model_dump(mode="json"),
        "inference": recipe.inference.model_dump(mode="json"),
        "preprocessing": recipe.preprocessing.model_dump(mode="json"),
        "output": recipe.output.model_dump(mode="json"),
        "clinical_variables": [variable.model_dump(mode="json") for variable in recipe.clinical_variables],
        "training": {
            "data": facts.data,
            "simulated": facts.simulated,
            "subjects": {name: len(subjects) for name, subjects in split.as_dict().items()},
            "access": facts.access,
            "seed": recipe.training.seed,
            "recipe": recipe.model_dump(mode="json", include={"name", "losses", "optimizer", "training"}),
            "package_version": __version__,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "duration_minutes": round(minutes, 1),
            "hardware": _hardware(),
        },
        "metrics": [],
        "licence": facts.licence,
        "intended_use": facts.intended_use,
        "limits": facts.limits,
        "citation": facts.citation,
    }


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _metrics(result: Evaluation, recipe: Recipe) -> list[dict[str, Any]]:
    summary = result.summary()
    others = [name for name in summary if name != MODEL]
    return [
        {
            "name": name,
            "value": round(summary[MODEL][name]["mean"], 4),
            "low": round(summary[MODEL][name]["low"], 4),
            "high": round(summary[MODEL][name]["high"], 4),
            "unit": UNITS.get(name, ""),
            "definition": definition + (f"; data range {result.data_range:g}" if name in ("PSNR", "SSIM") else ""),
            "region": "brain mask, on the model's grid",
            "dataset": f"{recipe.package.data} (test subjects)",
            "subjects": len(result.subjects),
            "compared_with": {other: round(summary[other][name]["mean"], 4) for other in others},
        }
        for name, definition in DEFINITIONS.items()
    ]
