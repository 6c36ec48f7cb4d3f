"""What synthetic volumes are worth to those who use them: diagnosis, fairness, clinical variables, surface maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cache import Pair, arrays_in
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.evaluation.classes import Classes
from modality_synthesis.evaluation.classification import Classification, Classifier, classify
from modality_synthesis.evaluation.downstream_visit import Profile, VisitQuestions, save_normals
from modality_synthesis.evaluation.fairness import Fairness, age_group, fairness
from modality_synthesis.evaluation.figures.style import UPTAKE, Z_SCORE, save_figure
from modality_synthesis.evaluation.scoring import MEASURED, Contender, Record, Settings, grid_image, load_sample
from modality_synthesis.evaluation.statistics import Interval, bootstrap_interval, patient_groups, per_patient
from modality_synthesis.evaluation.surface import (
    FEWEST_NORMALS,
    VIEWS,
    Normals,
    project_template,
    surface_figure,
    template_surface,
)
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.models.card import Card, ClinicalVariable
from modality_synthesis.models.clinical import encode_variables
from modality_synthesis.names import PRIMARY_REGIONS
from modality_synthesis.preprocessing.atlas import Region, find_regions, regions
from modality_synthesis.tables import as_number
from modality_synthesis.volumes import Mark, write_json, write_rows
from modality_synthesis.volumes.coverage import LOOK_BELOW

MOST_FOLDS = 5
# Tests that a diagnosis of Alzheimer's disease is made with (McKhann 2011; ADNI's criteria): beginnings of their names.
DIAGNOSTIC = ("mmse", "adas", "cdr", "moca", "ravlt", "faq", "logicalmemory", "lmdel", "diagnosis", "dx", "npi")


# Before scoring


def visit_questions(
    classes: Classes,
    contenders: Sequence[Contender],
    training: Sequence[Pair],
    settings: Settings,
    folder: Path,
    *,
    thorough: bool,
) -> VisitQuestions:
    """What to measure on every visit.

    Args:
        classes: who is healthy.
        contenders: models; those with clinical variables get a profile.
        training: preprocessed training pairs, who say what healthy people and patients have in common.
        settings: of the evaluation.
        folder: for the normal projections.
        thorough: sensitivity, small volumes and surface projections too.
    """
    return VisitQuestions(
        profiles={
            one.name: profile
            for one in contenders
            if (profile := _profile(one.package.card, classes, [pair.visit for pair in training])) is not None
        },
        sensitivity=thorough,
        volumes=thorough,
        normals=_normals(classes, training, settings, folder) if thorough and settings.in_template_space else None,
    )


def focus_regions(card: Card) -> tuple[Region, ...]:
    """The MetaROIs that a model was trained with, or those in which its target shows disease."""
    names = card.training.meta_roi or PRIMARY_REGIONS.get(card.route.target, ())[:1]
    return find_regions(names) if names else tuple(one for one in regions() if one.kind == "region")


def _profile(card: Card, classes: Classes, training: Sequence[Visit]) -> Profile | None:
    declared = card.clinical_variables
    if not declared:
        return None
    means = []
    for wanted in (0, 1):
        rows = [
            encode_variables(declared, {one.name: visit.variable(one.name) for one in declared}, "The profile")
            for visit in training
            if classes.label(visit) == wanted
        ]
        if not rows:
            return None
        with np.errstate(invalid="ignore"):
            mean = [np.nanmean(values) if np.isfinite(values).any() else np.nan for values in np.array(rows).T]
        # Sex and other choices stay the person's own: half a man is nobody's profile.
        means.append(
            tuple(float(m) if one.kind == "number" else float("nan") for m, one in zip(mean, declared, strict=True))
        )
    return Profile(tuple(one.name for one in declared), means[0], means[1], focus_regions(card))


def _was_measured(pair: Pair) -> bool:
    """Whether a normal control's brain lies in the target's field of view, to `LOOK_BELOW` percent at least."""
    arrays = pair.load()
    brain = arrays["brain"] > 0
    return 100 * float((arrays["region"][brain] > 0).mean()) >= LOOK_BELOW


def _normals(classes: Classes, training: Sequence[Pair], settings: Settings, folder: Path) -> Path | None:
    healthy = [pair for pair in training if classes.label(pair.visit) == 0 and _was_measured(pair)]
    if len({pair.visit.subject for pair in healthy}) < FEWEST_NORMALS:
        return None
    mapping = settings.chain.target
    # A pair's name holds the hashes of its volumes.
    made_of = fingerprint(mapping=mapping.model_dump(mode="json"), pairs=sorted(pair.path.name for pair in healthy))
    path = folder / f"normals-{made_of[:16]}.safetensors"
    if not arrays_in(path):
        projections = []
        for pair in healthy:
            target = load_sample(pair, mapping)["target"]
            image = sitk.GetImageFromArray(target)
            image.CopyInformation(grid_image(pair, target.shape))
            projections.append(project_template(image))
        save_normals(Normals.of(projections), path)
    return path


# After scoring


@dataclass(frozen=True)
class Effect:
    """What one clinical variable does to a model's output; means over patients with 95 % bootstrap intervals.

    Attributes:
        variable: its name, or `patients - healthy` for the two profiles of the training set.
        change: of the focus, higher value less lower (one training SD to either side).
        absolute: mean absolute change in the brain.
        unknown: mean absolute change in the brain when the value is withheld.
    """

    variable: str
    change: Interval
    absolute: Interval | None = None
    unknown: Interval | None = None


CONTRAST = "patients - healthy"


@dataclass(frozen=True)
class Downstream:
    """The downstream evaluation of a cohort.

    Attributes:
        classes: who is healthy and who is ill.
        counts: visits with each label.
        classification: classifier -> input -> figures.
        fairness: contender -> per variable, the gap of the MAE between groups.
        surface: contender -> agreement of its surface maps with the measured ones, `correlation` and `MAE`.
        maps: label -> mean surface map of the patients; empty without template space.
        in_z_scores: the maps are z-scores, not uptake.
        notes: what was left out, and why.
    """

    classes: Classes
    counts: Mapping[str, int]
    classification: Mapping[str, Mapping[str, Classification]] = field(default_factory=dict)
    fairness: Mapping[str, Sequence[Fairness]] = field(default_factory=dict)
    surface: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    in_z_scores: bool = False
    notes: Sequence[str] = ()


_FIGURES = ("change", "absolute", "unknown")


def _of_variable(variable: str, figure: str, effects: Mapping[str, Any]) -> float:
    return float(next(row[figure] for row in effects["sensitivity"] if row["variable"] == variable))


def clinical_effects(records: Sequence[Record], patients: Sequence[str]) -> dict[str, list[Effect]]:
    """Contender -> effects over the patients: the profiles' contrast first, then the most influential variables."""

    def over(name: str, values: Callable[[dict[str, Any]], float]) -> Interval:
        return bootstrap_interval(per_patient([values(record.effects[name]) for record in records], patients)[1])

    found: dict[str, list[Effect]] = {}
    for name in records[0].effects:
        contrast = Effect(CONTRAST, over(name, lambda one: one["contrast"]))
        each = [
            Effect(variable, *(over(name, partial(_of_variable, variable, key)) for key in _FIGURES))
            for variable in (row["variable"] for row in records[0].effects[name].get("sensitivity", []))
        ]
        found[name] = [contrast, *sorted(each, key=lambda one: -(one.absolute.value if one.absolute else 0.0))]
    return found


