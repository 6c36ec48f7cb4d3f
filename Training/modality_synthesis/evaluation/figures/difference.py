"""Real, synthetic, and their difference in three planes, each with its color bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.comparison import Comparison, compare
from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.planes import PLANES, center_of, cut, display_volume
from modality_synthesis.evaluation.figures.style import (
    NORMAL,
    PAGE_WIDTH,
    SMALL,
    bare,
    check_figure_path,
    difference_colors,
    difference_limit,
    new_figure,
    save_figure,
    value_colors,
    value_window,
)
from modality_synthesis.evaluation.signal import sidecar_record
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import Mark, array, image_like

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panels:
    """What the figure shows, (z, y, x) in 1 mm voxels along the body's axes (`planes.oriented`).

    Attributes:
        reference: as it was compared: multiplied by the factor of the signal matching, where there is one.
        synthetic: as it is.
        difference: synthetic - reference; 0 outside a given mask, and where nothing was synthesized.
        inside: where the figures were measured.
        units: of all three.
        comparison: with the figures and the factor.
    """

    reference: np.ndarray
    synthetic: np.ndarray
    difference: np.ndarray
    inside: np.ndarray
    units: str
    comparison: Comparison

    @property
    def record(self) -> Mapping[str, Any]:
        """What the synthetic volume's sidecar says; empty without one."""
        return (self.comparison.inputs.get("synthetic") or {}).get("provenance") or {}

    @property
    def reference_name(self) -> str:
        """Of the reference's row: it says by what the real volume was multiplied."""
        factor = self.comparison.signal_factor
        return "real" if factor is None else f"real × {factor:.3g}"


def difference_panels(
    synthetic: str | Path,
    reference: str | Path,
    *,
    mask: str | Path | None = None,
    match_signal: bool | None = None,
    units: str = "",
    reporter: Reporter | None = None,
) -> Panels:
    """Compare two volumes as `compare` does and return the volumes it compared.

    Args:
        synthetic: volume.
        reference: real volume; another grid is resampled.
        mask: the difference is shown inside it.
        match_signal: as in `compare`.
        units: of the volumes; default what the synthetic volume's sidecar says.
        reporter: receives progress and notices.

    Raises:
        BadInputError: volumes that cannot be compared.
    """
    result = compare(synthetic, reference, mask=mask, match_signal=match_signal, reporter=reporter)
    error = result.difference
    if mask is not None:
        error = image_like(array(error) * result.inside, error)
    inside = image_like(result.inside.astype(np.float32), result.reference)
    return Panels(
        reference=display_volume(result.reference),
        synthetic=display_volume(result.synthetic),
        difference=display_volume(error),
        inside=display_volume(inside) > 0.5,
        units=units or _units(synthetic, result),
        comparison=result,
    )


def draw_difference(
    synthetic: str | Path,
    reference: str | Path,
    path: str | Path,
    *,
    mask: str | Path | None = None,
    match_signal: bool | None = None,
    limit: float | None = None,
    units: str = "",
    reporter: Reporter | None = None,
) -> None:
    """Draw a synthetic volume beside the real one and their signed difference, all in the same units.

    Args:
        synthetic: volume.
        reference: real volume; another grid is resampled. An MRI is shown in the synthetic volume's signal scale.
        path: .png, .pdf or .svg to write.
        mask: the difference is shown inside it.
        match_signal: as in `compare`.
        limit: largest difference of the color scale; default a round share of the values' window
            beyond nearly all of them (`style.difference_limit`).
        units: for the color bars; default what the synthetic volume's sidecar says.
        reporter: receives progress and notices.

    Raises:
        BadInputError: volumes that cannot be compared, or a limit that is not positive.
    """
    check_figure_path(path, [synthetic, reference, mask])
    if limit is not None and limit <= 0:
        raise BadInputError("The limit of the difference's colors must be above 0.")
    panels = difference_panels(
        synthetic, reference, mask=mask, match_signal=match_signal, units=units, reporter=reporter
    )
    # What is given as synthetic is shown as synthetic, also when it does not say so itself.
    marks = [panels.comparison.mark or Mark(), panels.comparison.reference_mark]
    save_figure(difference_figure(panels, Path(synthetic).name, limit=limit), path, marks)


def difference_figure(panels: Panels, name: str, *, limit: float | None = None) -> Figure:
    """Three rows (real, synthetic, difference) of three planes; `name` is the synthetic volume's."""
    center = center_of(panels.inside)
    record = panels.record
    window = value_window(record.get("DisplayWindow"), panels.reference[panels.inside])
    largest = limit or difference_limit(panels.difference[panels.inside], window)
    colors = value_colors(str(record.get("Quantity", "")))
    rows: tuple[tuple[str, np.ndarray, Any, tuple[float, float]], ...] = (
        (panels.reference_name, panels.reference, colors, window),
        ("synthetic", panels.synthetic, colors, window),
        (f"synthetic − {panels.reference_name}", panels.difference, difference_colors(), (-largest, largest)),
    )
    shapes = [cut(panels.reference, plane, center).shape for plane in PLANES]
    title = _title(name, panels)
    across = sum(shape[1] for shape in shapes)
    above = 0.17 * len(title) + 0.3  # inches: the title's lines, the planes' names
    figure = new_figure(PAGE_WIDTH, 0.8 * PAGE_WIDTH * 3 * max(shape[0] for shape in shapes) / across + above)
    grid = figure.add_gridspec(
        3, 4, width_ratios=[*(shape[1] for shape in shapes), 0.04 * across],
        left=0.05, right=0.86, bottom=0.02, top=1 - above / figure.get_size_inches()[1], wspace=0.04, hspace=0.05,
    )  # fmt: skip
    for row, (label, volume, table, (least, greatest)) in enumerate(rows):
        for column, plane in enumerate(PLANES):
            axes = figure.add_subplot(grid[row, column])
            shown = axes.imshow(
                cut(volume, plane, center), cmap=table, vmin=least, vmax=greatest, interpolation="bilinear"
            )
            bare(axes)
            if row == 0:
                axes.set_title(plane, fontsize=NORMAL)
            if column == 0:
                axes.set_ylabel(label, fontsize=NORMAL)
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[row, 3]))
        bar.ax.tick_params(labelsize=SMALL)
        bar.set_label(wrapped(panels.units, 1.5, SMALL, lines=2), fontsize=SMALL)
    figure.suptitle("\n".join(title), fontsize=SMALL, x=0.05, y=0.99, ha="left", va="top")
    return figure


def _units(synthetic: str | Path, result: Comparison) -> str:
    named = str(sidecar_record(synthetic).get("Units") or "")
    if result.signal_factor is not None:
        return f"signal, {named}" if named else "signal as synthesized"
    return named if result.unmatched is None and named else "own units"


def _title(name: str, panels: Panels) -> list[str]:
    """Lines that fit the figure's width."""
    result = panels.comparison
    told = (
        f"{name}: MAE {result.metrics['MAE']:.3g}, RMSE {result.metrics['RMSE']:.3g} ({panels.units}), inside "
        f"{result.mask_source}. "
    )
    if result.signal_factor is not None:
        told += (
            f"The real volume was multiplied by {result.signal_factor:.4g} to the synthetic one's signal: least "
            "absolute difference there. "
        )
    if result.unmatched is not None:
        told += "The signals could not be matched. "
    return wrapped(told + "The person's right is on the left.", 0.9 * PAGE_WIDTH, SMALL).split("\n")
