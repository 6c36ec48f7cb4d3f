"""Planes of several volumes of one person on one page, with one scale for all values and one for all differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.planes import PLANES
from modality_synthesis.evaluation.figures.style import (
    ANATOMY,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    bare,
    difference_colors,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["values", "difference", "anatomy"]
# Inches.
_MARGIN, _BETWEEN, _PLANE_GAP, _LINE, _BAR, _BAR_TEXT = 0.08, 0.2, 0.04, 0.17, 0.12, 0.55
_BETWEEN_BARS = 0.5  # their end figures must not meet
_MOST_IN_ONE_COLUMN = 3


@dataclass(frozen=True)
class Block:
    """One volume of a montage.

    Attributes:
        name: above it.
        planes: axial, coronal and sagittal, ready to be shown (up is up).
        kind: what its colors say; `anatomy` has a gray scale of its own.
    """

    name: str
    planes: Sequence[np.ndarray]
    kind: Kind = "values"


def montage(
    blocks: Sequence[Block], *, window: tuple[float, float], limit: float, colors: str, units: str, title: str = ""
) -> Figure:
    """Blocks of three planes in one column, or two where there are more than three, the color bars below them.

    Args:
        blocks: in reading order.
        window: ends of the values' colors.
        limit: end of the differences' colors, both ways.
        colors: matplotlib's map of the values.
        units: of values and differences.
        title: above.
    """
    from matplotlib.colors import Normalize

    columns = 1 if len(blocks) <= _MOST_IN_ONE_COLUMN else 2
    rows = -(-len(blocks) // columns)
    widths = [max(block.planes[place].shape[1] for block in blocks) for place in range(3)]
    tallest = max(plane.shape[0] for block in blocks for plane in block.planes)
    broad = (PAGE_WIDTH - 2 * _MARGIN - (columns - 1) * _BETWEEN) / columns
    names = [wrapped(block.name, broad, 8, lines=2) for block in blocks]
    above = [_LINE * max(name.count("\n") + 1 for name in names[row * columns : (row + 1) * columns]) + 0.03
             for row in range(rows)]  # fmt: skip
    heading = wrapped(title, PAGE_WIDTH - 2 * _MARGIN, 10, lines=2) if title else ""
    top = _MARGIN + (0.2 * (heading.count("\n") + 1) if heading else 0.0) + _LINE
    fixed = top + sum(above) + _BAR + _BAR_TEXT + 2 * _MARGIN
    scale = min((broad - 2 * _PLANE_GAP) / sum(widths), (PAGE_HEIGHT - fixed) / (rows * tallest))
    height = fixed + rows * scale * tallest
    figure = new_figure(PAGE_WIDTH, height)
    shares = {"values": Normalize(*window), "difference": Normalize(-limit, limit)}
    down = top
    for row in range(rows):
        for column, index in enumerate(range(row * columns, min((row + 1) * columns, len(blocks)))):
            left = _MARGIN + column * (broad + _BETWEEN)
            _text(figure, left, down + above[row] - 0.05, names[index], 8)
            for place, plane in enumerate(blocks[index].planes):
                x = left + scale * sum(widths[:place]) + place * _PLANE_GAP
                box = (x, down + above[row], scale * widths[place], scale * tallest)
                _show(_axes(figure, box), plane, blocks[index].kind, colors, shares)
                if row == 0:
                    _text(figure, x, top - 0.04, PLANES[place], 7)
        down += above[row] + scale * tallest
    if heading:
        _text(figure, _MARGIN, _MARGIN + 0.2 * (heading.count("\n") + 1) - 0.04, heading, 10)
    labels: dict[str, tuple[Any, str]] = {
        "values": (colors, units),
        "difference": (difference_colors(), f"difference, {units}"),
    }
    half = (PAGE_WIDTH - 2 * _MARGIN - 2 * _BETWEEN - _BETWEEN_BARS) / 2
    for place, kind in enumerate(kind for kind in shares if any(block.kind == kind for block in blocks)):
        box = (_MARGIN + _BETWEEN + place * (half + _BETWEEN_BARS), down + _MARGIN, half, _BAR)
        _bar(figure, box, shares[kind], *labels[kind])
    return figure


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes at a place from the upper left corner: left, down, width, height in inches."""
    width, height = figure.get_size_inches()
    left, down, across, tall = box
    return figure.add_axes((left / width, 1 - (down + tall) / height, across / width, tall / height))


def _text(figure: Figure, left: float, down: float, text: str, points: float) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - down / height, text, fontsize=points, ha="left", va="bottom", linespacing=1.15)


def _show(axes: Axes, plane: np.ndarray, kind: Kind, colors: str, scales: Mapping[str, Any]) -> None:
    import matplotlib

    # Outside the mask is 0: black in anatomy, whose normalized values go below 0, paper in differences.
    cut = np.ma.masked_where(~ndimage.binary_fill_holes(plane != 0), plane)
    if kind == "anatomy":
        known = cut.compressed() if cut.count() else plane
        low, high = (float(np.percentile(known, share)) for share in (1, 99.5))
        axes.imshow(cut, cmap=matplotlib.colormaps[ANATOMY].with_extremes(bad="black"), vmin=low, vmax=high)
    elif kind == "difference":
        axes.imshow(cut, cmap=difference_colors(), norm=scales[kind])
    else:
        axes.imshow(plane, cmap=colors, norm=scales[kind])
    axes.set_anchor("NW")
    bare(axes)


def _bar(figure: Figure, box: tuple[float, float, float, float], scale: Any, colors: Any, label: str) -> None:
    from matplotlib.cm import ScalarMappable

    axes = _axes(figure, box)
    bar = figure.colorbar(ScalarMappable(scale, colors), cax=axes, orientation="horizontal")
    bar.ax.tick_params(labelsize=7, pad=1, length=2)
    bar.set_label(wrapped(label, box[2], 8, lines=2), fontsize=8, labelpad=1)


def caption(title: str, names: Sequence[str], window: tuple[float, float], limit: float, units: str) -> str:
    """What the montage shows and how to read it."""
    lead = f"{title}: planes" if title else "Planes"
    return (
        f"{lead} through the middle ({', '.join(names)}); one scale for all volumes ({window[0]:.3g} to "
        f"{window[1]:.3g} {units}), one for all differences (\N{PLUS-MINUS SIGN}{limit:.3g}; white is equal). The "
        "person's right is on the left of axial and coronal planes."
    )