def downstream(
    classes: Classes,
    visits: Sequence[Visit],
    records: Sequence[Record],
    contenders: Sequence[str],
    arrays: Callable[[Visit], Mapping[str, np.ndarray]],
    *,
    source: str,
    target: str,
    clinical: Sequence[ClinicalVariable],
    groups: Mapping[str, Sequence[str | None]],
    in_z_scores: bool,
    seed: int,
) -> Downstream:
    """Everything that the visits' records say about the use of the synthetic volumes.

    Args:
        classes: who is healthy.
        visits: as scored.
        records: of the visits.
        contenders: what is judged.
        arrays: the arrays kept for a visit.
        source: modality.
        target: modality.
        clinical: variables to classify by, beside the images.
        groups: variable -> each visit's group, for the fairness table.
        in_z_scores: the visits' surface maps are z-scores.
        seed: of folds and bootstraps.
    """
    patients = [visit.subject for visit in visits]
    labels = [classes.label(visit) for visit in visits]
    counts = {classes.healthy: labels.count(0), classes.patients: labels.count(1)}
    notes: list[str] = []
    kept = [arrays(visit) for visit in visits]
    classification = _classification(
        visits, labels, records, contenders, kept, {"source": f"measured {source}", MEASURED: f"measured {target}"},
        clinical, classes, seed, notes,
    )  # fmt: skip
    maps, agreement = _surfaces(labels, patients, contenders, kept, target, notes)
    return Downstream(
        classes,
        counts,
        classification,
        _fairness(visits, records, contenders, groups, seed),
        agreement,
        maps,
        in_z_scores,
        notes,
    )


