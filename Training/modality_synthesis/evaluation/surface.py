"""Stereotactic surface projections: cortical uptake seen from outside, and how far it is from normal.

After Minoshima et al. 1995 (J Nucl Med 36:1238, 3D-SSP): from each point of the brain's surface the largest value along
the inward normal, down to about 14 mm, is projected onto the surface; a person's projection is compared with those of
normal controls point by point as z-scores. All volumes lie on one template grid with z up, y toward the back and x
toward the left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from modality_synthesis.evaluation.figures.labels import wrapped
from modality_synthesis.evaluation.figures.style import (
    NORMAL,
    PAGE_HEIGHT,
    PAGE_WIDTH,
    SMALL,
    UPTAKE,
    bare,
    new_figure,
    save_figure,
)
from modality_synthesis.preprocessing.parameters import Resample
from modality_synthesis.preprocessing.resampling import model_grid
from modality_synthesis.resources import resource
from modality_synthesis.volumes import Mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTH_MM = 13.5
# The template's brain with some air around it.
_GRID = Resample(size=(76, 96, 82), spacing=(2.0, 2.0, 2.0), center=(0.0, 17.0, 6.0))
# View -> axis of (z, y, x) along which one looks, and whether from its high end.
VIEWS: Mapping[str, tuple[int, bool]] = {
    "right lateral": (2, False),
    "left lateral": (2, True),
    "superior": (0, True),
    "inferior": (0, False),
    "anterior": (1, False),
    "posterior": (1, True),
    "right medial": (2, True),
    "left medial": (2, False),
}
# How a view's array (rows up) turns on paper: the front of the head up, or where an onlooker has it.
_FLIPPED: Mapping[str, tuple[int, ...]] = {
    "right lateral": (1,),
    "superior": (0, 1),
    "inferior": (0,),
    "posterior": (1,),
    "left medial": (1,),
}
# So many normals at least, or their standard deviation is a guess.
FEWEST_NORMALS = 3


@dataclass(frozen=True)
class Surface:
    """The surface of a template brain, seen from eight sides.

    Attributes:
        mask: the brain, (z, y, x).
        spacing: of its voxels, (z, y, x), mm.
        views: view -> voxel indices (height, width, 3) of the first voxel met; -1 where there is none.
        inward: view -> unit inward normals in mm (height, width, 3), (z, y, x).
    """

    mask: np.ndarray
    spacing: tuple[float, float, float]
    views: dict[str, np.ndarray]
    inward: dict[str, np.ndarray]


def brain_surface(mask: np.ndarray, spacing: Sequence[float]) -> Surface:
    """Find the surface of a brain mask from each side; medial views look at a hemisphere cut along the midline.

    Args:
        mask: (z, y, x), the midline in the middle of x.
        spacing: (z, y, x), mm.
    """
    steps = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    inside = np.asarray(mask) > 0
    middle = inside.shape[2] // 2
    views, inward = {}, {}
    for name, (axis, from_high) in VIEWS.items():
        part = inside
        if "medial" in name:
            part = inside.copy()
            part[:, :, slice(middle, None) if name.startswith("right") else slice(None, middle)] = False
        seen = _first_voxels(part, axis, from_high)
        views[name], inward[name] = seen, _normals(part, seen, steps)
    return Surface(inside, steps, views, inward)


@lru_cache(maxsize=1)
def template_surface() -> tuple[sitk.Image, Surface]:
    """The surface of the MNI152 brain at 2 mm, and the grid on which volumes must lie to be projected onto it."""
    grid = model_grid(_GRID)
    mask = sitk.ReadImage(str(resource("Atlases", "mni152_brainmask_1mm.nii.gz")), sitk.sitkUInt8)
    on_grid = sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return grid, brain_surface(sitk.GetArrayFromImage(on_grid), tuple(reversed(_GRID.spacing)))


def project_template(volume: sitk.Image) -> dict[str, np.ndarray]:
    """`project` for a volume in template space, whatever its grid."""
    grid, surface = template_surface()
    return project(sitk.GetArrayFromImage(sitk.Resample(volume, grid, sitk.Transform(), sitk.sitkLinear, 0.0)), surface)


def project(volume: np.ndarray, surface: Surface, depth_mm: float = DEPTH_MM) -> dict[str, np.ndarray]:
    """The largest value along the inward normal of each surface point.

    Args:
        volume: on the surface's grid.
        surface: of the template.
        depth_mm: how deep.

    Returns:
        View -> (height, width); NaN outside the brain.
    """
    samples = np.arange(0.0, depth_mm + 1e-6, min(surface.spacing) / 2)
    return {
        name: _deepest_maximum(volume, surface, seen, surface.inward[name], samples)
        for name, seen in surface.views.items()
    }


@dataclass(frozen=True)
class Normals:
    """Mean and standard deviation of healthy people's projections, view by view."""

    mean: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    people: int

    @classmethod
    def of(cls, projections: Sequence[Mapping[str, np.ndarray]]) -> Normals:
        """From the projections themselves.

        Raises:
            ValueError: too few.
        """
        if len(projections) < FEWEST_NORMALS:
            raise ValueError(f"z-scores need at least {FEWEST_NORMALS} normal controls")
        stacked = {name: np.stack([one[name] for one in projections]) for name in projections[0]}
        return cls(
            {name: values.mean(axis=0) for name, values in stacked.items()},
            {name: np.maximum(values.std(axis=0, ddof=1), 1e-6) for name, values in stacked.items()},
            len(projections),
        )

    def z_scores(self, projection: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Point by point, (normal mean - value) / normal standard deviation: positive is less uptake than normal."""
        return {name: (self.mean[name] - values) / self.spread[name] for name, values in projection.items()}


def surface_figure(
    rows: Mapping[str, Mapping[str, np.ndarray]],
    surface: Surface,
    *,
    window: tuple[float, float],
    title: str,
    units: str,
    colormap: str = UPTAKE,
) -> Figure:
    """All views of one or several projections, a row each, shaded by the light of a lamp beside the viewer's head.

    Args:
        rows: label -> projection, from `project` or z-scores.
        surface: of the projections.
        window: values at the two ends of the colors.
        title: says what is shown.
        units: of the values.
        colormap: of matplotlib.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = new_figure(PAGE_WIDTH, min(1.2 + 1.05 * len(rows), PAGE_HEIGHT), layout="constrained")
    axes = figure.subplots(len(rows), len(VIEWS), squeeze=False)
    scale = Normalize(*window, clip=True)
    for line, (label, projection) in zip(axes, rows.items(), strict=True):
        for axis, name in zip(line, VIEWS, strict=True):
            axis.imshow(_shaded(projection[name], surface, name, scale, colormaps[colormap]), origin="lower")
            bare(axis)
        line[0].set_ylabel(wrapped(label, 0.9, 7, lines=2), fontsize=7)
    for axis, name in zip(axes[0], VIEWS, strict=True):
        axis.set_title(name.replace(" ", "\n"), fontsize=7)
    bar = figure.colorbar(ScalarMappable(scale, colormap), ax=axes, location="bottom", shrink=0.5, aspect=40)
    bar.set_label(wrapped(units, 3.5, SMALL), fontsize=SMALL)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(wrapped(title, PAGE_WIDTH - 0.3, NORMAL), fontsize=NORMAL)
    return figure


def save_surface(
    projection: Mapping[str, np.ndarray],
    surface: Surface,
    path: str | Path,
    *,
    window: tuple[float, float],
    title: str,
    units: str,
    colormap: str = UPTAKE,
    marks: Iterable[Mark | None] = (),
) -> None:
    """Write a PNG with all views of a projection; see `surface_figure` and, of the marks, `save_figure`."""
    figure = surface_figure({"": projection}, surface, window=window, title=title, units=units, colormap=colormap)
    save_figure(figure, path, marks)


def _shaded(values: np.ndarray, surface: Surface, view: str, scale: Any, colormap: Any) -> np.ndarray:
    axis, from_high = VIEWS[view]
    facing = surface.inward[view][..., axis] * (-1 if from_high else 1)
    light = 0.45 + 0.55 * np.clip(facing, 0, 1)
    colors = colormap(scale(np.nan_to_num(values)))
    colors[..., :3] *= light[..., np.newaxis]
    colors[np.isnan(values), 3] = 0.0
    return np.flip(colors, _FLIPPED.get(view, ()))


def _first_voxels(inside: np.ndarray, axis: int, from_high: bool) -> np.ndarray:
    """(height, width, 3): the first inside voxel of each line of sight; -1 where there is none."""
    along = np.moveaxis(inside, axis, 0)
    ordered = along[::-1] if from_high else along
    first = ordered.argmax(axis=0)
    met: np.ndarray = np.any(ordered, axis=0)
    depth = len(ordered) - 1 - first if from_high else first
    rows, columns = np.indices(met.shape)
    coordinates = [rows, columns]
    coordinates.insert(axis, depth)
    return np.where(met[..., np.newaxis], np.stack(coordinates, axis=-1), -1)


def _normals(inside: np.ndarray, seen: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The smoothed mask rises toward the inside: its gradient is the inward normal."""
    smooth: np.ndarray = ndimage.gaussian_filter(inside.astype(np.float32), [4.0 / step for step in spacing])
    gradient = np.stack(np.gradient(smooth, *spacing), axis=-1)
    met = seen[..., 0] >= 0
    normals = np.zeros(seen.shape)
    normals[met] = gradient[tuple(seen[met].T)]
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def _deepest_maximum(
    volume: np.ndarray, surface: Surface, seen: np.ndarray, inward: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    met = seen[..., 0] >= 0
    start, direction = seen[met].astype(float), inward[met] / np.array(surface.spacing)
    values = np.full(seen.shape[:2], np.nan)
    largest = np.full(len(start), -np.inf)
    for sample in samples:
        points = (start + sample * direction).T
        largest = np.maximum(largest, ndimage.map_coordinates(volume, points, order=1, mode="nearest"))
    values[met] = largest
    return values
