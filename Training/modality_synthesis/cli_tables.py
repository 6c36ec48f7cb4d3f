"""What commands print about their results for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis.environment import shown
from modality_synthesis.evaluation.document import interval
from modality_synthesis.evaluation.report import best_rows
from modality_synthesis.evaluation.verdict import verdicts

if TYPE_CHECKING:
    from modality_synthesis.evaluation.comparison import Comparison
    from modality_synthesis.evaluation.study import Evaluation

_SHOWN = ("MAE", "PSNR", "SSIM", "NCC", "Tenengrad ratio")
_BROADEST = 40


def print_comparison(result: Comparison) -> None:
    """Figures inside the mask and over the whole volume."""
    print(_ascii(result.statement))
    print(f"Inside the mask ({result.mask_source}); data range {result.data_range:g}, {result.data_range_source}:")
    for name, value in result.metrics.items():
        print(f"  {name:<20} {value:>10.4f}   whole volume {result.whole_volume[name]:>10.4f}")
    if result.signal_factor is not None:
        print(f"The reference was multiplied by {result.signal_factor:.4g}: least absolute difference in the mask.")
    if result.alignment is not None:
        print(
            f"The reference was moved by {result.alignment.shift_mm:.1f} mm and "
            f"{result.alignment.rotation_degrees:.1f} degrees; correlation {result.alignment.correlation[1]:.2f}."
        )


def print_evaluation(result: Evaluation) -> None:
    """The verdict, then the means: what is judged on top and marked, the best of each column with a star."""
    for verdict in verdicts(result):
        print(_ascii(verdict.text))
    summary = result.summary()
    names = list(dict.fromkeys((*result.contenders, *summary)))
    columns = []
    for metric in _SHOWN:
        best = best_rows([summary[name][metric]["mean"] for name in names], result.metrics[metric])
        figures = (summary[name][metric] for name in names)
        texts = [_ascii(interval(one["mean"], one["low"], one["high"])) for one in figures]
        columns.append([metric, *(text + ("*" if row in best else " ") for row, text in enumerate(texts))])
    marked = [f"{'> ' if name in result.contenders else '  '}{_short(name)}" for name in names]
    columns.insert(0, ["", *marked])
    widths = [max(map(len, column)) for column in columns]
    print(
        f"{len(set(result.patients))} patients, {len(result.subjects)} visits, in the brain; PSNR and SSIM with data "
        f"range {result.data_range:g}; mean [95 % interval]; > is judged, * is the best"
    )
    for row in zip(*columns, strict=True):
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))


def _short(name: str) -> str:
    name = shown(name)
    return name if len(name) <= _BROADEST else f"{name[: _BROADEST - 15]}...{name[-12:]}"


def _ascii(text: str) -> str:
    """For terminals and logs of any encoding."""
    text = shown(text)
    signs = {"\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " ", "\N{MULTIPLICATION SIGN}": "x", "\N{EN DASH}": "-"}
    for sign, plain in signs.items():
        text = text.replace(sign, plain)
    return text.replace("\N{INFINITY}", "inf")
