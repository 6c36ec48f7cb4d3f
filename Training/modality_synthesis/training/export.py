"""Turn a trained generator into a model package with measured figures on its card."""

from __future__ import annotations

import math
import platform
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cache_folder import cache_folder
from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.baseline_files import fitted_baselines
from modality_synthesis.evaluation.baselines import Baselines
from modality_synthesis.evaluation.classes import Classes
from modality_synthesis.evaluation.cohort import evaluate
from modality_synthesis.evaluation.downstream import focus_regions
from modality_synthesis.evaluation.metrics import METRICS
from modality_synthesis.evaluation.statistics import Interval
from modality_synthesis.evaluation.study import Evaluation
from modality_synthesis.evaluation.verdict import verdicts
from modality_synthesis.generators.base import Generator
from modality_synthesis.models import ModelPackage, write_package
from modality_synthesis.models.card import Card
from modality_synthesis.progress import Reporter, parts
from modality_synthesis.training.folder import RunFacts
from modality_synthesis.training.recipe import Recipe, recorded
from modality_synthesis.training.truth import cohort_facts


def package_model(
    recipe: Recipe,
    generator: Generator,
    split: Split,
    cohort: Cohort,
    folder: Path,
    training: Sequence[Pair],
    *,
    minutes: float,
    facts: RunFacts,
    cache: str | Path | None,
    qc: Path,
    left_out: Collection[str],
    jobs: int | None,
    evaluate_test: bool,
    reporter: Reporter,
) -> ModelPackage:
    """Write the package; with test subjects at hand, score it and write it again with the figures on its card.

    The baselines that it must beat are fitted on the preprocessed pairs in `training` and kept in the package, so that
    a table of test subjects suffices to judge it later.
    """
    card = card_facts(
        recipe,
        split,
        minutes,
        facts,
        cohort=cohort,
        left_out=left_out,
        stochastic=generator.stochastic,
        training_parameters=generator.training_parameters,
    )
    fitting, scoring = parts(reporter, (1, 4))
    store = cache_folder(cohort.path, cache)
    fitted = Baselines.load(fitted_baselines(training, recipe.preprocessing.target, store, fitting))
    kept = (fitted.to_bytes(compact=True), len({pair.visit.subject for pair in training}))
    package = write_package(folder, card, generator.package_state(), baselines=kept)
    if not (evaluate_test and split.test):
        return package
    classes = _classes(recipe, cohort, scoring)
    result = evaluate(
        cohort.path, package, folder.parent.parent / "evaluation", division=split, cache=cache, jobs=jobs,
        seed=recipe.training.seed, classes=classes, qc=qc, reporter=scoring,
    )  # fmt: skip
    metrics = _metrics(result, recipe, package.card, classes)
    judged = {**card, "metrics": metrics, "verdict": verdicts(result)[0].text}
    return write_package(folder, judged, generator.package_state(), baselines=kept)


def _classes(recipe: Recipe, cohort: Cohort, reporter: Reporter) -> Classes | None:
    """Who is healthy, where that is needed and the cohort says it."""
    if recipe.classes is None or not recipe.clinical_variables:
        return None
    classes = Classes.parse(recipe.classes)
    try:
        classes.check(cohort.visits, cohort.path.name)
    except BadInputError as error:
        reporter.warning(f"The card does not say how the clinical variables act: {error}")
        return None
    return classes


