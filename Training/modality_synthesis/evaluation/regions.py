"""Atlas regions in a volume, and a comparison region by region: is a synthetic volume right where it matters?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modality_synthesis.preprocessing.atlas import Region

# Below this many voxels a mean says more about the grid than about the region.
FEWEST_VOXELS = 10


class Parcels:
    """The voxels of each atlas label, sorted once: regions are then looked up, not searched for.

    Args:
        labels: (z, y, x) atlas labels.
        inside: voxels that count; all when None.
    """

    def __init__(self, labels: np.ndarray, inside: np.ndarray | None = None) -> None:
        codes = labels.ravel()
        kept = np.arange(codes.size) if inside is None else np.flatnonzero(inside.ravel())
        order = np.argsort(codes[kept], kind="stable")
        self._where, self._codes = kept[order], codes[kept][order]

    def voxels(self, region: Region) -> np.ndarray:
        """Flat indices of a region's voxels."""
        bounds = [np.searchsorted(self._codes, [code, code + 1]) for code in region.labels]
        return np.concatenate([self._where[low:high] for low, high in bounds])

    def means(self, values: np.ndarray, chosen: Sequence[Region], fewest: int = 1) -> dict[tuple[str, str], float]:
        """Mean in each region by (name, hemisphere); NaN where fewer than `fewest` voxels are."""
        flat, result = values.ravel(), {}
        for region in chosen:
            where = self.voxels(region)
            result[region.name, region.hemisphere] = float(flat[where].mean()) if where.size >= fewest else float("nan")
        return result


@dataclass(frozen=True)
class RegionComparison:
    """One region of both volumes, target units; figures are NaN where fewer than `FEWEST_VOXELS` voxels were compared.

    Attributes:
        region: its name.
        hemisphere: left, right or both.
        kind: region or meta-region.
        volume_ml: that was compared.
        synthetic: mean of the synthetic volume.
        reference: mean of the reference.
        bias: synthetic - reference.
        bias_percent: of the reference's mean.
        mae: mean absolute error of the voxels.
        rmse: root mean squared error of the voxels.
    """

    region: str
    hemisphere: str
    kind: str
    volume_ml: float
    synthetic: float
    reference: float
    bias: float
    bias_percent: float
    mae: float
    rmse: float


def compare_regions(
    synthetic: np.ndarray, reference: np.ndarray, parcels: Parcels, chosen: tuple[Region, ...], voxel_ml: float
) -> tuple[RegionComparison, ...]:
    """Compare two volumes on one grid in some regions.

    Args:
        synthetic: (z, y, x).
        reference: same shape.
        parcels: the atlas on that grid.
        chosen: regions.
        voxel_ml: volume of a voxel.
    """
    first, second = synthetic.ravel().astype(np.float64), reference.ravel().astype(np.float64)
    return tuple(_compare(first, second, parcels.voxels(region), region, voxel_ml) for region in chosen)


def _compare(
    first: np.ndarray, second: np.ndarray, where: np.ndarray, region: Region, voxel_ml: float
) -> RegionComparison:
    facts = (region.name, region.hemisphere, region.kind, round(where.size * voxel_ml, 4))
    if where.size < FEWEST_VOXELS:
        return RegionComparison(*facts, *[float("nan")] * 6)
    error = first[where] - second[where]
    made, measured, bias = float(first[where].mean()), float(second[where].mean()), float(error.mean())
    percent = 100 * bias / measured if measured != 0 else float("nan")
    return RegionComparison(
        *facts, made, measured, bias, percent, float(np.abs(error).mean()), float(np.sqrt(np.mean(error**2)))
    )
