"""Line profile: intensities of several volumes of one person along one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.common_grid import on_common_grid
from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.planes import oriented
from modality_synthesis.evaluation.figures.style import (
    COLORS,
    NORMAL,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    SMALL,
    bare,
    check_figure_path,
    new_figure,
    plain,
    save_figure,
)
from modality_synthesis.evaluation.signal import covered, is_signal, match_signal, with_signal
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import array, read_image, read_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Direction = Literal["left-right", "front-back"]
STEP_MM = 0.5
# Shown of a CT: brain and the skull's edge. Air and bone would leave no height for what differs in the brain.
HU_WINDOW = (-100.0, 300.0)


def draw_profile(
    volumes: Mapping[str, str | Path],
    path: str | Path,
    *,
    direction: Direction = "left-right",
    point: tuple[float, float, float] | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Draw intensities along a line through volumes that are aligned in the world, and where the line runs.

    Volumes whose names end in the same word (`T1w`, `synthetic T1w`) share a panel: they have the same units, or are
    MRI, of which the real ones are then shown in the synthetic one's signal, scaled as by `compare` (`panel_factors`).

    Args:
        volumes: name -> file, the CT first for example.
        path: .png, .pdf or .svg to write.
        direction: of the line, in the axial plane.
        point: on the line: world RAS mm, as 3D Slicer shows it; default the center of the first volume's head.
        reporter: receives notices.

    Raises:
        BadInputError: no volume, a point outside the first one, or MRI that share no signal.
    """
    check_figure_path(path, volumes.values())
    figure = profile_figure(volumes, direction=direction, point=point, reporter=reporter)
    save_figure(figure, path, [read_mark(file) for file in volumes.values()])


def profile_figure(
    volumes: Mapping[str, str | Path],
    *,
    direction: Direction = "left-right",
    point: tuple[float, float, float] | None = None,
    reporter: Reporter | None = None,
) -> Figure:
    """The figure of `draw_profile`: a slice per volume, then a diagram per panel."""
    if not volumes:
        raise BadInputError("Name at least one volume, CT=ct.nii.gz for example.")
    if direction not in ("left-right", "front-back"):
        raise BadInputError(f"Unknown direction {direction!r}. Use left-right or front-back.")
    reporter = reporter or current()
    given = {name: read_image(file, reporter=reporter) for name, file in volumes.items()}
    name, image = next(iter(given.items()))
    if point is not None and not _contains(image, (-point[0], -point[1], point[2])):
        raise BadInputError(f"The point {point} (RAS, mm) lies outside {name!r}.")
    images = {name: oriented(image) for name, image in given.items()}
    first = next(iter(images.values()))
    through = head_center(first) if point is None else (-point[0], -point[1], point[2])
    axis = 0 if direction == "left-right" else 1
    distances, line = line_points(first, through, axis)
    beside = [name for name, image in images.items() if np.isnan(sample(image, line)).all()]
    if beside:
        raise BadInputError(
            f"The line through {name!r} does not cross {beside[0]!r}: the volumes do not lie on each other. Align them."
        )

    panels = list(dict.fromkeys(name.split()[-1] for name in images))
    figure = new_figure(PAGE_WIDTH, min(2.5 + 1.45 * len(panels) + 0.6, PAGE_HEIGHT))
    height = figure.get_size_inches()[1]
    top = figure.add_gridspec(1, len(images), left=0.02, right=0.98, top=1 - 0.4 / height, bottom=1 - 2.5 / height,
                              wspace=0.05)  # fmt: skip
    for column, (name, image) in enumerate(images.items()):
        label = wrapped(name, PAGE_WIDTH / len(images) - 0.15, NORMAL, lines=2)
        _draw_slice(figure.add_subplot(top[0, column]), label, image, through, line)
    below = figure.add_gridspec(len(panels), 1, left=0.11, right=0.98, top=1 - 2.75 / height, bottom=0.5 / height,
                                hspace=0.25)  # fmt: skip
    for row, panel in enumerate(panels):
        axes = figure.add_subplot(below[row, 0])
        plain(axes)
        members = [name for name in images if name.split()[-1] == panel]
        made = next((name for name in members if is_signal(volumes[name])), None)
        factors = panel_factors({name: given[name] for name in members}, made, reporter)
        for number, name in enumerate(members):
            factor = factors.get(name, 1.0)
            told = f"{name} × {factor:.3g}" if name in factors else name
            axes.plot(distances, factor * sample(images[name], line), color=COLORS[number], linewidth=1.2,
                      label=wrapped(told, 5.5 / len(members), SMALL, lines=1))  # fmt: skip
        axes.set_xlim(distances[0], distances[-1])
        hounsfield = _is_hounsfield(images[members[0]])
        unit = ", HU" if hounsfield else f", signal of\n{made}" if factors else ""
        axes.set_ylabel(
            wrapped(panel + unit, 1.3, SMALL if factors else NORMAL, lines=3), fontsize=SMALL if factors else NORMAL
        )
        if hounsfield:
            axes.set_ylim(*HU_WINDOW)
        if len(members) > 1:
            axes.legend(fontsize=SMALL, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.95), ncols=len(members))
        axes.tick_params(labelbottom=row == len(panels) - 1)
    sides = "right to left" if axis == 0 else "front to back"
    axes.set_xlabel(f"mm from the point, the person's {sides}", fontsize=SMALL)
    return figure


