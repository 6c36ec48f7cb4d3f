"""Source, synthetic, reference and difference of a validation subject in three planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.models.card import Output
from modality_synthesis.volumes import bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from modality_synthesis.training.module import Example

BACKGROUND, INK = "#101114", "#e8e8ea"
COLUMNS = ("source", "synthetic", "reference", "difference")
_PLANES = ("axial", "coronal", "sagittal")
_SHARES = (0.56, 0.52, 0.46)  # where in the brain: the axial plane at the height of the ventricles


def draw_example(example: Example, output: Output) -> Figure:
    """A figure of three rows (planes) and four columns (volumes).

    Synthetic and reference share the model's display window; the difference is synthetic minus reference, its colors
    symmetric around zero.
    """
    from matplotlib import cm, colors
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    brain = example.brain > 0
    gray = colors.Normalize(*np.percentile(example.source[brain] if brain.any() else example.source, [0.5, 99.8]))
    window = colors.Normalize(*output.display_window)
    difference = np.where(brain, example.synthetic - example.reference, 0.0)
    limit = difference_limit(difference[brain], output)
    target = colormap(output.colormap)
    looks = (("gray", gray), (target, window), (target, window), ("RdBu_r", colors.Normalize(-limit, limit)))

    box = bounding_box(brain, margin=2)  # empty air would leave the brain small in the picture
    brain = brain[box]
    # Anatomy and differences have a 0 that is not black: their outside is left to the background.
    volumes = [
        np.ma.masked_where(~brain, example.source[box]),
        example.synthetic[box],
        example.reference[box],
        np.ma.masked_where(~brain, difference[box]),
    ]
    planes = [_index(axis, brain) for axis in range(3)]
    heights = [_slice(brain, axis, index).shape[0] for axis, index in enumerate(planes)]
    figure = Figure(figsize=(8.4, 6.6), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        4, 4, height_ratios=[*heights, 0.06 * sum(heights)], left=0.05, right=0.99, top=0.95, bottom=0.09,
        hspace=0.04, wspace=0.03,
    )  # fmt: skip
    for column, (volume, (colors_name, scale)) in enumerate(zip(volumes, looks, strict=True)):
        for axis, index in enumerate(planes):
            axes = figure.add_subplot(grid[axis, column])
            axes.imshow(_slice(volume, axis, index), cmap=colors_name, norm=scale, interpolation="nearest")
            _bare(axes, COLUMNS[column] if axis == 0 else "", _PLANES[axis] if column == 0 else "")
    for place, (colors_name, scale), label in (
        (grid[3, 1:3], looks[1], output.units),
        (grid[3, 3], looks[3], f"synthetic - reference, {output.units}"),
    ):
        axes = figure.add_subplot(place)
        left, bottom, width, height = axes.get_position().bounds
        # The figures at the ends of two bars must not meet.
        axes.set_position((left + 0.015, bottom, width - 0.03, height))
        bar = figure.colorbar(cm.ScalarMappable(scale, colors_name), cax=axes, orientation="horizontal")
        bar.set_label(label, color=INK, fontsize=8)
        bar.ax.tick_params(colors=INK, labelsize=7)
    return figure


def difference_limit(difference: np.ndarray, output: Output) -> float:
    """The end of the difference's colors: nearly all voxels lie within, and it is a round figure."""
    low, high = output.display_window
    most = float(np.percentile(np.abs(difference), 99.5)) if difference.size else 0.0
    steps = (high - low) * np.array([0.05, 0.1, 0.2, 0.3, 0.5])
    return float(next((step for step in steps if step >= most), high - low))


def pixels(figure: Figure) -> np.ndarray:
    """A figure as (height, width, 3), uint8."""
    canvas = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def colormap(name: str | None) -> str:
    """matplotlib's name of a card's color table; one that it lacks becomes inferno."""
    from matplotlib import colormaps

    return "gray" if name is None else name.lower() if name.lower() in colormaps else "inferno"


def _index(axis: int, brain: np.ndarray) -> int:
    hits = np.flatnonzero(brain.any(axis=tuple(other for other in range(3) if other != axis)))
    return int(hits[0] + _SHARES[axis] * (hits[-1] - hits[0])) if hits.size else brain.shape[axis] // 2


def _slice(volume: np.ndarray, axis: int, index: int) -> np.ndarray:
    # The grid's rows run from front to back, which is down in an axial picture, and its slices from the feet up.
    plane = np.take(volume, index, axis=axis)
    return plane if axis == 0 else plane[::-1]


def _bare(axes: Axes, top: str, side: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor("black")
    if top:
        axes.set_title(top, color=INK, fontsize=10, pad=4)
    if side:
        axes.set_ylabel(side, color=INK, fontsize=10)
