"""The training report: one HTML page with curves, examples and facts, nothing outside it."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.document import interval
from modality_synthesis.evaluation.report_figures import darken
from modality_synthesis.training.callbacks import LOG, read_rows
from modality_synthesis.training.folder import RunFacts, RunFolder
from modality_synthesis.training.panels import draw_example
from modality_synthesis.training.recipe import Recipe
from modality_synthesis.volumes import atomic_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, float]]

FILE = "report.html"
_COLORS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#555555", "#00838f", "#a0522d")
_PLANE_COLORS = {"axial": "#dbe9f4", "coronal": "#f7e1dc", "sagittal": "#e2f0e4"}
_STYLE = """
:root { --paper: #ffffff; --ink: #1b1b1f; --soft: #5a5a63; --line: #999999; --note: #fff4d6; --edge: #b07a00;
  --code: #f4f4f6; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #16171b; --ink: #e9e9ec; --soft: #a9a9b2; --line: #5a5b63; --note: #3a3012; --edge: #e0ad3c;
    --code: #22232a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
thead th { border-bottom: 1px solid var(--line); } tbody th { font-weight: normal; color: var(--soft); }
figure img { display: block; max-width: 100%; height: auto; } figure { margin: 0 0 1rem; }
figcaption { color: var(--soft); font-size: .9rem; }
figure img.night { display: none; }
@media screen and (prefers-color-scheme: dark) {
  figure img.day { display: none; } figure img.night { display: block; }
}
.scroll { overflow-x: auto; } .scroll td { min-width: 5rem; }
.notice { background: var(--note); border-left: 4px solid var(--edge); padding: .5rem 1rem; }
pre { background: var(--code); padding: 1rem; overflow-x: auto; font-size: .8rem; }
@media (max-width: 40rem) { figure.chart { overflow-x: auto; } figure.chart img { max-width: none; width: 38rem; } }
@media print { .scroll { overflow: visible; } table { font-size: 8pt; } .scroll td { min-width: 0; }
  figure { break-inside: avoid; } }
"""


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into a run folder, from what the run left there.

    Raises:
        BadInputError: the folder holds no finished run.
    """
    run = RunFolder(Path(folder))
    recipe, facts = run.recipe(), run.facts()
    if not facts.epochs or not (run.path / LOG).is_file():
        raise BadInputError(f"{run.path}: the training is not finished. Go on with it: train ... --resume")
    rows = read_rows(run.path / LOG)
    sizes = {name: len(subjects) for name, subjects in run.split().as_dict().items()}
    sections = [
        _heading(recipe),
        _section("Summary", _table(_summary(recipe, facts, sizes))),
        _section("Losses", _losses(facts), _figure(_loss_curves(rows, facts), *_loss_words(rows))),
        _section("Validation", _figure(_validation_curves(rows, facts), *_validation_words(rows, recipe, facts))),
        _section("Learning rate", _figure(_rate_curve(rows), "Learning rate by epoch.", "Learning rate.")),
        _section("Validation subjects", *_examples(run, recipe)),
        _section("Test patients", _scores(run.path / "evaluation" / "metrics.json")),
        _section("Recipe", _recipe(recipe)),
    ]
    title = html.escape(f"Training report: {recipe.name}")
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(filter(None, sections)) + "\n</body></html>\n"
    )
    with atomic_output(run.path / FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run.path / FILE


def _heading(recipe: Recipe) -> str:
    facts = recipe.package
    simulated = " It learned from simulated images only." if facts.simulated else ""
    return (
        f"<h1>{html.escape(facts.name)}</h1>\n<p>{html.escape(recipe.route.source)} to "
        f"{html.escape(recipe.route.target)}, {html.escape(recipe.generator.name)}; model "
        f"{html.escape(facts.id)} {html.escape(facts.version)}</p>\n"
        f'<p class="notice">Research use only, not for diagnosis. This is a {html.escape(facts.badge)} model.'
        f"{simulated} The pictures below show people of the cohort: share this page as you may share their images.</p>"
    )


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


def _losses(facts: RunFacts) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in facts.loss_lines())
    return f"<ul>{items}</ul>"