def panel_factors(images: Mapping[str, sitk.Image], made: str | None, reporter: Reporter) -> dict[str, float]:
    """What the other volumes of a panel are multiplied by to have the synthetic one's signal.

    Args:
        images: of one contrast, by their names.
        made: name of the synthetic one; None where there is none, or the volumes have a unit.
        reporter: is told where a match would be meaningless.

    Returns:
        Name -> factor (`signal.match_signal`, in `compare`'s mask); without those left as they are.
    """
    factors: dict[str, float] = {}
    for name, image in images.items():
        if made is None or name == made:
            continue
        common = on_common_grid(images[made], image, register=False, brain_only=False, reporter=reporter)
        synthetic = common.synthetic
        inside = with_signal(array(image))[0] & covered(synthetic)
        factor, _ = match_signal(array(synthetic), array(image), inside, reporter)
        if factor is not None:
            factors[name] = factor
    return factors


def line_points(image: sitk.Image, through: tuple[float, float, float], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a line through the volume along a world axis.

    Args:
        image: with axes along the world's (`oriented`).
        through: point on the line, LPS mm.
        axis: 0 (toward left) or 1 (toward back).

    Returns:
        Signed distances from the point in mm (n,), and LPS points (n, 3).
    """
    corners = [
        image.TransformContinuousIndexToPhysicalPoint(index)
        for index in ((0.0, 0.0, 0.0), tuple(float(size - 1) for size in image.GetSize()))
    ]
    least, greatest = sorted(corner[axis] for corner in corners)
    start = int(np.ceil((least - through[axis]) / STEP_MM))
    stop = int(np.floor((greatest - through[axis]) / STEP_MM))
    distances = STEP_MM * np.arange(start, stop + 1)
    points = np.tile(np.asarray(through, dtype=float), (len(distances), 1))
    points[:, axis] += distances
    return distances, points


def sample(image: sitk.Image, points: np.ndarray) -> np.ndarray:
    """Linear interpolation at LPS points (n, 3); NaN outside the volume."""
    from scipy.ndimage import map_coordinates

    indices = np.array([image.TransformPhysicalPointToContinuousIndex(point.tolist()) for point in points])
    values = map_coordinates(array(image), indices[:, ::-1].T, order=1, mode="nearest")
    size = np.array(image.GetSize())
    outside = ((indices < -0.5) | (indices > size - 0.5)).any(axis=1)
    return np.where(outside, np.nan, values)


def head_center(image: sitk.Image) -> tuple[float, float, float]:
    """LPS point in the middle of what is clearly brighter than air, above it where a neck is in the volume."""
    values = array(image)
    low, high = np.percentile(values, [2, 99])
    inside = values > low + 0.2 * (high - low)
    middle = []
    for axis in (2, 1, 0):
        counts = inside.sum(axis=tuple(other for other in range(3) if other != axis))
        cumulated = np.cumsum(counts) / max(counts.sum(), 1)
        middle.append(float(np.searchsorted(cumulated, 0.65 if axis == 0 else 0.5)))
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(middle)
    return x, y, z


def _is_hounsfield(image: sitk.Image) -> bool:
    # Air takes up a good part of every head scan.
    return float(np.percentile(array(image), 5)) < -500


def _contains(image: sitk.Image, point: tuple[float, float, float]) -> bool:
    index = np.array(image.TransformPhysicalPointToContinuousIndex(point))
    return bool((index >= -0.5).all() and (index <= np.array(image.GetSize()) - 0.5).all())


def _draw_slice(
    axes: Axes, name: str, image: sitk.Image, through: tuple[float, float, float], line: np.ndarray
) -> None:
    volume = array(image)
    x, y, z = image.TransformPhysicalPointToContinuousIndex(through)
    bare(axes)
    axes.set_title(name, fontsize=NORMAL, pad=3)
    axes.set_facecolor("black")
    if not 0 <= round(z) < len(volume):
        return
    plane = volume[round(z)]
    low, high = HU_WINDOW if _is_hounsfield(image) else np.percentile(volume, [5, 99.5])
    axes.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    ends = [image.TransformPhysicalPointToContinuousIndex(line[index].tolist()) for index in (0, -1)]
    axes.plot([end[0] for end in ends], [end[1] for end in ends], color=COLORS[1], linewidth=1.0)
    axes.plot([x], [y], marker="o", markersize=3, color=COLORS[1])
    axes.set_xlim(-0.5, plane.shape[1] - 0.5)
    axes.set_ylim(plane.shape[0] - 0.5, -0.5)
