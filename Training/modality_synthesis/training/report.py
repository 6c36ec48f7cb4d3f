"""The training report: verdict, curves, examples and facts on one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.document import Document, Section, Table
from modality_synthesis.evaluation.figures.labels import legend_below, wrapped
from modality_synthesis.evaluation.figures.style import COLORS, INK, PAGE_WIDTH, plain
from modality_synthesis.evaluation.metrics import METRICS, SLICE_METRICS
from modality_synthesis.evaluation.report import document_files, metrics_tables, write_document
from modality_synthesis.evaluation.report_figures import Picture, canvas, picture
from modality_synthesis.json_files import read_json_object
from modality_synthesis.training.callbacks import LOG, read_rows
from modality_synthesis.training.folder import RunFacts, RunFolder
from modality_synthesis.training.panels import draw_example
from modality_synthesis.training.recipe import Recipe, recorded
from modality_synthesis.volumes import check_outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]

_PLANE_COLORS = {"axial": "#dbe9f4", "coronal": "#f7e1dc", "sagittal": "#e2f0e4"}


def write_report(folder: str | Path) -> Path:
    """Write `report.html` (and `report.pdf`, `figures/`) into a run folder, from what the run left there.

    Returns:
        The page.

    Raises:
        BadInputError: the folder holds no finished run.
    """
    run = RunFolder(Path(folder))
    if not run.path.is_dir():
        raise BadInputError(f"{run.path} is no folder. Give the folder of a training run.")
    recipe, facts = run.recipe(), run.facts()
    if not facts.epochs or not (run.path / LOG).is_file():
        raise BadInputError(f"{run.path}: the training is not finished. Go on with it: train ... --resume")
    document = _document(run, recipe, facts)
    check_outputs(document_files(document, run.path), inputs=run.inputs())
    return write_document(document, run.path)[0]


def _document(run: RunFolder, recipe: Recipe, facts: RunFacts) -> Document:
    rows = read_rows(run.path / LOG)
    sizes = {name: len(subjects) for name, subjects in run.split().as_dict().items()}
    scored = _scored(run.path / "evaluation" / "metrics.json")
    package = recipe.package
    run_facts = [[what, which] for what, which in _summary(recipe, facts, sizes).items()]
    sections = [
        Section("Test patients", _scores_note(scored), _scores(scored)),
        Section("Summary", tables=[Table("The run", ["what", "which"], run_facts)]),
        Section("Losses", facts.loss_lines(), pictures=[_loss_curves(rows, facts)]),
        Section("Validation", pictures=[_validation_curves(rows, recipe, facts)]),
        Section("Learning rate", pictures=[_rate_curve(rows)]),
        Section("Validation subjects", pictures=_examples(run, recipe)),
        Section("Recipe", literal=json.dumps(recorded(recipe), indent=2, ensure_ascii=False)),
    ]  # fmt: skip
    lead = (
        f"{package.name}: {recipe.route.source} to {recipe.route.target}, {recipe.generator.name}; model {package.id} "
        f"{package.version}."
    )
    simulated = " It learned from simulated images only." if package.simulated else ""
    warnings = [
        f"This is a {package.badge} model.{simulated} The pictures below show people of the cohort: share this page as "
        "you may share their images."
    ]
    kept = [section for section in sections if section.tables or section.pictures or section.literal]
    verdict = [one["text"] for one in scored.get("verdict", ())] if scored else [_NOT_JUDGED]
    return Document(f"Training report: {recipe.name}", lead, warnings, kept, verdict)


_NOT_JUDGED = "Not judged: no patient was kept for testing, so nothing says whether the model beats a simple predictor."


def _summary(recipe: Recipe, facts: RunFacts, sizes: Mapping[str, int]) -> dict[str, str]:
    schedule, optimizer = recipe.training, recipe.optimizer
    together = schedule.batch_size * facts.processes * optimizer.accumulate
    end = " (stopped early: no progress)" if facts.stopped_early else ""
    best = "" if facts.best_value is None else f"; best {schedule.monitor} {facts.best_value:.4g}"
    chosen = f"best, of epoch {facts.best_epoch}" if schedule.keep == "best" and facts.best_epoch else "last"
    fold = "" if facts.fold is None else f"; fold {facts.fold}"
    patients = ", ".join(f"{count} {name}" for name, count in sizes.items())
    rate = f"learning rate {optimizer.learning_rate:g}, {optimizer.schedule.name}"
    return {
        "Patients": f"{patients}{fold}",
        "Parameters": f"{facts.parameters:,}",
        "Epochs": f"{facts.epochs} of {schedule.epochs}{end}",
        "Weights": f"{chosen}{best}"
        + ("" if schedule.average_decay is None else f"; averaged with decay {schedule.average_decay:g}"),
        "Optimizer": f"{optimizer.name}, {rate}, {together} sample(s) per step",
        "Time": _duration(facts.minutes),
        "Device": f"{facts.device}, {facts.precision}",
        "Seed": str(schedule.seed),
        "Data": recipe.package.data,
        "Software": f"ModalitySynthesis {facts.package_version}",
    }


def _loss_curves(rows: Rows, facts: RunFacts) -> Picture:
    """One panel per phase, the total in black, each weighted term in its color; planes of a schedule behind."""
    names = [name for name in _names(rows) if name.startswith("train/")]
    phases = list(dict.fromkeys(name.split("/")[1] for name in names))
    weights = {term["name"]: term["weight"] for term in facts.losses}
    figure = canvas(PAGE_WIDTH, 2.4 * len(phases) + 0.6)
    drawn: dict[str, Any] = {}
    for number, phase in enumerate(phases):
        axes = figure.add_subplot(len(phases), 1, number + 1)
        plain(axes)
        terms = [name for name in names if name.startswith(f"train/{phase}/") and not name.endswith("/loss")]
        drawn |= _planes(axes, facts)
        drawn["sum"] = _curve(axes, rows, f"train/{phase}/loss", INK)
        for place, name in enumerate(terms):
            term = name.split("/", 2)[2]
            label = f"{term} x {weights[term]:g}" if phase == "generator" and term in weights else term
            drawn[label] = _curve(axes, rows, name, COLORS[place % len(COLORS)])
        values = [row[name] for row in rows for name in (*terms, f"train/{phase}/loss") if name in row]
        if min(values, default=0) > 0 and max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.set_title(wrapped(phase, 6, 9), loc="left", fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
    legend_below(figure, drawn)
    totals = [name for name in _names(rows) if name.startswith("train/") and name.endswith("/loss")]
    courses = "; ".join(f"{name.split('/')[1]} from {rows[0][name]:.4g} to {rows[-1][name]:.4g}" for name in totals)
    return picture(
        "losses",
        "Training losses by epoch, each term times its weight. A shaded background shows the plane of a perceptual "
        "loss that looks at one plane at a time.",
        f"Training losses by epoch: {courses}.",
        figure,
    )


def _validation_curves(rows: Rows, recipe: Recipe, facts: RunFacts) -> Picture:
    names = [name for name in _names(rows) if name.startswith("validation/")]
    columns = 3
    lines = -(-len(names) // columns)
    figure = canvas(PAGE_WIDTH, max(2.0 * lines, 1.0))
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        plain(axes)
        _planes(axes, facts)
        _curve(axes, rows, name, COLORS[0])
        if facts.best_epoch is not None:
            axes.axvline(facts.best_epoch, color=COLORS[1], linewidth=1, linestyle="--")
        axes.set_title(wrapped(name.removeprefix("validation/"), 2, 9), loc="left", fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
    last = next((row for row in reversed(rows) if recipe.training.monitor in row), {})
    courses = ", ".join(f"{name[11:]} {value:.4g}" for name, value in last.items() if name.startswith("validation/"))
    best = "" if facts.best_epoch is None else f" The dashed line is the best epoch, {facts.best_epoch}."
    low, high = recipe.output.display_window
    return picture(
        "validation",
        f"Validation figures inside the brain, mean over subjects, in {recipe.output.units}; PSNR and SSIM with data "
        f"range {high - low:g}.{best}",
        f"Validation figures by epoch; at the last validation: {courses}.",
        figure,
    )


def _rate_curve(rows: Rows) -> Picture:
    figure = canvas(PAGE_WIDTH, 1.8)
    axes = figure.add_subplot(1, 1, 1)
    plain(axes)
    _curve(axes, rows, "learning_rate", COLORS[0])
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylim(bottom=0)
    return picture("learning-rate", "Learning rate.", "Learning rate by epoch.", figure)


def _examples(run: RunFolder, recipe: Recipe) -> list[Picture]:
    return [
        picture(
            f"validation-subject-{number}",
            f"Validation subject {number}: {recipe.route.source}, synthetic and real {recipe.route.target} with the "
            "same colors, and their difference (synthetic \N{MINUS SIGN} real, white is equal).",
            f"Validation subject {number}: source, synthetic, reference and difference in three planes.",
            draw_example(example, recipe.output),
        )
        for number, example in enumerate(run.examples(), start=1)
    ]


def _scored(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json_object(path)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read: {error}. Evaluate again, or remove it.") from None


def _scores_note(scored: Mapping[str, Any]) -> list[str]:
    if not scored:
        return []
    return [
        f"{scored['visits']} volumes of patients that the training never saw; mean ({scored['interval']}); "
        f"{scored['region']}."
    ]


def _scores(scored: Mapping[str, Any]) -> list[Table]:
    if not scored:
        return []
    known = {**METRICS, **SLICE_METRICS}
    summary = {
        predictor: {
            metric: {name: float("nan") if value is None else value for name, value in figures.items()}
            for metric, figures in metrics.items()
        }
        for predictor, metrics in scored["summary"].items()
    }
    # The file's keys are sorted.
    present = next(iter(summary.values()))
    return metrics_tables(summary, scored["contenders"], {name: known[name] for name in known if name in present})


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _curve(axes: Axes, rows: Rows, name: str, color: str) -> Any:
    points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    marker = "o" if len(points) < 20 else None
    return axes.plot(*zip(*points, strict=True), color=color, linewidth=1.4, marker=marker, markersize=3)[0]


def _planes(axes: Axes, facts: RunFacts) -> dict[str, Any]:
    """Shade the epochs of each plane; returns plane -> one of its areas."""
    edges = [*(epoch for epoch, _ in facts.planes), facts.epochs]
    drawn = {}
    for number, (epoch, plane) in enumerate(facts.planes):
        color = _PLANE_COLORS.get(plane, "#eeeeee")
        drawn[plane] = axes.axvspan(epoch + 0.5, edges[number + 1] + 0.5, color=color, linewidth=0)
    return drawn


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
