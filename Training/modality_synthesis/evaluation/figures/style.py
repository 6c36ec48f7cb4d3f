"""What all figures share: page, ink, colors of values and of differences, and writing the files.

Uptake (SUVR) is shown in inferno, everything else in gray, in the window that the model's card states; differences are
synthetic minus real in one diverging map, white at zero, with limits symmetric around it: the one of the panels too
(`modality_synthesis.difference_colors`).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.difference_colors import difference_table
from modality_synthesis.evaluation.data_range import window_width
from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.volumes import Mark, atomic_output, check_outputs, check_writable
from modality_synthesis.volumes.marks import statement, statement_with_hashes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

ENDINGS = (".png", ".pdf", ".svg")
# What an A4 or letter page holds beside its margins and a caption, inches.
PAGE_WIDTH, PAGE_HEIGHT = 7.0, 9.0
DPI = 220  # at the printed size
# Told apart by people with any color vision (Okabe and Ito).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a", "#000000")
PAPER, INK, GRID = "#ffffff", "#1b1b1f", "#d9d9de"
# What is measured, beside which the predictors have the palette's colors.
MEASURED_COLOR = "#8a8a8a"
SMALL, NORMAL, LARGE = 8, 9, 12

UPTAKE, ANATOMY = "inferno", "gray"
Z_SCORE = "magma"
DARK_PAPER, DARK_INK, DARK_NOTE = "#101114", "#e8e8ea", "#f2b84b"  # of pictures of volumes that stand alone
# A document's fonts are embedded as fonts, an SVG's text stays text, and the same figure gives the same bytes.
_FILE_FORMAT = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "modality-synthesis"}
_DATES = {"svg": "Date", "pdf": "CreationDate"}
_REPORT_MARKS: ContextVar[tuple[Mark | None, ...]] = ContextVar("marks of a report's pictures", default=())
_MARK_LINE = 0.17  # inches
_LIMITS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


# Colors


def value_colors(quantity: str) -> str:
    """matplotlib's map for values of a quantity (`SUVR`, `HU`, `signal`)."""
    return UPTAKE if quantity == "SUVR" else ANATOMY


@lru_cache(maxsize=1)
def difference_colors() -> Colormap:
    """matplotlib's map for signed differences, exactly white at zero."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(difference_table(), "difference")


def value_window(stated: Sequence[float] | None, values: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of the values' colors.

    Args:
        stated: the display window of the card or sidecar, which binds.
        values: of the real volume inside the mask, where nothing is stated; nearly all of them are within.
    """
    if stated and window_width(stated) is not None:
        return float(stated[0]), float(stated[1])
    low, high = (float(value) for value in np.percentile(values, [0.5, 99.8])) if values.size else (0.0, 1.0)
    low = min(low, 0.0)
    return low, high if high > low else low + 1


def difference_limit(difference: np.ndarray, window: tuple[float, float]) -> float:
    """End of the differences' colors, both ways: a round share of the window, beyond nearly all (99.5 %) of them."""
    width = window[1] - window[0]
    most = float(np.percentile(np.abs(difference), 99.5)) if difference.size else 0.0
    return width * next((share for share in _LIMITS if share * width >= most), _LIMITS[-1])


# Paper


def new_figure(width: float, height: float, *, paper: str = PAPER, layout: str | None = None) -> Figure:
    """An empty figure of so many inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=paper, layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


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
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)


# Files


def check_figure_path(path: str | Path, inputs: Iterable[object] = ()) -> None:
    """Refuse a place or a kind of file that cannot be written, or that is an input, before any work is done."""
    check_outputs([path], inputs=inputs)
    check_writable(path, endings=ENDINGS)


def save_figure(figure: Figure, path: str | Path, marks: Iterable[Mark | None], *, line: bool = True) -> None:
    """Write PNG, PDF or SVG, by the file's ending; complete or not at all.

    Args:
        figure: to be written.
        path: of the file.
        marks: of the volumes that it shows (`figure_bytes`); none of a figure that shows measured data only.
        line: False of a figure that names the model in its own words.
    """
    path = Path(path)
    with atomic_output(path) as temporary:
        temporary.write_bytes(figure_bytes(figure, path.suffix.lower().lstrip("."), marks, line=line))


def figure_bytes(figure: Figure, kind: str, marks: Iterable[Mark | None] = (), *, line: bool = True) -> bytes:
    """A figure as a `png`, `pdf` or `svg` file; the same figure gives the same bytes.

    What shows synthetic data says so in the file's metadata, and in a line below the picture.
    """
    marks = list(marks)
    stream = io.BytesIO()
    metadata: dict[str, str | None] = {}
    if kind in _DATES:
        metadata[_DATES[kind]] = None
    without_mathematics(figure)
    told = statement_with_hashes(marks)
    if told:
        metadata["Subject" if kind == "pdf" else "Description"] = told
    with file_format(), _marked(figure, statement(marks) if line else "") as page:
        figure.savefig(
            stream, format=kind, dpi=DPI, facecolor=figure.get_facecolor(), bbox_inches=page, metadata=metadata
        )
    return stream.getvalue()


def without_mathematics(figure: Figure) -> None:
    """Show `$` in a unit or a name as it is: matplotlib sets what stands between two of them as a formula, and fails
    where it is none."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if "$" in text.get_text():
            text.set_text(text.get_text().replace(r"\$", "$"))
            text.set_parse_math(False)


@contextmanager
def pictures_of(marks: Iterable[Mark | None]) -> Iterator[None]:
    """Pictures of a report that are drawn inside carry these marks in their files; the report itself says the rest."""
    token = _REPORT_MARKS.set(tuple(marks))
    try:
        yield
    finally:
        _REPORT_MARKS.reset(token)


def report_picture_bytes(figure: Figure, kind: str) -> bytes:
    """`figure_bytes` of a report's picture (`pictures_of`)."""
    return figure_bytes(figure, kind, _REPORT_MARKS.get(), line=False)


@contextmanager
def _marked(figure: Figure, told: str) -> Iterator[Bbox | None]:
    """The line below a figure, which grows by it; yields the grown page, None without a line."""
    if not told:
        yield None
        return
    from matplotlib.colors import to_rgb
    from matplotlib.transforms import Bbox

    width, height = figure.get_size_inches()
    lines = wrapped(told, width - 0.1, SMALL - 1).split("\n")
    added = _MARK_LINE * len(lines)
    dark = sum(to_rgb(figure.get_facecolor())) < 1.5
    text = figure.text(
        0.05 / width, -0.03 / height, "\n".join(lines), fontsize=SMALL - 1, ha="left", va="top",
        color=DARK_NOTE if dark else INK,
    )  # fmt: skip
    text.set_in_layout(False)
    try:
        yield Bbox([[0, -added], [width, height]])
    finally:
        text.remove()


@contextmanager
def file_format() -> Iterator[None]:
    """matplotlib's settings for fonts in documents."""
    from matplotlib import rc_context

    with rc_context(_FILE_FORMAT), warnings.catch_warnings():
        # Names in scripts that the figures' font lacks are drawn as boxes; the files' own names say them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
