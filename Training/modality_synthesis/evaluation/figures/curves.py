"""Loss curves and validation figures of one or several training runs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.figures.labels import legend_below, wrapped
from modality_synthesis.evaluation.figures.style import (
    COLORS,
    NORMAL,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    SMALL,
    check_figure_path,
    new_figure,
    plain,
    save_figure,
)

_LOG = Path("logs") / "metrics.csv"
_KINDS = ("train/", "validation/")
Curve = tuple[np.ndarray, np.ndarray]


def draw_curves(runs: Sequence[str | Path], path: str | Path) -> None:
    """Draw every logged figure over the epochs, one panel each, all runs in it.

    Args:
        runs: run folders.
        path: .png, .pdf or .svg to write.

    Raises:
        BadInputError: a folder without a training log.
    """
    check_figure_path(path, [file for run in runs for file in Path(run).glob("*")])
    if not runs:
        raise BadInputError("Name at least one run folder.")
    logs = {_name(Path(run), runs): read_log(run) for run in runs}
    panels = list(dict.fromkeys(name for log in logs.values() for name in log))
    # Training before validation, each phase's total before its terms.
    panels.sort(key=lambda name: (not name.startswith("train/"), not name.endswith("/loss")))
    last = max(float(epochs[-1]) for log in logs.values() for epochs, _ in log.values())
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(PAGE_WIDTH, min(2.1 * rows + 0.9, PAGE_HEIGHT), layout="constrained")
    drawn = {}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        plain(axes)
        shown = []
        for number, (run, log) in enumerate(logs.items()):
            if panel not in log:
                continue
            epochs, values = log[panel]
            marker = "o" if len(epochs) < 2 else None
            (drawn[run],) = axes.plot(epochs, values, color=COLORS[number % len(COLORS)], linewidth=1.3, marker=marker)
            shown.append(values)
        # A loss that falls by orders of magnitude would show its first epochs only.
        every = np.concatenate(shown)
        if panel.startswith("train/") and every.min() > 0 and every.max() > 50 * every.min():
            axes.set_yscale("log")
        axes.set_xlim(0, max(last, 1) * 1.02)
        axes.set_title(wrapped(_title(panel), PAGE_WIDTH / columns - 0.6, NORMAL), fontsize=NORMAL, loc="left")
        if index >= len(panels) - columns:
            axes.set_xlabel("epoch", fontsize=SMALL)
    legend_below(figure, drawn)
    save_figure(figure, path, [])  # of a training, no volume is shown


def read_log(run: str | Path) -> dict[str, Curve]:
    """The curves of a training run: name -> (epochs, values); the mean where an epoch was logged more than once.

    Raises:
        BadInputError: no training log there, or one without curves.
    """
    path = Path(run) / _LOG
    points: dict[str, dict[float, list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                for name, text in row.items():
                    if name and name.startswith(_KINDS) and text:
                        points.setdefault(name, {}).setdefault(float(row["epoch"]), []).append(float(text))
    except OSError:
        raise BadInputError(f"{run} holds no training log ({_LOG}). Give the folder of a training run.") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadInputError(f"{path} is no training log: {error}") from None
    if not points:
        raise BadInputError(f"{path} holds no finished epoch yet.")
    curves = {}
    for name, epochs in points.items():
        order = sorted(epochs)
        curves[name] = (np.array(order), np.array([np.mean(epochs[epoch]) for epoch in order]))
    return curves


def _name(run: Path, runs: Sequence[str | Path]) -> str:
    """The folder's name, with its parents where two runs share it."""
    alike = sum(Path(other).resolve().name == run.resolve().name for other in runs)
    return run.resolve().name if alike == 1 else str(run)


def _title(panel: str) -> str:
    """`train/generator/l1` -> `training: generator l1`."""
    kind, _, rest = panel.partition("/")
    return f"{'training' if kind == 'train' else kind}: {rest.replace('/', ' ')}"
