"""Atlas regions in a volume."""

from __future__ import annotations

from collections.abc import Sequence

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
