"""A comparison region by region: is a synthetic volume right where it matters?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from modality_synthesis.evaluation.region_table import AtlasGrid, in_order, region_flags
from modality_synthesis.evaluation.regions import FEWEST_VOXELS, Parcels
from modality_synthesis.preprocessing.atlas import Region
from modality_synthesis.volumes.coverage import REFUSE_BELOW
from modality_synthesis.volumes.marks import Mark, mark_columns

_NAN = float("nan")


@dataclass(frozen=True)
class RegionComparison:
    """One region of both volumes, target units; figures are NaN where too little of it could be compared.

    Attributes:
        region: its id.
        name: for people.
        hemisphere: left, right or both.
        kind: region or meta-region.
        volume_ml: of the whole region.
        covered_percent: of that volume in which both hold something.
        synthetic_mean: mean of the synthetic volume over that part, like all the figures that follow.
        reference_mean: mean of the reference.
        bias: synthetic - reference.
        bias_percent: of the reference's mean.
        mae: mean absolute error of the voxels.
        rmse: root mean squared error of the voxels.
        flags: as in the table of `suvr` (`region_table.RegionRow`).
        synthetic: yes or no: whether one of the two volumes is marked.
        model: that made it, where its mark says so.
    """

    region: str
    name: str
    hemisphere: str
    kind: str
    volume_ml: float
    covered_percent: float
    synthetic_mean: float = _NAN
    reference_mean: float = _NAN
    bias: float = _NAN
    bias_percent: float = _NAN
    mae: float = _NAN
    rmse: float = _NAN
    flags: str = ""
    synthetic: str = "no"
    model: str = ""


def compare_regions(
    synthetic: np.ndarray,
    reference: np.ndarray,
    atlas: AtlasGrid,
    *,
    modality: str | None = None,
    mark: Mark | None = None,
) -> tuple[RegionComparison, ...]:
    """Compare two volumes on one grid in every region.

    Args:
        synthetic: (z, y, x).
        reference: same shape.
        atlas: around that grid, with the coverage of both.
        modality: of the target: its meta-regions come first.
        mark: of the synthetic volume, for the table.
    """
    first, second = (atlas.around(volume.astype(np.float64)).ravel() for volume in (synthetic, reference))
    whole, measured = Parcels(atlas.labels), Parcels(atlas.labels, atlas.covered)
    return tuple(
        _compare(first, second, measured.voxels(region), whole.voxels(region).size, region, atlas.voxel_ml, mark)
        for region in in_order(modality)
    )


def _compare(
    first: np.ndarray,
    second: np.ndarray,
    where: np.ndarray,
    voxels: int,
    region: Region,
    voxel_ml: float,
    mark: Mark | None,
) -> RegionComparison:
    percent = 100 * where.size / voxels if voxels else _NAN
    volume = round(voxels * voxel_ml, 4)
    told = mark_columns(mark)
    row = RegionComparison(
        region.name, region.title, region.hemisphere, region.kind, volume, round(percent, 2),
        flags=region_flags(volume, percent), synthetic=told["synthetic"], model=told["model"],
    )  # fmt: skip
    if where.size < FEWEST_VOXELS or percent < REFUSE_BELOW:
        return row
    error = first[where] - second[where]
    made, measured, bias = float(first[where].mean()), float(second[where].mean()), float(error.mean())
    return replace(
        row,
        synthetic_mean=made,
        reference_mean=measured,
        bias=bias,
        bias_percent=100 * bias / measured if measured != 0 else _NAN,
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt(np.mean(error**2))),
    )
