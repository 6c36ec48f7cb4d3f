"""Real, synthetic, and their difference in three planes, each with its color bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.comparison import compare
from modality_synthesis.evaluation.figures.planes import PLANES, center_of, cut, display_volume
from modality_synthesis.evaluation.figures.style import NORMAL, SMALL, bare, check_figure_path, new_figure, save_figure
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, image_like, read_image, resample_like


def draw_difference(
    synthetic: str | Path,
    reference: str | Path,
    path: str | Path,
    *,
    mask: str | Path | None = None,
    limit: float | None = None,
    units: str = "",
    reporter: Reporter | None = None,
) -> None:
    """Draw a synthetic volume beside the real one and their signed difference.

    Args:
        synthetic: volume.
        reference: real volume, same units; another grid is resampled.
        path: .png, .pdf or .svg to write.
        mask: the difference is shown inside it.
        limit: largest difference of the color scale; default the 99th percentile of its magnitude.
        units: for the color bars.
        reporter: receives progress and notices.

    Raises:
        BadInputError: volumes that cannot be compared, or a limit that is not positive.
    """
    reporter = reporter or Reporter()
    check_figure_path(path)
    if limit is not None and limit <= 0:
        raise BadInputError("The limit of the difference's colors must be above 0.")
    real = read_image(reference)
    result = compare(synthetic, real, mask=mask, reporter=reporter)
    inside = real > 0 if mask is None else resample_like(read_image(mask), real, interpolator="nearest") > 0.5
    error = result.difference
    if mask is not None:
        error = image_like(array(error) * array(inside), error)
    made = image_like(array(real) + array(result.difference), real)
    volumes = [display_volume(image) for image in (real, made, error)]
    brain = display_volume(sitk.Cast(inside, sitk.sitkFloat32)) > 0.5
    center = center_of(brain)
    values = volumes[0][brain]
    low, high = (float(value) for value in np.percentile(values, [0.5, 99.8]))
    largest = float(limit or np.percentile(np.abs(volumes[2][brain]), 99) or 1.0)
    rows = (
        ("real", volumes[0], "gray", (min(low, 0.0), high)),
        ("synthetic", volumes[1], "gray", (min(low, 0.0), high)),
        ("synthetic − real", volumes[2], "RdBu_r", (-largest, largest)),
    )
    shapes = [cut(volumes[0], plane, center).shape for plane in PLANES]
    figure = new_figure(8.6, 8.6 * 3 * max(shape[0] for shape in shapes) / sum(shape[1] for shape in shapes) + 0.4)
    grid = figure.add_gridspec(
        3, 4, width_ratios=[*(shape[1] for shape in shapes), 0.04 * sum(shape[1] for shape in shapes)],
        left=0.05, right=0.9, bottom=0.02, top=0.94, wspace=0.04, hspace=0.05,
    )  # fmt: skip
    for row, (name, volume, colors, (least, greatest)) in enumerate(rows):
        for column, plane in enumerate(PLANES):
            axes = figure.add_subplot(grid[row, column])
            shown = axes.imshow(
                cut(volume, plane, center), cmap=colors, vmin=least, vmax=greatest, interpolation="bilinear"
            )
            bare(axes)
            if row == 0:
                axes.set_title(plane, fontsize=NORMAL)
            if column == 0:
                axes.set_ylabel(name, fontsize=NORMAL)
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[row, 3]))
        bar.ax.tick_params(labelsize=SMALL)
        if units:
            bar.set_label(units, fontsize=SMALL)
    figures = result.metrics
    figure.suptitle(
        f"{Path(synthetic).name}: MAE {figures['MAE']:.3g}, RMSE {figures['RMSE']:.3g} inside the mask "
        f"({result.mask_source}); the person's right is on the left",
        fontsize=SMALL, x=0.05, y=0.985, ha="left",
    )  # fmt: skip
    save_figure(figure, path)
