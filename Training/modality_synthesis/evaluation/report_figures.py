"""The figures of reports: pictures that stand alone, with captions and texts for those who cannot see them.

Colors are the palette of Okabe and Ito, and perceptually uniform maps: both survive color blindness and gray printing.
Each fits a printed page at its own size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.evaluation.figures.labels import legend_below, short_names, wrapped
from modality_synthesis.evaluation.figures.style import (
    COLORS,
    DPI,
    GRID,
    INK,
    MEASURED_COLOR,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    PAPER,
    new_figure,
    plain,
    report_picture_bytes,
    without_mathematics,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# The same on the dark page of `report.html.jinja`: paper, ink and lines, and the palette's blue, too dark to be read.
_NIGHT = {
    light.upper(): dark
    for light, dark in (
        (PAPER, "#16171b"), (INK, "#e9e9ec"), ("#000000", "#e9e9ec"), (GRID, "#3a3b42"), (COLORS[0], "#4aa3df"),
        # The planes behind the training report's curves.
        ("#dbe9f4", "#1f2d3a"), ("#f7e1dc", "#3a2724"), ("#e2f0e4", "#20342a"),
    )
}  # fmt: skip
_MOST_POINTS = 60_000
_MOST_IN_TWO_COLUMNS = 6  # predictors, for four rows of panels to fit on a page


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: of its files, without an ending.
        caption: what it shows and how to read it.
        alt: what is to be seen, in words and figures.
        png: the picture, with `style.DPI` pixels per inch.
        dark: the same for a dark page.
        pdf: the same as drawing, its texts in an embedded TrueType font.
        svg: the same, its texts as texts.
    """

    name: str
    caption: str
    alt: str
    png: bytes
    dark: bytes
    pdf: bytes
    svg: bytes

    @property
    def size(self) -> tuple[float, float]:
        """Width and height at which it is printed, inches."""
        width, height = (int.from_bytes(self.png[start : start + 4], "big") for start in (16, 20))
        return width / DPI, height / DPI

    @property
    def files(self) -> dict[str, bytes]:
        """File name -> contents, for the folder beside the report."""
        return {f"{self.name}.{kind}": getattr(self, kind) for kind in ("pdf", "svg", "png")}


def canvas(width: float, height: float) -> Canvas:
    """An empty figure whose parts are laid out so that none covers another, no larger than a page."""
    return new_figure(min(width, PAGE_WIDTH), min(height, PAGE_HEIGHT), layout="constrained")


