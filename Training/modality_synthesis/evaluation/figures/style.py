"""What the figures share: paper, ink, and writing the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from modality_synthesis.volumes import atomic_output, check_outputs, check_writable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".pdf", ".svg")
# Told apart by people with any color vision (Okabe and Ito).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SMALL, NORMAL, LARGE = 8, 9, 12


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of so many inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def check_figure_path(path: str | Path, inputs: Iterable[object] = ()) -> None:
    """Refuse a place or a kind of file that cannot be written, or that is an input, before any work is done."""
    check_outputs([path], inputs=inputs)
    check_writable(path, endings=ENDINGS)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write PNG, PDF or SVG, by the file's ending; complete or not at all."""
    path = Path(path)
    with atomic_output(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower().lstrip("."))


def bare(axes: Axes) -> None:
    """Axes of an image: no ticks, no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def plain(axes: Axes) -> None:
    """Axes of a diagram: two spines and a light grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)
