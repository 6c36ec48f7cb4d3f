"""The figures of reports: PNG pictures that stand alone, with captions and texts for those who cannot see them.

Colors are the palette of Okabe and Ito, and perceptually uniform maps: both survive color blindness and gray printing.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a", "#000000")
DIVERGING = "PuOr_r"  # orange above, purple below, white at zero
PAPER, INK, GRID = "#ffffff", "#1b1b1f", "#d9d9de"
# What is measured, beside which the predictors have the palette's colors.
MEASURED_COLOR = "#8a8a8a"
# The same on the dark page of `report.html.jinja`: paper, ink and lines, and the palette's blue, too dark to be read.
_NIGHT = {
    light.upper(): dark
    for light, dark in (
        (PAPER, "#16171b"), (INK, "#e9e9ec"), ("#000000", "#e9e9ec"), (GRID, "#3a3b42"), (PALETTE[0], "#4aa3df"),
        # The training report's lines, and the planes behind them.
        ("#1b6ca8", "#4aa3df"), ("#6a4c93", "#a98bd6"), ("#555555", "#a9a9b2"),
        ("#dbe9f4", "#1f2d3a"), ("#f7e1dc", "#3a2724"), ("#e2f0e4", "#20342a"),
    )
}  # fmt: skip
_MOST_POINTS = 60_000


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        caption: what it shows and how to read it.
        alt: what is to be seen, in words and figures.
        png: the picture.
        dark: the same for a dark page; none when empty.
    """

    caption: str
    alt: str
    png: bytes
    dark: bytes = b""


def _canvas(width: float, height: float) -> Canvas:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture(caption: str, alt: str, figure: Canvas) -> Picture:
    """A figure as it is, and with the colors of a dark page."""
    light = _png(figure)
    darken(figure)
    return Picture(caption, alt, light, _png(figure))


def _png(figure: Canvas) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor())
    return stream.getvalue()


def darken(figure: Canvas) -> None:
    """Give lines, areas and texts the colors of a dark page; images and what is drawn from color maps stay."""
    from matplotlib.collections import Collection
    from matplotlib.colors import to_hex, to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    def exchanged(color: Any) -> Any:
        *_, opacity = to_rgba(color)
        return _NIGHT.get(to_hex(color).upper(), color) if opacity else color

    for artist in figure.findobj():
        if isinstance(artist, (Line2D, Text)):
            artist.set_color(exchanged(artist.get_color()))
        if isinstance(artist, Line2D):
            artist.set_markerfacecolor(exchanged(artist.get_markerfacecolor()))
            artist.set_markeredgecolor(exchanged(artist.get_markeredgecolor()))
        elif isinstance(artist, Patch):
            face, edge, opacity = artist.get_facecolor(), artist.get_edgecolor(), artist.get_alpha()
            artist.set(facecolor=exchanged(face), edgecolor=exchanged(edge), alpha=opacity)
        elif isinstance(artist, Collection) and artist.get_array() is None:
            faces, edges = artist.get_facecolor(), artist.get_edgecolor()
            artist.set_facecolor([exchanged(color) for color in faces])
            artist.set_edgecolor([exchanged(color) for color in edges])


def _axes(figure: Canvas, *place: Any) -> Axes:
    axes = figure.add_subplot(*place)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def difference_histogram(error: np.ndarray, units: str) -> Picture:
    """Signed differences inside the mask; `error` is flat."""
    limit = float(np.percentile(np.abs(error), 99.5)) or 1.0
    bias, spread = float(error.mean()), float(error.std())
    figure = _canvas(6.2, 3.4)
    axes = _axes(figure, 111)
    weights = np.full(error.size, 100 / error.size)
    axes.hist(np.clip(error, -limit, limit), bins=81, range=(-limit, limit), weights=weights, color=PALETTE[0])
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(bias, color=PALETTE[1], linewidth=1.6, linestyle="--", label=f"mean {_signed(bias)}")
    axes.set_xlabel(f"synthetic \N{MINUS SIGN} reference, {units}")
    axes.set_ylabel("share of voxels, %")
    axes.legend(frameon=False)
    return picture(
        f"Differences inside the mask. The last bar on each side holds everything beyond {limit:.3g}.",
        f"Histogram of differences: mean {bias:+.3g}, standard deviation {spread:.3g} {units}.",
        figure,
    )


