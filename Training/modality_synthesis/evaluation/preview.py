"""The picture of a synthesis: source, synthetic volume and both fused, in three planes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.volumes import atomic_output, bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from modality_synthesis.synthesis import Synthesis

BACKGROUND, INK, NOTE = "#101114", "#e8e8ea", "#f2b84b"
_PLANES = ("axial", "coronal", "sagittal")
BRAIN_WINDOW_HU = (0.0, 80.0)
MARGIN_MM = 26  # the display volumes have 1 mm voxels


def save_preview(synthesis: Synthesis, path: str | Path) -> None:
    """Write a PNG with three rows (source, synthetic, fused) and three planes through the brain's center.

    The picture says that the volume is synthetic, which model made it, and the units of its colors.
    """
    from matplotlib import cm, colors
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    card = synthesis.package.card
    source, target, brain = _display_volumes(synthesis)
    planes = [_plane(axis, brain) for axis in range(3)]
    low, high = card.output.display_window
    scale = colors.Normalize(low, high)
    target_map = _colormap(card.output.colormap)
    gray_low, gray_high = _gray_window(source[brain], card.route.source)

    figure = Figure(figsize=(8.6, 9.2), dpi=110, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    widths = [_slice(source, axis, index).shape[1] for axis, index in enumerate(planes)]
    grid = figure.add_gridspec(
        3, 4, width_ratios=[*widths, 0.07 * sum(widths)], left=0.06, right=0.90, top=0.90, bottom=0.06,
        hspace=0.03, wspace=0.03,
    )  # fmt: skip
    rows = (
        f"{card.route.source} MRI" if "w" in card.route.source else card.route.source,
        "synthetic",
        "fused",
    )
    for row, title in enumerate(rows):
        for axis, index in enumerate(planes):
            axes = figure.add_subplot(grid[row, axis])
            below = _slice(source, axis, index)
            above = _slice(target, axis, index)
            if row != 1:
                axes.imshow(below, cmap="gray", vmin=gray_low, vmax=gray_high, interpolation="bilinear")
            if row == 1:
                axes.imshow(above, cmap=target_map, norm=scale, interpolation="bilinear")
            if row == 2:
                # Low uptake stays transparent, so that the anatomy below it can be read.
                opacity = 0.75 * np.clip((above - low) / (high - low) * 2.0 - 0.4, 0, 1)
                axes.imshow(above, cmap=target_map, norm=scale, alpha=opacity, interpolation="bilinear")
            _label(axes, _PLANES[axis] if row == 0 else "", title if axis == 0 else "", axis)
    bar = figure.colorbar(cm.ScalarMappable(scale, target_map), cax=figure.add_subplot(grid[1:, 3]))
    bar.set_label(_units(synthesis), color=INK, fontsize=10)
    bar.ax.tick_params(colors=INK, labelsize=8)
    kind = "demonstration model" if card.is_demonstration else "research model"
    figure.text(
        0.06,
        0.955,
        f"{card.route.target}, synthetic \N{EN DASH} {kind}",
        color=NOTE,
        fontsize=15,
        weight="bold",
    )
    trained = ", trained on simulated data" if card.training.simulated else ""
    figure.text(
        0.06,
        0.925,
        f"{card.id} {card.version}{trained}. Research use only, not for diagnosis.",
        color=INK,
        fontsize=9,
    )
    figure.text(
        0.06,
        0.025,
        "Axial and coronal views: the person's right is on the left.",
        color="#9a9aa2",
        fontsize=8,
    )
    with atomic_output(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=BACKGROUND)


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


def _plane(axis: int, brain: np.ndarray) -> int:
    """The slice index of a plane: through the middle of the brain, the axial one at the height of the ventricles."""
    array_axis = axis  # z for axial, y for coronal, x for sagittal
    hits = np.flatnonzero(brain.any(axis=tuple(other for other in range(3) if other != array_axis)))
    share = (0.56, 0.52, 0.46)[axis]
    return int(hits[0] + share * (hits[-1] - hits[0])) if hits.size else brain.shape[array_axis] // 2


def _slice(volume: np.ndarray, axis: int, index: int) -> np.ndarray:
    plane = np.take(volume, index, axis=axis)
    return plane if axis == 0 else plane[::-1]


def _label(axes: Axes, top: str, side: str, column: int) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor("black")
    axes.set_anchor("C")
    if top:
        axes.set_title(top, color=INK, fontsize=10, pad=4)
    if side:
        axes.set_ylabel(side, color=INK, fontsize=11)


def _colormap(name: str | None) -> str:
    """matplotlib's name of a card's color table; Slicer's PET-Heat has no counterpart and becomes inferno."""
    known = {"Inferno", "Magma", "Plasma", "Viridis", "Cividis"}
    return "gray" if name is None else name.lower() if name in known else "inferno"


def _units(synthesis: Synthesis) -> str:
    output = synthesis.package.card.output
    reference = f" (reference: {output.reference_region})" if output.reference_region else ""
    return f"{output.quantity}{reference}" if output.quantity == "SUVR" else output.units