def defines_groups(variable: str, column: str) -> bool:
    """Whether a variable is among those that a diagnosis is made from, or is the very column of the groups."""
    plain = re.sub(r"[^a-z0-9]", "", variable.lower())
    return variable.lower() == column.lower() or plain.startswith(DIAGNOSTIC)


def clinical_label(circular: Sequence[str]) -> str:
    """What the classification calls the clinical variables; it says when they define the groups."""
    return f"clinical variables (define the groups: {', '.join(circular)})" if circular else "clinical variables"


def _classification(
    visits: Sequence[Visit], labels: Sequence[int | None], records: Sequence[Record], contenders: Sequence[str],
    arrays: Sequence[Mapping[str, np.ndarray]], measured: Mapping[str, str], clinical: Sequence[ClinicalVariable],
    classes: Classes, seed: int, notes: list[str],
) -> dict[str, dict[str, Classification]]:  # fmt: skip
    chosen = [index for index, label in enumerate(labels) if label is not None]
    people = [len({visits[i].subject for i in chosen if labels[i] == value}) for value in (0, 1)]
    folds = min(MOST_FOLDS, *people)
    if folds < 2:
        notes.append(
            f"No classification: it needs at least two people of each class among the evaluated ones; there are "
            f"{people[0]} and {people[1]}."
        )
        return {}
    if folds < MOST_FOLDS:
        notes.append(f"The classifiers were cross-validated with {folds} folds: there are too few people for more.")
    truth = [int(labels[i] or 0) for i in chosen]
    owner = [visits[i].subject for i in chosen]
    names = {**measured, **{name: f"synthetic, {name}" for name in contenders}}
    found: dict[str, dict[str, Classification]] = {}
    inputs: dict[str, np.ndarray] = {}
    if records[0].regions:
        single = [index for index, region in enumerate(regions()) if len(region.labels) == 1]
        for name, shown in names.items():
            rows = [records[i].source_regions if name == "source" else records[i].regions[name] for i in chosen]
            inputs[shown] = np.array(rows, dtype=float)[:, single]
    if clinical:
        known = [{one.name: visits[i].variable(one.name) for one in clinical} for i in chosen]
        encoded = np.array([encode_variables(clinical, one, "The classifier") for one in known])
        names_of = [one.name for one in clinical]
        circular = [name for name in names_of if defines_groups(name, classes.column)]
        inputs[clinical_label(circular)] = encoded
        others = [index for index, name in enumerate(names_of) if name not in circular]
        if circular:
            notes.append(
                f"The groups are defined by {', '.join(circular)} (among others): an AUC with them is circular, no "
                "benchmark for an image."
            )
            if others:
                inputs["other clinical variables"] = encoded[:, others]
    if inputs:
        found["regional means"] = classify(inputs, truth, owner, folds=folds, seed=seed)

    def small() -> Classifier:
        from modality_synthesis.evaluation.volume_classifier import VolumeClassifier

        return VolumeClassifier(seed=seed)

    volumes = {
        shown: np.stack([arrays[i][f"{name}/volume"] for i in chosen]).astype(np.float32)
        for name, shown in names.items()
    }
    found["small volumes"] = classify(volumes, truth, owner, classifier=small, folds=folds, seed=seed)
    return found