def voxel_scatter(synthetic: np.ndarray, reference: np.ndarray, units: str) -> Picture:
    """Density of voxel pairs with the identity and the fitted line; both arrays are flat."""
    step = max(1, reference.size // _MOST_POINTS)
    x, y = reference[::step].astype(float), synthetic[::step].astype(float)
    low, high = (float(np.percentile(np.concatenate([x, y]), share)) for share in (0.1, 99.9))
    figure = _canvas(5.0, 4.4)
    axes = _axes(figure, 111)
    shown = axes.hexbin(x, y, gridsize=60, extent=(low, high, low, high), bins="log", cmap="cividis", mincnt=1)
    axes.plot([low, high], [low, high], color=INK, linewidth=1, label="identity")
    slope, intercept = np.polyfit(x, y, 1) if x.std() > 0 else (float("nan"), float("nan"))
    axes.plot([low, high], [slope * low + intercept, slope * high + intercept], color=PALETTE[1], linestyle="--",
              label=f"fit: slope {slope:.2f}")  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(f"reference, {units}")
    axes.set_ylabel(f"synthetic, {units}")
    axes.legend(frameon=False, loc="upper left")
    figure.colorbar(shown, label="voxels")
    return picture(
        "Voxels inside the mask. A slope below 1 means that the synthesis draws high and low values to the middle.",
        f"Density plot of synthetic against reference voxels; the fitted slope is {slope:.2f}.",
        figure,
    )


def region_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], units: str) -> Picture:
    """Regional means side by side.

    Args:
        names: of the regions.
        series: the measured volume first, then the synthetic ones: one value per region.
        units: of the values.
    """
    figure = _canvas(6.6, 0.9 + 0.24 * len(names) * max(len(series), 1) / 1.6)
    axes = _axes(figure, 111)
    height = 0.8 / len(series)
    positions = np.arange(len(names))
    for index, (label, values) in enumerate(series.items()):
        color = PALETTE[(index - 1) % len(PALETTE)] if index else MEASURED_COLOR
        axes.barh(positions + (index - (len(series) - 1) / 2) * height, values, height, label=label, color=color)
    axes.set_yticks(positions, names)
    axes.invert_yaxis()
    axes.set_xlabel(units)
    axes.legend(frameon=False, ncols=min(len(series), 3), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    told = "; ".join(
        f"{name}: " + ", ".join(f"{label} {values[index]:.3g}" for label, values in series.items())
        for index, name in enumerate(names)
    )
    return picture("Mean of each meta-region, left and right together.", f"Bars. {told}.", figure)


def bland_altman(synthetic: np.ndarray, measured: np.ndarray, title: str, units: str) -> Picture:
    """Difference against mean, one point per patient, with bias and limits of agreement."""
    middle, difference = (synthetic + measured) / 2, synthetic - measured
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    limits = (bias - 1.96 * spread, bias + 1.96 * spread)
    figure = _canvas(5.4, 3.6)
    axes = _axes(figure, 111)
    axes.scatter(middle, difference, s=26, color=PALETTE[0], edgecolor=PAPER, linewidth=0.5)
    axes.axhline(0, color=INK, linewidth=0.8)
    for value, style, label in ((bias, "-", "bias"), (limits[0], "--", "\N{MINUS SIGN}1.96 SD"),
                                (limits[1], "--", "+1.96 SD")):  # fmt: skip
        axes.axhline(value, color=PALETTE[1], linestyle=style, linewidth=1.4)
        axes.annotate(f"{label}: {_signed(value)}", (1, value), xycoords=("axes fraction", "data"), fontsize=8,
                      ha="right", va="bottom", color=INK)  # fmt: skip
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"mean of synthetic and measured, {units}")
    axes.set_ylabel(f"synthetic \N{MINUS SIGN} measured, {units}")
    return picture(
        f"Bland-Altman plot, {title}: one point per patient.",
        f"Bland-Altman plot of {difference.size} patients: bias {bias:+.3g}, limits of agreement {limits[0]:.3g} to "
        f"{limits[1]:.3g} {units}.",
        figure,
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def identity_scatter(points: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, units: str) -> Picture:
    """Synthetic against measured, one point per patient.

    Args:
        points: predictor -> synthetic and measured values.
        title: the region.
        units: of the values.
    """
    figure = _canvas(4.8, 4.2)
    axes = _axes(figure, 111)
    values = np.concatenate([value for pair in points.values() for value in pair])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low or 1)
    ends = np.array([low - margin, high + margin])
    axes.plot(ends, ends, color=INK, linewidth=1, label="identity")
    slopes = {}
    for index, (name, (made, measured)) in enumerate(points.items()):
        color = PALETTE[index % len(PALETTE)]
        axes.scatter(measured, made, s=24, color=color, marker="os^Dv"[index % 5], edgecolor=PAPER, linewidth=0.5)
        slope, intercept = np.polyfit(measured, made, 1) if measured.std() > 0 else (float("nan"), float("nan"))
        slopes[name] = slope
        axes.plot(ends, slope * ends + intercept, color=color, linestyle="--", label=f"{name}: slope {slope:.2f}")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel(f"measured, {units}")
    axes.set_ylabel(f"synthetic, {units}")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    told = ", ".join(f"{name} has slope {slope:.2f}" for name, slope in slopes.items())
    return picture(f"{title}: one point per patient, with the line of identity.", f"Scatter plot; {told}.", figure)