def _loss_curves(rows: Rows, facts: RunFacts) -> Figure:
    """One panel per phase, the total in black, each weighted term in its color; planes of a schedule behind."""
    names = [name for name in _names(rows) if name.startswith("train/")]
    phases = list(dict.fromkeys(name.split("/")[1] for name in names))
    weights = {term["name"]: term["weight"] for term in facts.losses}
    figure = _new_figure(7.6, 2.6 * len(phases))
    for number, phase in enumerate(phases):
        axes = figure.add_subplot(len(phases), 1, number + 1)
        terms = [name for name in names if name.startswith(f"train/{phase}/") and not name.endswith("/loss")]
        _planes(axes, facts)
        _curve(axes, rows, f"train/{phase}/loss", "black", "sum")
        for color, name in zip(_COLORS * len(terms), terms, strict=False):
            term = name.split("/", 2)[2]
            label = f"{term} x {weights[term]:g}" if phase == "generator" and term in weights else term
            _curve(axes, rows, name, color, label)
        values = [row[name] for row in rows for name in (*terms, f"train/{phase}/loss") if name in row]
        if min(values, default=0) > 0 and max(values) > 50 * min(values):
            axes.set_yscale("log")
        axes.set_title(phase, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _loss_words(rows: Rows) -> tuple[str, str]:
    totals = [name for name in _names(rows) if name.startswith("train/") and name.endswith("/loss")]
    courses = "; ".join(f"{name.split('/')[1]} from {rows[0][name]:.4g} to {rows[-1][name]:.4g}" for name in totals)
    return (
        f"Training losses by epoch: {courses}.",
        "Training losses by epoch, each term times its weight. A shaded background shows the plane of a perceptual "
        "loss that looks at one plane at a time.",
    )


def _validation_curves(rows: Rows, facts: RunFacts) -> Figure:
    names = [name for name in _names(rows) if name.startswith("validation/")]
    columns = 3
    lines = -(-len(names) // columns)
    figure = _new_figure(9.0, 2.2 * lines)
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        _planes(axes, facts)
        _curve(axes, rows, name, _COLORS[0], "")
        if facts.best_epoch is not None:
            axes.axvline(facts.best_epoch, color=_COLORS[1], linewidth=1, linestyle="--")
        axes.set_title(name.removeprefix("validation/"), loc="left", fontsize=10)
        axes.set_xlabel("epoch")
    return figure


def _validation_words(rows: Rows, recipe: Recipe, facts: RunFacts) -> tuple[str, str]:
    last = next((row for row in reversed(rows) if recipe.training.monitor in row), {})
    courses = ", ".join(f"{name[11:]} {value:.4g}" for name, value in last.items() if name.startswith("validation/"))
    best = "" if facts.best_epoch is None else f" The dashed line is the best epoch, {facts.best_epoch}."
    low, high = recipe.output.display_window
    return (
        f"Validation figures by epoch; at the last validation: {courses}.",
        f"Validation figures inside the brain, mean over subjects, in {html.escape(recipe.output.units)}; PSNR and "
        f"SSIM with data range {high - low:g}.{best}",
    )


def _rate_curve(rows: Rows) -> Figure:
    figure = _new_figure(7.6, 1.8)
    axes = figure.add_subplot(1, 1, 1)
    _curve(axes, rows, "learning_rate", _COLORS[0], "")
    axes.set_xlabel("epoch")
    axes.set_ylim(bottom=0)
    return figure


def _examples(run: RunFolder, recipe: Recipe) -> list[str]:
    return [
        _figure(
            draw_example(example, recipe.output),
            f"Validation subject {number}: source, synthetic, reference and difference in three planes.",
            f"Validation subject {number}: {html.escape(recipe.route.source)}, synthetic and real "
            f"{html.escape(recipe.route.target)} with the same colors, and their difference.",
            kind="png",
        )
        for number, example in enumerate(run.examples(), start=1)
    ]


def _scores(path: Path) -> str:
    if not path.is_file():
        return ""
    scored = json.loads(path.read_text(encoding="utf-8"))
    summary = scored["summary"]
    metrics = list(next(iter(summary.values())))
    head = "".join(f"<th>{html.escape(metric)}</th>" for metric in metrics)
    body = "".join(
        f"<tr><th>{html.escape(predictor)}</th>"
        + "".join(f"<td>{_interval(figures[metric])}</td>" for metric in metrics)
        + "</tr>"
        for predictor, figures in summary.items()
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Test patients"><table>'
        f"<thead><tr><th>predictor</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p>{scored['visits']} volumes of patients that the training never saw; mean "
        f"({html.escape(scored['interval'])}); {html.escape(scored['region'])}.</p>"
    )


def _interval(figures: Mapping[str, float | None]) -> str:
    if figures["mean"] is None:
        return "–"  # not defined here, in a region that is too small for example
    if figures["low"] is None or figures["high"] is None:
        return f"{figures['mean']:.4g}"
    return interval(figures["mean"], figures["low"], figures["high"])


def _recipe(recipe: Recipe) -> str:
    text = html.escape(json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False))
    return f"<details><summary>Everything that was set</summary><pre>{text}</pre></details>"


def _section(title: str, *contents: str) -> str:
    inside = "\n".join(filter(None, contents))
    return f"<h2>{title}</h2>\n{inside}" if inside else ""


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def _figure(figure: Figure, alternative: str, caption: str, *, kind: str = "svg") -> str:
    """A figure inside the page; `alternative` is read aloud in its place, `caption` is HTML below it."""
    alternative = html.escape(alternative, quote=True)
    image = f'<img src="{_data(figure, kind)}" alt="{alternative}">'
    if kind == "png":  # pictures of volumes are dark on either page
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    darken(figure)
    day = image.replace("<img ", '<img class="day" ', 1)
    night = f'<img class="night" src="{_data(figure, kind)}" alt="{alternative}">'
    return f'<figure class="chart">{day}{night}<figcaption>{caption}</figcaption></figure>'


def _data(figure: Figure, kind: str) -> str:
    from matplotlib import rc_context

    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None  # the same run gives the same page
    with rc_context({"svg.hashsalt": "modality-synthesis"}):
        figure.savefig(stream, format=kind, facecolor=figure.get_facecolor(), metadata=metadata)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(height, 1.0)), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _curve(axes: Axes, rows: Rows, name: str, color: str, label: str) -> None:
    points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    marker = "o" if len(points) < 20 else None
    axes.plot(*zip(*points, strict=True), color=color, linewidth=1.4, marker=marker, markersize=3, label=label)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _planes(axes: Axes, facts: RunFacts) -> None:
    edges = [*(epoch for epoch, _ in facts.planes), facts.epochs]
    for number, (epoch, plane) in enumerate(facts.planes):
        label = plane if plane not in [name for _, name in facts.planes[:number]] else None
        color = _PLANE_COLORS.get(plane, "#eeeeee")
        axes.axvspan(epoch + 0.5, edges[number + 1] + 0.5, color=color, linewidth=0, label=label)


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