def _surfaces(
    labels: Sequence[int | None], patients: Sequence[str], contenders: Sequence[str],
    arrays: Sequence[Mapping[str, np.ndarray]], target: str, notes: list[str],
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, Interval]]]:  # fmt: skip
    if f"{MEASURED}/surface/{next(iter(VIEWS))}" not in arrays[0]:
        notes.append("No surface projections: the model's grid is not in template space.")
        return {}, {}

    def view(one: Mapping[str, np.ndarray], name: str, shown: str) -> np.ndarray:
        return one[f"{name}/surface/{shown}"].astype(np.float32)

    agreement: dict[str, dict[str, Interval]] = {}
    for name in contenders:
        rows = []
        for one in arrays:
            made, real = (
                np.concatenate([view(one, which, key).ravel() for key in VIEWS]) for which in (name, MEASURED)
            )
            known = np.isfinite(made) & np.isfinite(real)
            rows.append((float(np.corrcoef(made[known], real[known])[0, 1]), float(np.abs(made - real)[known].mean())))
        agreement[name] = {
            figure: bootstrap_interval(per_patient([row[column] for row in rows], patients)[1])
            for column, figure in enumerate(("correlation", "MAE"))
        }
    ill = [one for one, label in zip(arrays, labels, strict=True) if label == 1]
    if not ill:
        notes.append("No surface maps: nobody with the patients' label was evaluated.")
        return {}, agreement
    shown = {MEASURED: f"measured {target}", **{name: name for name in contenders}}
    maps = {
        label: {key: _mean_map([view(one, name, key) for one in ill]) for key in VIEWS} for name, label in shown.items()
    }
    return maps, agreement


def _mean_map(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over those in whom a point was measured; NaN where nobody was."""
    stacked = np.stack(maps)
    known = np.isfinite(stacked)
    sums = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), sums / np.maximum(known.sum(axis=0), 1), np.nan)


def _fairness(
    visits: Sequence[Visit], records: Sequence[Record], contenders: Sequence[str],
    groups: Mapping[str, Sequence[str | None]], seed: int,
) -> dict[str, list[Fairness]]:  # fmt: skip
    patients = [visit.subject for visit in visits]
    # Age by its own groups, and last.
    of_visits = {variable: values for variable, values in groups.items() if variable != "age"}
    members = patient_groups({**of_visits, "age": [age_group(_age(visit)) for visit in visits]}, patients)
    found: dict[str, list[Fairness]] = {}
    for contender in contenders:
        values = per_patient([record.scores[contender]["MAE"] for record in records], patients)[1]
        found[contender] = []
        for variable, who in members.items():
            try:
                found[contender].append(fairness(variable, who, values.tolist(), seed=seed))
            except ValueError:
                continue  # too few people in all but one group: nothing to compare
    return found


def _age(visit: Visit) -> float | None:
    return as_number(visit.variable("age"))


# Files


def write_downstream(found: Downstream, folder: Path, marks: Iterable[Mark]) -> None:
    """Write `downstream.json`, `classification.csv`, `fairness.csv` and `surface.png`, which has the volumes' marks."""
    write_json(
        {
            "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
            "classes": asdict(found.classes),
            "visits": dict(found.counts),
            "classification": {
                classifier: {
                    name: {key: asdict(value) for key, value in one.figures.items()} for name, one in rows.items()
                }
                for classifier, rows in found.classification.items()
            },
            "fairness": {name: [asdict(row) for row in rows] for name, rows in found.fairness.items()},
            "surface": {name: {key: asdict(one) for key, one in rows.items()} for name, rows in found.surface.items()},
            "surface_values": "z-scores" if found.in_z_scores else "target units",
            "notes": list(found.notes),
        },
        folder / "downstream.json",
    )
    write_rows(
        folder / "classification.csv",
        [
            {"classifier": classifier, "input": name, "figure": figure, **asdict(value)}
            for classifier, rows in found.classification.items()
            for name, one in rows.items()
            for figure, value in one.figures.items()
        ],
    )
    write_rows(
        folder / "fairness.csv",
        [
            {"predictor": name, "variable": row.variable, "group": one.group, "people": one.people, "MAE": one.mean,
             "low": one.low, "high": one.high, "gap": row.gap, "gap_low": row.low, "gap_high": row.high,
             "p_value": row.p_value}
            for name, rows in found.fairness.items()
            for row in rows
            for one in row.rows
        ],
    )  # fmt: skip
    if found.maps:
        save_figure(surface_picture(found), folder / "surface.png", marks)


def surface_picture(found: Downstream) -> Any:
    """The mean surface maps of the patients, as a matplotlib figure."""
    values = np.concatenate([one.ravel() for maps in found.maps.values() for one in maps.values()])
    top = float(np.nanpercentile(values, 99.5))
    window, units = ((0.0, max(top, 2.0)), "SD below normal") if found.in_z_scores else ((0.0, top), "uptake")
    ill = found.classes.patients
    title = f"Mean surface projection of the {found.counts[ill]} visits with {ill}"
    return surface_figure(
        found.maps, template_surface()[1], window=window, title=title, units=units,
        colormap=Z_SCORE if found.in_z_scores else UPTAKE,
    )  # fmt: skip