def picture(name: str, caption: str, alt: str, figure: Canvas) -> Picture:
    """A figure as it is, and with the colors of a dark page.

    Args:
        name: of its files.
        caption: below it.
        alt: read aloud in its place.
        figure: laid out once; what is drawn last has the dark colors.
    """
    without_mathematics(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine(None)  # so that all files look the same, and none is laid out again
    png, pdf, svg = (report_picture_bytes(figure, kind) for kind in ("png", "pdf", "svg"))
    darken(figure)
    return Picture(name, caption, alt, png, report_picture_bytes(figure, "png"), pdf, svg)


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
    plain(axes)
    return axes


def difference_histogram(error: np.ndarray, units: str) -> Picture:
    """Signed differences inside the mask; `error` is flat."""
    limit = float(np.percentile(np.abs(error), 99.5)) or 1.0
    bias, spread = float(error.mean()), float(error.std())
    figure = canvas(6.2, 3.4)
    axes = _axes(figure, 111)
    weights = np.full(error.size, 100 / error.size)
    axes.hist(np.clip(error, -limit, limit), bins=81, range=(-limit, limit), weights=weights, color=COLORS[0])
    axes.axvline(0, color=INK, linewidth=1)
    mean = axes.axvline(bias, color=COLORS[1], linewidth=1.6, linestyle="--")
    axes.set_xlabel(wrapped(f"synthetic \N{MINUS SIGN} reference, {units}", 5, 9), fontsize=9)
    axes.set_ylabel("share of voxels, %", fontsize=9)
    legend_below(figure, {f"mean {_signed(bias)}": mean})
    return picture(
        "difference-histogram",
        f"Differences inside the mask. The last bar on each side holds everything beyond {limit:.3g}.",
        f"Histogram of differences: mean {bias:+.3g}, standard deviation {spread:.3g} {units}.",
        figure,
    )


def voxel_scatter(synthetic: np.ndarray, reference: np.ndarray, units: str) -> Picture:
    """Density of voxel pairs with the identity and the fitted line; both arrays are flat."""
    step = max(1, reference.size // _MOST_POINTS)
    x, y = reference[::step].astype(float), synthetic[::step].astype(float)
    low, high = (float(np.percentile(np.concatenate([x, y]), share)) for share in (0.1, 99.9))
    high = high if high > low else low + 1
    figure = canvas(5.0, 4.4)
    axes = _axes(figure, 111)
    shown = axes.hexbin(x, y, gridsize=60, extent=(low, high, low, high), bins="log", cmap="cividis", mincnt=1)
    (identity,) = axes.plot([low, high], [low, high], color=INK, linewidth=1)
    slope, intercept = np.polyfit(x, y, 1) if x.std() > 0 else (float("nan"), float("nan"))
    (fit,) = axes.plot([low, high], [slope * low + intercept, slope * high + intercept], color=COLORS[1], ls="--")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(wrapped(f"reference, {units}", 3, 9), fontsize=9)
    axes.set_ylabel(wrapped(f"synthetic, {units}", 2.8, 9), fontsize=9)
    legend_below(figure, {"identity": identity, f"fit: slope {slope:.2f}": fit})
    figure.colorbar(shown, label="voxels")
    return picture(
        "voxel-density",
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
    figure = canvas(6.6, 1.2 + 0.24 * len(names) * max(len(series), 1) / 1.6)
    axes = _axes(figure, 111)
    height = 0.8 / len(series)
    positions = np.arange(len(names))
    drawn = {}
    for index, (label, values) in enumerate(series.items()):
        color = COLORS[(index - 1) % len(COLORS)] if index else MEASURED_COLOR
        places = positions + (index - (len(series) - 1) / 2) * height
        drawn[label] = axes.barh(places, values, height, color=color)
    axes.set_yticks(positions, [wrapped(name, 2.2, 9, lines=2) for name in names], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(wrapped(units, 4, 9), fontsize=9)
    legend_below(figure, drawn)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{label} {values[index]:.3g}" for label, values in series.items())
        for index, name in enumerate(names)
    )
    return picture("region-means", "Mean of each meta-region, left and right together.", f"Bars. {told}.", figure)


def bland_altman(
    synthetic: np.ndarray, measured: np.ndarray, title: str, units: str, *, name: str = "bland-altman"
) -> Picture:
    """Difference against mean, one point per patient, with bias and limits of agreement."""
    middle, difference = (synthetic + measured) / 2, synthetic - measured
    bias, spread = float(difference.mean()), float(difference.std(ddof=1))
    limits = (bias - 1.96 * spread, bias + 1.96 * spread)
    figure = canvas(6.0, 3.6)
    axes = _axes(figure, 111)
    axes.scatter(middle, difference, s=26, color=COLORS[0], edgecolor=PAPER, linewidth=0.5)
    axes.axhline(0, color=INK, linewidth=0.8)
    lines = {}
    for value, style, label in (
        (limits[1], "--", "+1.96 SD"), (bias, "-", "bias"), (limits[0], ":", "\N{MINUS SIGN}1.96 SD"),
    ):  # fmt: skip
        lines[f"{label}: {_signed(value)}"] = axes.axhline(value, color=COLORS[1], linestyle=style, linewidth=1.4)
    axes.set_title(wrapped(title, 5.4, 10, lines=2), fontsize=10)
    axes.set_xlabel(wrapped(f"mean of synthetic and measured, {units}", 4.8, 9), fontsize=9)
    axes.set_ylabel(wrapped(f"synthetic \N{MINUS SIGN} measured, {units}", 2.6, 9), fontsize=9)
    legend_below(figure, lines)
    return picture(
        name,
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
    from matplotlib.lines import Line2D

    figure = canvas(5.2, 4.2 + 0.2 * len(points))
    axes = _axes(figure, 111)
    values = np.concatenate([value for pair in points.values() for value in pair])
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low or 1)
    ends = np.array([low - margin, high + margin])
    lines: dict[str, Any] = {"identity": axes.plot(ends, ends, color=INK, linewidth=1)[0]}
    slopes = {}
    for index, (name, (made, measured)) in enumerate(points.items()):
        color, marker = COLORS[index % len(COLORS)], "os^Dv"[index % 5]
        axes.scatter(measured, made, s=24, color=color, marker=marker, edgecolor=PAPER, linewidth=0.5)
        slope, intercept = np.polyfit(measured, made, 1) if measured.std() > 0 else (float("nan"), float("nan"))
        slopes[name] = slope
        axes.plot(ends, slope * ends + intercept, color=color, linestyle="--")
        lines[f"slope {slope:.2f}: {name}"] = Line2D([], [], color=color, linestyle="--", marker=marker, markersize=4)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel(wrapped(f"measured, {units}", 3.6, 9), fontsize=9)
    axes.set_ylabel(wrapped(f"synthetic, {units}", 2.8, 9), fontsize=9)
    axes.set_title(wrapped(title, 4.4, 10, lines=2), fontsize=10)
    legend_below(figure, lines)
    told = ", ".join(f"{name} has slope {slope:.2f}" for name, slope in slopes.items())
    return picture(
        "identity", f"{title}: one point per patient, with the line of identity.", f"Scatter plot; {told}.", figure
    )


def forest(summary: Mapping[str, Mapping[str, Mapping[str, float]]], metrics: Sequence[str], ideal: Mapping[str, float]
           ) -> Picture:  # fmt: skip
    """Means with intervals, a panel per metric, a row per predictor."""
    predictors = list(summary)
    columns = 2 if len(predictors) <= _MOST_IN_TWO_COLUMNS else 4
    rows = -(-len(metrics) // columns)
    figure = canvas(PAGE_WIDTH, (0.75 + 0.22 * len(predictors)) * rows + 0.3)
    figure.set_layout_engine("constrained", h_pad=0.08)
    labels = short_names(predictors, 1.7, 8, lines=1)
    for place, metric in enumerate(metrics):
        axes = _axes(figure, rows, columns, place + 1)
        for index, name in enumerate(predictors):
            found = summary[name][metric]
            if np.isfinite(found["low"]):
                axes.plot([found["low"], found["high"]], [index, index], color=COLORS[index % len(COLORS)], lw=2)
            axes.plot(found["mean"], index, "o", color=COLORS[index % len(COLORS)], ms=5)
        if np.isfinite(ideal[metric]) and ideal[metric] == 1.0 and "ratio" in metric:
            axes.axvline(1.0, color=INK, linewidth=0.8)
        _few_ticks(axes, [summary[name][metric]["mean"] for name in predictors], ratio="ratio" in metric)
        shown = [labels[name] for name in predictors] if place % columns == 0 else []
        axes.set_yticks(range(len(predictors)), shown, fontsize=8)
        axes.set_ylim(len(predictors) - 0.5, -0.5)
        axes.set_title(metric, fontsize=9, pad=4)
        axes.tick_params(axis="x", labelsize=7)
    told = "; ".join(
        f"{metric}: " + ", ".join(f"{name} {summary[name][metric]['mean']:.3g}" for name in predictors)
        for metric in metrics
    )
    return picture(
        "metrics", "Means over patients, with 95 % intervals where there are patients enough.",
        f"Dots with intervals. {told}.", figure,
    )  # fmt: skip


def _few_ticks(axes: Axes, values: Sequence[float], *, ratio: bool) -> None:
    """At most four ticks; ratios that differ by a factor above ten on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    known = [value for value in values if np.isfinite(value)]
    if ratio and known and 0 < 10 * min(known) < max(known):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))


def violins(values: np.ndarray, groups: Mapping[str, Sequence[str | None]], metric: str) -> Picture:
    """A metric by subgroup, a panel per variable, each patient a dot."""
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure = canvas(max(4.0, PAGE_WIDTH / 3 * columns), 2.5 * lines)
    panel = figure.get_size_inches()[0] / columns - 0.6
    told = []
    for place, (variable, members) in enumerate(groups.items()):
        axes = _axes(figure, lines, columns, place + 1)
        names = sorted({member for member in members if member is not None})
        for index, name in enumerate(names):
            inside = values[[member == name for member in members]]
            inside = inside[np.isfinite(inside)]
            color = COLORS[index % len(COLORS)]
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
        broad = panel / max(len(names), 1) - 0.04
        axes.set_xticks(range(len(names)), [wrapped(name, broad, 7, lines=3) for name in names], fontsize=7)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_title(wrapped(variable, panel, 9, lines=2), fontsize=9)
    figure.supylabel(wrapped(metric, 2.3 * lines, 9, lines=2), fontsize=9)
    return picture(
        "subgroups", f"{metric} by subgroup: dots are patients, the bar is the median.",
        f"Violins. {'; '.join(told)}.", figure,
    )  # fmt: skip


def calibration_curves(found: Mapping[str, Mapping[str, Any]]) -> Picture:
    """Coverage against nominal level, and sparsification, per predictor."""
    figure = canvas(PAGE_WIDTH, 3.3 + 0.2 * len(found))
    left, right = _axes(figure, 121), _axes(figure, 122)
    left.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    told, lines = [], {}
    for index, (name, values) in enumerate(found.items()):
        color = COLORS[index % len(COLORS)]
        (lines[name],) = left.plot(values["levels"], values["coverage"], "o-", color=color)
        right.plot(values["fractions"], values["sparsification"], color=color)
        right.plot(values["fractions"], values["oracle"], color=color, linestyle=":")
        told.append(f"{name} covers {100 * values['coverage'][-1]:.0f} % at {100 * values['levels'][-1]:.0f} %")
    left.set_xlabel("nominal level", fontsize=9)
    left.set_ylabel("coverage", fontsize=9)
    right.set_xlabel("share removed, most uncertain first", fontsize=9)
    right.set_ylabel("MAE of the rest", fontsize=9)
    legend_below(figure, lines)
    return picture(
        "calibration",
        "Left: share of voxels whose measured value lies in the interval; on the line is calibrated, below it is "
        "overconfident. Right: the error should fall as uncertain voxels are removed; dotted is the best possible.",
        f"Calibration curves; {'; '.join(told)}.",
        figure,
    )
