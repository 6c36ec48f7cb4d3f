"""The card's statements about its data are true of the cohort that trained it, not of the recipe's author's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.datasets.simulated import COLUMN, is_simulated
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.models.card import TrainingCohort
from modality_synthesis.models.store import shipped_model
from modality_synthesis.progress import Reporter, current
from modality_synthesis.training.recipe import PackageFacts, Recipe

_CLAIM = re.compile(r"\bsimulat", re.IGNORECASE)


def cohort_facts(recipe: Recipe, cohort: Cohort, split: Split, left_out: Collection[str] = ()) -> TrainingCohort:
    """People, visits and simulated visits of a cohort, by split; `left_out` names the visits that are not used."""
    visits = {
        name: [visit for visit in cohort.of_subjects(subjects) if visit.name not in left_out]
        for name, subjects in split.as_dict().items()
    }
    modalities = (recipe.route.source, recipe.route.target)
    return TrainingCohort.model_validate(
        {
            "table": cohort.path.name,
            "people": {name: len({visit.subject for visit in found}) for name, found in visits.items()},
            "visits": {name: len(found) for name, found in visits.items()},
            "simulated_visits": sum(is_simulated(visit, modalities) for found in visits.values() for visit in found),
        }
    )


def truthful(recipe: Recipe, facts: TrainingCohort, reporter: Reporter | None = None) -> Recipe:
    """The recipe with what its card would say of the data corrected, before anything is trained.

    Whether the images were simulated is counted (`datasets.simulated`). Sentences cannot be corrected by a program:
    those of a recipe that was written for a simulated cohort, or that speak of one, are refused over another cohort.

    Raises:
        BadInputError: names the keys to change.
    """
    package, reporter = recipe.package, reporter or current()
    total, simulated = facts.visits.total, facts.simulated_visits
    if simulated == total:
        return recipe if package.simulated else _said_simulated(recipe, facts, reporter)
    claims = [key for key, text in _sentences(package) if _CLAIM.search(text)]
    if package.simulated and shipped_model(package.id) is not None:
        claims.insert(0, "package.id")
    if claims or package.simulated:
        speaks = package.simulated or _CLAIM.search(package.data)
        keys = [*claims, *(["package.data"] if speaks else []), "package.simulated"]
        raise BadInputError(
            f"{recipe.name}: the recipe's card would say that its images were simulated, but {_counted(facts)} of "
            f"{facts.table} are marked so. Change {', '.join(dict.fromkeys(keys))} to what is true of your cohort "
            f"(KEY=VALUE after the recipe, or a recipe that extends it); if it is simulated, say so in a column "
            f"'{COLUMN}' of the table."
        )
    changes: dict[str, Any] = {}
    if _CLAIM.search(package.data):
        changes = {"data": f"The cohort {facts.table}", "access": ""}
    if simulated:
        data = changes.get("data", package.data).rstrip(".")
        changes |= {"data": f"{data}; {simulated} of {total} visits were simulated"}
    return _corrected(recipe, changes, f"{_counted(facts)} of {facts.table} are marked as simulated", reporter)


def _said_simulated(recipe: Recipe, facts: TrainingCohort, reporter: Reporter) -> Recipe:
    route = recipe.route
    limit = f"Trained on simulated images only; it has never seen a real {route.source} or {route.target}."
    changes = {
        "simulated": True,
        "badge": "demonstration",
        "data": f"The simulated cohort {facts.table}",
        "access": "Made by `modality-synthesis simulate`, or a program like it.",
        "limits": [limit, *recipe.package.limits],
    }
    return _corrected(recipe, changes, f"all visits of {facts.table} are marked as simulated", reporter)


def _corrected(recipe: Recipe, changes: dict[str, Any], why: str, reporter: Reporter) -> Recipe:
    if not changes:
        return recipe
    keys = ", ".join(f"package.{key}" for key in changes)
    reporter.finding(
        Finding(
            "card-data", "look", f"{recipe.name}: {why}, so that the card says other things than the recipe ({keys}).",
            f"If that is wrong, add a column '{COLUMN}' (yes, no) to the table; otherwise write your own text there.",
        )
    )  # fmt: skip
    return recipe.model_copy(update={"package": recipe.package.model_copy(update=changes)})


def _sentences(package: PackageFacts) -> Iterator[tuple[str, str]]:
    """The card's free texts but `data`, by key."""
    for key in ("name", "intended_use", "access", "citation"):
        yield f"package.{key}", getattr(package, key)
    for key in ("limits", "findings"):
        for number, text in enumerate(getattr(package, key)):
            yield f"package.{key}.{number}", text


def _counted(facts: TrainingCohort) -> str:
    return f"{facts.simulated_visits or 'none'} of the {facts.visits.total} visits"
