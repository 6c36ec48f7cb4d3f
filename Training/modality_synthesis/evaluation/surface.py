"""Stereotactic surface projections: cortical uptake seen from outside, and how far it is from normal.

After Minoshima et al. 1995 (J Nucl Med 36:1238, 3D-SSP): from each point of the brain's surface the largest value along
the inward normal, down to about 14 mm, is projected onto the surface; a person's projection is compared with those of
normal controls point by point as z-scores. All volumes lie on one template grid with z up, y toward the back and x
toward the left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

DEPTH_MM = 13.5
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


def z_scores(
    projection: Mapping[str, np.ndarray], normals: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Point by point, (normal mean - value) / normal standard deviation: positive is less uptake than normal.

    Raises:
        ValueError: too few normal projections.
    """
    if len(normals) < FEWEST_NORMALS:
        raise ValueError(f"z-scores need at least {FEWEST_NORMALS} normal controls")
    scores = {}
    for name, values in projection.items():
        stack = np.stack([normal[name] for normal in normals])
        spread = stack.std(axis=0, ddof=1)
        scores[name] = (stack.mean(axis=0) - values) / np.maximum(spread, 1e-6)
    return scores


def save_surface(
    projection: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    window: tuple[float, float],
    title: str,
    colormap: str = "inferno",
) -> None:
    """Write a PNG with all views.

    Args:
        projection: from `project` or `z_scores`.
        path: the file.
        window: values at the two ends of the colors.
        title: says what is shown and in which units.
        colormap: of matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from modality_synthesis.volumes import atomic_output

    figure = Figure(figsize=(11, 5.5), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4).ravel()
    for axis, (name, values) in zip(axes, projection.items(), strict=True):
        image = axis.imshow(values, origin="lower", cmap=colormap, vmin=window[0], vmax=window[1])
        axis.set_title(name, color="white", fontsize=9)
        axis.axis("off")
    bar = figure.colorbar(image, ax=axes, shrink=0.6)
    bar.ax.tick_params(colors="white")
    figure.suptitle(title, color="white")
    with atomic_output(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


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