def card_facts(
    recipe: Recipe,
    split: Split,
    minutes: float,
    run: RunFacts | None = None,
    *,
    cohort: Cohort | None = None,
    left_out: Collection[str] = (),
    stochastic: bool,
    training_parameters: Sequence[str] = (),
) -> dict[str, Any]:
    """The card's fields, without metrics and weights; `training_parameters` of the generator are left out.

    `left_out` names the cohort's visits that were not used: they do not count.
    """
    facts = recipe.package
    parameters = {name: value for name, value in recipe.generator.parameters.items() if name not in training_parameters}
    how = {key: value for key, value in recorded(recipe).items() if key in ("name", "losses", "optimizer", "training")}
    for term in how["losses"]:
        # A card is passed on: it names the file of a feature network, not where it lies on this machine.
        if isinstance(term["parameters"].get("weights"), str):
            term["parameters"]["weights"] = Path(term["parameters"]["weights"]).name
    return {
        "id": facts.id,
        "version": facts.version,
        "name": facts.name,
        "badge": facts.badge,
        "route": recipe.route.model_dump(mode="json"),
        "generator": {"name": recipe.generator.name, "parameters": parameters},
        "inference": {**recipe.inference.model_dump(mode="json"), "stochastic": stochastic},
        "preprocessing": recipe.preprocessing.model_dump(mode="json"),
        "output": recipe.output.model_dump(mode="json"),
        "clinical_variables": [variable.model_dump(mode="json") for variable in recipe.clinical_variables],
        "training": {
            "data": facts.data,
            "simulated": facts.simulated,
            "subjects": {name: len(subjects) for name, subjects in split.as_dict().items()},
            "cohort": None if cohort is None else cohort_facts(recipe, cohort, split, left_out).model_dump(mode="json"),
            "access": facts.access,
            "seed": recipe.training.seed,
            "meta_roi": list(recipe.samples.region_names()),
            "recipe": {**how, **({} if run is None else run.for_card())},
            "package_version": __version__,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "duration_minutes": round(minutes, 1),
            "hardware": "" if run is None else _hardware(run),
        },
        "metrics": [],
        "licence": facts.licence,
        "intended_use": facts.intended_use,
        "limits": facts.limits,
        "findings": facts.findings,
        "citation": facts.citation,
    }


def _hardware(run: RunFacts) -> str:
    return run.device if "CPU" not in run.device else f"{run.device} ({platform.machine()})"


def _metrics(result: Evaluation, recipe: Recipe, card: Card, classes: Classes | None) -> list[dict[str, Any]]:
    summary = result.summary()
    model = result.contenders[0]
    others = result.baselines
    figures = [
        {
            "name": name,
            "value": round(summary[model][name]["mean"], 4),
            "low": round(summary[model][name]["low"], 4),
            "high": round(summary[model][name]["high"], 4),
            "unit": metric.unit,
            "definition": metric.definition + (f"; data range {result.data_range:g}" if metric.uses_data_range else ""),
            "region": "brain mask, on the model's grid",
            "dataset": f"{recipe.package.data} (test subjects)",
            "subjects": len(result.subjects),
            "better": "nearer 1" if metric.better == "nearer" else metric.better,
            "compared_with": {
                other: round(summary[other][name]["mean"], 4)
                for other in others
                if math.isfinite(summary[other][name]["mean"])
            },
        }
        for name, metric in METRICS.items()
        if math.isfinite(summary[model][name]["mean"])
    ]
    effects = result.effects.get(model, ())
    if classes is None or not effects:
        return figures
    return [*figures, _contrast(effects[0].change, result, recipe, card, classes)]


def _contrast(change: Interval, result: Evaluation, recipe: Recipe, card: Card, classes: Classes) -> dict[str, Any]:
    """Whether the model follows its clinical variables, as a figure on its card."""
    return {
        "name": "Clinical contrast",
        "value": round(change.value, 4),
        "low": round(change.low, 4),
        "high": round(change.high, 4),
        "unit": result.units,
        "definition": (
            f"mean with the training set's average clinical variables of {classes.column}={classes.patients} less that "
            f"with those of {classes.column}={classes.healthy}; the same source volume, the same noise"
        ),
        "region": ", ".join(region.name for region in focus_regions(card)),
        "dataset": f"{recipe.package.data} (test subjects)",
        "subjects": len(result.subjects),
        "compared_with": {},
    }