def forest(summary: Mapping[str, Mapping[str, Mapping[str, float]]], metrics: Sequence[str], ideal: Mapping[str, float]
           ) -> Picture:  # fmt: skip
    """Means with intervals, a panel per metric, a row per predictor."""
    columns = 2
    rows = -(-len(metrics) // columns)
    predictors = list(summary)
    figure = _canvas(7.2, (0.95 + 0.24 * len(predictors)) * rows + 0.3)
    figure.set_layout_engine("constrained", h_pad=0.1)
    for place, metric in enumerate(metrics):
        axes = _axes(figure, rows, columns, place + 1)
        for index, name in enumerate(predictors):
            found = summary[name][metric]
            if np.isfinite(found["low"]):
                axes.plot([found["low"], found["high"]], [index, index], color=PALETTE[index % len(PALETTE)], lw=2)
            axes.plot(found["mean"], index, "o", color=PALETTE[index % len(PALETTE)], ms=5)
        if np.isfinite(ideal[metric]) and ideal[metric] == 1.0 and "ratio" in metric:
            axes.axvline(1.0, color=INK, linewidth=0.8)
        _few_ticks(axes, [summary[name][metric]["mean"] for name in predictors], ratio="ratio" in metric)
        axes.set_yticks(range(len(predictors)), predictors if place % columns == 0 else [], fontsize=8)
        axes.set_ylim(len(predictors) - 0.5, -0.5)
        axes.set_title(metric, fontsize=10, pad=8)
        axes.tick_params(axis="x", labelsize=8)
    told = "; ".join(
        f"{metric}: " + ", ".join(f"{name} {summary[name][metric]['mean']:.3g}" for name in predictors)
        for metric in metrics
    )
    return picture("Means over patients with 95 % intervals.", f"Dots with intervals. {told}.", figure)


def _few_ticks(axes: Axes, values: Sequence[float], *, ratio: bool) -> None:
    """At most five ticks; ratios that differ by a factor above ten on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    known = [value for value in values if np.isfinite(value)]
    if ratio and known and 0 < 10 * min(known) < max(known):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def violins(values: np.ndarray, groups: Mapping[str, Sequence[str | None]], metric: str) -> Picture:
    """A metric by subgroup, a panel per variable, each patient a dot."""
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure = _canvas(max(4.0, 2.5 * columns), 2.5 * lines)
    told = []
    for place, (variable, members) in enumerate(groups.items()):
        axes = _axes(figure, lines, columns, place + 1)
        names = sorted({member for member in members if member is not None})
        for index, name in enumerate(names):
            inside = values[[member == name for member in members]]
            inside = inside[np.isfinite(inside)]
            color = PALETTE[index % len(PALETTE)]
            if inside.size > 2 and inside.std() > 0:
                bodies: Any = axes.violinplot(inside, [index], widths=0.8, showextrema=False)["bodies"]
                for body in bodies:
                    body.set_facecolor(color)
                    body.set_alpha(0.3)
            offsets = np.linspace(-0.12, 0.12, inside.size) if inside.size > 1 else np.zeros(inside.size)
            axes.plot(index + offsets, inside, "o", ms=3.5, color=color)
            if inside.size:
                axes.plot([index - 0.25, index + 0.25], [np.median(inside)] * 2, color=INK, linewidth=1.4)
                told.append(f"{variable} {name}: median {np.median(inside):.3g} of {inside.size}")
        axes.set_xticks(range(len(names)), [_broken(name) for name in names], fontsize=8)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.tick_params(axis="y", labelsize=8)
        axes.set_title(variable, fontsize=10)
    figure.supylabel(metric, fontsize=9)
    return picture(
        f"{metric} by subgroup: dots are patients, the bar is the median.", f"Violins. {'; '.join(told)}.", figure
    )


def _broken(label: str) -> str:
    """A long label on several lines."""
    return "\n".join(textwrap.wrap(label, 11)) or label


def calibration_curves(found: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Coverage against nominal level, and sparsification, per predictor."""
    figure = _canvas(7.2, 3.3)
    left, right = _axes(figure, 121), _axes(figure, 122)
    left.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    told = []
    for index, (name, values) in enumerate(found.items()):
        color = PALETTE[index % len(PALETTE)]
        left.plot(values["levels"], values["coverage"], "o-", color=color, label=name)
        right.plot(values["fractions"], values["sparsification"], color=color, label=name)
        right.plot(values["fractions"], values["oracle"], color=color, linestyle=":", label=f"{name}, best possible")
        told.append(f"{name} covers {100 * values['coverage'][-1]:.0f} % at {100 * values['levels'][-1]:.0f} %")
    left.set_xlabel("nominal level")
    left.set_ylabel("coverage")
    right.set_xlabel("share removed, most uncertain first")
    right.set_ylabel("MAE of the rest")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    return picture(
        "Left: share of voxels whose measured value lies in the interval; on the line is calibrated, below it is "
        "overconfident. Right: the error should fall as uncertain voxels are removed.",
        f"Calibration curves; {'; '.join(told)}.",
        figure,
    )


def montage(
    rows: Mapping[str, Sequence[np.ndarray]],
    *,
    window: tuple[float, float],
    limit: float,
    colormap: str,
    units: str,
    signed: Sequence[str] = (),
    gray: Sequence[str] = (),
    title: str = "",
) -> Picture:
    """Planes of several volumes with one scale for all, and one for all difference maps.

    Args:
        rows: name -> axial, coronal and sagittal plane, ready to be shown (up is up).
        window: ends of the values' colors.
        limit: end of the differences' colors, both ways.
        colormap: of the values.
        units: of both.
        signed: rows that are differences.
        gray: rows that are anatomy, each in its own gray scale.
        title: above.
    """
    import matplotlib
    from matplotlib import cm, colors

    planes = next(iter(rows.values()))
    widths = [plane.shape[1] for plane in planes]
    tallest = max(plane.shape[0] for plane in planes)
    figure = _canvas(6.8, 0.5 + len(rows) * 5.6 * tallest / sum(widths))
    grid = figure.add_gridspec(len(rows), 3, width_ratios=widths)
    values, differences = colors.Normalize(*window), colors.Normalize(-limit, limit)
    drawn: dict[str, list[Any]] = {"values": [], "differences": []}
    for row, (name, shown) in enumerate(rows.items()):
        kind = "differences" if name in signed else "values"
        for column, plane in enumerate(shown):
            axes = figure.add_subplot(grid[row, column])
            # Outside the mask is 0: black in anatomy, whose normalized values go below 0, paper in differences.
            cut = np.ma.masked_where(~ndimage.binary_fill_holes(plane != 0), plane)
            if name in gray:
                known = cut.compressed() if cut.count() else plane
                low, high = (float(np.percentile(known, share)) for share in (1, 99.5))
                axes.imshow(cut, cmap=matplotlib.colormaps["gray"].with_extremes(bad="black"), vmin=low, vmax=high)
            elif kind == "differences":
                axes.imshow(cut, cmap=DIVERGING, norm=differences)
                drawn[kind].append(axes)
            else:
                axes.imshow(plane, cmap=colormap, norm=values)
                drawn[kind].append(axes)
            axes.set_anchor("N")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
            if row == 0:
                axes.set_title(("axial", "coronal", "sagittal")[column], fontsize=9)
    scales = {"values": (values, colormap, units), "differences": (differences, DIVERGING, f"difference, {units}")}
    for kind, axes_list in drawn.items():
        if axes_list:
            norm, colors_of, label = scales[kind]
            figure.colorbar(cm.ScalarMappable(norm, colors_of), ax=axes_list, label=label, shrink=0.8, pad=0.02)
    if title:
        figure.suptitle(title, fontsize=11)
    lead = f"{title}: planes" if title else "Planes"
    return picture(
        f"{lead} through the middle; one scale for all volumes ({window[0]:.3g} to {window[1]:.3g} {units}), one for "
        f"all differences (\N{PLUS-MINUS SIGN}{limit:.3g}). The person's right is on the left of axial and coronal "
        "planes.",
        f"Axial, coronal and sagittal planes of {', '.join(rows)}.",
        figure,
    )
