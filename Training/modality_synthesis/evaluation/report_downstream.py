"""The sections of a cohort report on the use of the synthetic volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modality_synthesis.evaluation.document import Section, Table, interval, number, p_value
from modality_synthesis.evaluation.downstream import CONTRAST, Downstream, Effect, surface_picture
from modality_synthesis.evaluation.report_figures import picture
from modality_synthesis.evaluation.study import Evaluation


def downstream_sections(evaluation: Evaluation) -> list[Section]:
    """Clinical variables, classification, gaps between groups and surface projections, as far as asked for."""
    sections = []
    if evaluation.effects:
        sections.append(_effects(evaluation))
    found = evaluation.downstream
    if found is not None:
        sections.append(_classification(found))
        if any(found.fairness.values()):
            sections.append(_fairness(found, evaluation.units))
        if found.maps:
            sections.append(_surface(found, evaluation.units))
    return sections


def _interval(found: Any) -> str:
    return "" if found is None else interval(found.value, found.low, found.high)


def _effects(evaluation: Evaluation) -> Section:
    def cells(name: str, row: Effect) -> list[str]:
        return [name, row.variable, _interval(row.change), _interval(row.absolute), _interval(row.unknown)]

    header = ["predictor", "variable", "change in the focus", "absolute, brain", "absolute when withheld, brain"]
    rows = [cells(name, row) for name, found in evaluation.effects.items() for row in found]
    return Section(
        "Effect of the clinical variables",
        [
            "The same MRI and the same noise, other clinical variables; means over patients with 95 % bootstrap "
            f"intervals, {evaluation.units}. “{CONTRAST}” exchanges the average values of the training set's "
            "healthy people for those of its patients. Each variable by itself: one standard deviation above the "
            "person's value less one below. The focus is the model's MetaROIs, or where its target shows disease.",
        ],
        [Table("Clinical variables", header, rows)],
    )


def _classification(found: Downstream) -> Section:
    healthy, ill = found.classes.healthy, found.classes.patients
    counts = f"{found.counts[ill]} visits with {ill}, {found.counts[healthy]} with {healthy}"
    tables = []
    for classifier, rows in found.classification.items():
        figures = list(next(iter(rows.values())).figures)
        cells = [[name, *(_interval(one.figures[figure]) for figure in figures)] for name, one in rows.items()]
        tables.append(Table(f"Classifier on {classifier}", ["input", *figures], cells))
    return Section(
        f"Telling {ill} from {healthy}",
        [
            f"The same classifier learns from each kind of input, cross-validated over patients ({counts}); figures of "
            "the predictions out of fold with 95 % bootstrap intervals over patients. Regional means: penalized "
            "logistic regression. Small volumes: a convolutional network on volumes of 6 mm. A synthetic volume can "
            "carry no more about the person than the inputs it was made from.",
            *found.notes,
        ],
        tables,
    )


def _fairness(found: Downstream, units: str) -> Section:
    def groups(rows: Sequence[Any]) -> str:
        return "; ".join(f"{one.group} ({one.people}): {number(one.mean)}" for one in rows)

    cells = [
        [name, row.variable, groups(row.rows), interval(row.gap, row.low, row.high),
         p_value(row.p_value)]
        for name, rows in found.fairness.items()
        for row in rows
    ]  # fmt: skip
    header = ["predictor", "variable", f"mean absolute error by group (people), {units}", "largest gap [95 %]", "p"]
    return Section(
        "Gaps between groups",
        ["p: share of random regroupings of the same people with at least this gap."],
        [Table("Mean absolute error", header, cells)],
    )


def _surface(found: Downstream, units: str) -> Section:
    shown = "z-scores against the training set's healthy people" if found.in_z_scores else f"uptake, {units}"
    rows = [[name, _interval(one["correlation"]), _interval(one["MAE"])] for name, one in found.surface.items()]
    return Section(
        "Surface projections",
        [
            "After 3D-SSP (Minoshima 1995): the largest uptake along the inward normal, down to 13.5 mm, at each "
            f"point of the template's surface; {shown}.",
        ],
        [Table("Agreement with the measured map", ["predictor", "correlation", "mean absolute difference"], rows)],
        [
            picture(
                "surface",
                f"Mean of the patients ({found.classes.patients}); {shown}.",
                f"Eight views of the brain's surface for {', '.join(found.maps)}.",
                surface_picture(found),
            )
        ],
    )
