"""The picture of a synthesis: source, synthetic volume and both fused, in three planes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.evaluation.figures.labels import plain_text, wrapped
from modality_synthesis.evaluation.figures.planes import PLANES, center_of, cut
from modality_synthesis.evaluation.figures.style import (
    DARK_INK,
    DARK_NOTE,
    DARK_PAPER,
    PAGE_WIDTH,
    bare,
    new_figure,
    save_figure,
    value_colors,
)
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.volumes import bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from modality_synthesis.synthesis import Synthesis

BRAIN_WINDOW_HU = (0.0, 80.0)
MARGIN_MM = 26  # the display volumes have 1 mm voxels


def save_preview(synthesis: Synthesis, path: str | Path) -> None:
    """Write a PNG with three rows (source, synthetic, fused) and three planes through the brain's center.

    The picture says that the volume is synthetic, which model made it, and the units of its colors.
    """
    from matplotlib import cm, colors

    card = synthesis.package.card
    source, target, brain = _display_volumes(synthesis)
    center = center_of(brain)
    low, high = card.output.display_window
    scale = colors.Normalize(low, high)
    target_map = value_colors(card.output.quantity)
    gray_low, gray_high = _gray_window(source[brain], card.route.source)

    figure = new_figure(PAGE_WIDTH, 1.07 * PAGE_WIDTH, paper=DARK_PAPER)
    widths = [cut(source, plane, center).shape[1] for plane in PLANES]
    grid = figure.add_gridspec(
        3, 4, width_ratios=[*widths, 0.07 * sum(widths)], left=0.06, right=0.89, top=0.89, bottom=0.06,
        hspace=0.03, wspace=0.03,
    )  # fmt: skip
    rows = (
        f"{card.route.source} MRI" if "w" in card.route.source else card.route.source,
        "synthetic",
        "fused",
    )
    for row, title in enumerate(rows):
        for column, plane in enumerate(PLANES):
            axes = figure.add_subplot(grid[row, column])
            below, above = cut(source, plane, center), cut(target, plane, center)
            if row != 1:
                axes.imshow(below, cmap="gray", vmin=gray_low, vmax=gray_high, interpolation="bilinear")
            if row == 1:
                axes.imshow(above, cmap=target_map, norm=scale, interpolation="bilinear")
            if row == 2:
                # Low uptake stays transparent, so that the anatomy below it can be read.
                opacity = 0.75 * np.clip((above - low) / (high - low) * 2.0 - 0.4, 0, 1)
                axes.imshow(above, cmap=target_map, norm=scale, alpha=opacity, interpolation="bilinear")
            _label(axes, plane if row == 0 else "", title if column == 0 else "")
    bar = figure.colorbar(cm.ScalarMappable(scale, target_map), cax=figure.add_subplot(grid[1:, 3]))
    bar.set_label(wrapped(_units(synthesis), 3.6, 9, lines=2), color=DARK_INK, fontsize=9)
    bar.ax.tick_params(colors=DARK_INK, labelsize=7)
    kind = "demonstration model" if card.is_demonstration else "research model"
    head = f"{card.route.target}, synthetic \N{EN DASH} {kind}"
    figure.text(0.06, 0.955, plain_text(head), color=DARK_NOTE, fontsize=13, weight="bold")
    trained = ", trained on simulated data" if card.training.simulated else ""
    told = f"{card.id} {card.version}{trained}. Research use only, not for diagnosis."
    figure.text(0.06, 0.947, wrapped(told, 6.3, 8, lines=2), color=DARK_INK, fontsize=8, va="top")
    sides = "Axial and coronal views: the person's right is on the left."
    figure.text(0.06, 0.025, sides, color="#9a9aa2", fontsize=7)
    save_figure(figure, path, [card.mark], line=False)


def _display_volumes(synthesis: Synthesis) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and brain as (z, y, x) arrays of 1 mm voxels, axes Left-Posterior-Superior."""
    prepared = synthesis.prepared
    source = resample_isotropic(sitk.DICOMOrient(sitk.Cast(synthesis.source, sitk.sitkFloat32), "LPS"), 1.0)
    image = synthesis.image
    if synthesis.sidecar["Parameters"]["space"] == "template":  # type: ignore[index]
        image = prepared.to_native_grid(image)
    target = sitk.Resample(image, source, sitk.Transform(), sitk.sitkLinear, 0.0)
    if prepared.native_mask is None:
        brain = source > 0
    else:
        brain = sitk.Resample(prepared.native_mask, source, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    arrays = [sitk.GetArrayFromImage(volume) for volume in (source, target, brain)]
    # A neck or empty air would leave the brain small in the picture.
    around = tuple(
        slice(max(side.start - MARGIN_MM, 0), side.stop - 1 + MARGIN_MM) for side in bounding_box(arrays[2] > 0)
    )
    return arrays[0][around], arrays[1][around], arrays[2][around] > 0


def _gray_window(values: np.ndarray, modality: str) -> tuple[float, float]:
    """Lower and upper end of the source's grays, from its values in the brain."""
    if modality == "CT":
        return BRAIN_WINDOW_HU
    return 0.0, 1.08 * float(np.percentile(values, 99.8))


def _label(axes: Axes, top: str, side: str) -> None:
    bare(axes)
    axes.set_facecolor("black")
    axes.set_anchor("C")
    if top:
        axes.set_title(top, color=DARK_INK, fontsize=9, pad=4)
    if side:
        axes.set_ylabel(side, color=DARK_INK, fontsize=9)


def _units(synthesis: Synthesis) -> str:
    output = synthesis.package.card.output
    reference = f" (reference: {output.reference_region})" if output.reference_region else ""
    return f"{output.quantity}{reference}" if output.quantity == "SUVR" else output.units
