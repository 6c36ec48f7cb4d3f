"""Texts in figures: measured, so that a long name is wrapped or shortened instead of running off the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_POINTS_PER_INCH = 72
_HINTED = 1.04  # letters on a raster are up to so much broader than their outlines


@lru_cache(maxsize=4096)
def text_width(text: str, points: float) -> float:
    """Width of a line of text in the figures' font, inches."""
    import warnings

    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sign that the font lacks is drawn as a box of about the same width
        width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    return _HINTED * width / _POINTS_PER_INCH


def wrapped(text: str, inches: float, points: float, *, lines: int | None = None) -> str:
    """A text on several lines, none broader than `inches`; words that are broader themselves are broken.

    Args:
        text: what to wrap; line breaks in it stay.
        inches: to fit into.
        points: size of the font.
        lines: at most so many; the middle of what is longer becomes an ellipsis.
    """
    found = _lines(text, inches, points)
    if lines is not None and len(found) > lines:
        kept = len(text)
        while kept > 2 and len(found) > lines:
            kept = min(kept - 1, int(0.97 * kept))
            head = (kept + 1) // 2
            found = _lines(
                text[:head].rstrip() + _ELLIPSIS + text[len(text) - (kept - head) :].lstrip(), inches, points
            )
    return plain_text("\n".join(found[:lines]))


def _lines(text: str, inches: float, points: float) -> list[str]:
    found: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}".strip()
            if text_width(joined, points) <= inches:
                line = joined
                continue
            if line:
                found.append(line)
            line = word
            while text_width(line, points) > inches and len(line) > 1:
                cut = next((n for n in range(len(line) - 1, 1, -1) if text_width(line[:n], points) <= inches), 1)
                joint = max(line.rfind(sign, 0, cut) + 1 for sign in "-_/.")
                cut = joint if 2 * joint > cut else cut
                found.append(line[:cut])
                line = line[cut:]
        found.append(line)
    return found


def plain_text(text: str) -> str:
    """The same text for matplotlib, which would take what stands between two dollar signs for a formula."""
    return text.replace("$", r"\$")


def short_names(names: Iterable[str], inches: float, points: float, *, lines: int = 2) -> dict[str, str]:
    """Name -> label of at most so many lines, all different; the full names belong into a table (`shortened`)."""
    labels: dict[str, str] = {}
    for name in names:
        label = wrapped(name, inches, points, lines=lines)
        number = 2
        while label in labels.values():
            label = wrapped(f"({number}) {name}", inches, points, lines=lines)
            number += 1
        labels[name] = label
    return labels


def shortened(labels: Mapping[str, str]) -> dict[str, str]:
    """Label in one line -> full name, of those names that lost something."""
    lost = {label.replace("\n", " "): name for name, label in labels.items()}
    return {label: name for label, name in lost.items() if label != name and (_ELLIPSIS in label or label[0] == "(")}


def legend_below(figure: Figure, handles: Mapping[str, Any], points: float = 8) -> None:
    """One legend under all axes of a figure with constrained layout, in as many columns as its width holds.

    Args:
        figure: with the axes.
        handles: name -> what stands for it.
        points: size of the font.
    """
    width = figure.get_size_inches()[0] - 0.3
    key = 0.6  # of the sign and the distance to the next column, inches
    labels = short_names(handles, width - key, points)
    broadest = max(text_width(line, points) for label in labels.values() for line in label.split("\n"))
    columns = max(1, min(len(handles), int(width / (broadest + key))))
    figure.legend(
        list(handles.values()), [labels[name] for name in handles], loc="outside lower center", ncols=columns,
        frameon=False, fontsize=points,
    )  # fmt: skip
