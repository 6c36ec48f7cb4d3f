"""The table of regions: what `suvr` says about every region and meta-region, and how much of it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.evaluation.normal_cohort import Key, Normal
from modality_synthesis.evaluation.regions import FEWEST_VOXELS, Parcels
from modality_synthesis.names import region_place
from modality_synthesis.preprocessing.atlas import Region, label_image, labels_on, regions
from modality_synthesis.volumes import Mark, mark_columns
from modality_synthesis.volumes.coverage import LOOK_BELOW, REFUSE_BELOW

_NAN = float("nan")
# Smaller regions say more about the atlas' fit and the scanner's blur than about the person.
SMALL_ML = 3.0
# Below this a difference between the sides is the atlas' own.
LEAST_FOR_ASYMMETRY_ML = 1.0
SMALL, PARTLY, HARDLY = "small", "partly-covered", "hardly-covered"


@dataclass(frozen=True)
class RegionRow:
    """One region of the table; SUVR figures are NaN where too little of the region was measured.

    Attributes:
        region: its id: FreeSurfer's name, or a meta-region's.
        name: for people.
        hemisphere: left, right or both.
        kind: region or meta-region.
        volume_ml: of the whole region, in or out of the field of view.
        covered_percent: of that volume that was measured; NaN where the atlas has no such region.
        suvr: mean over the measured part, like all the figures that follow.
        suvr_low: of its interval; NaN where none is known.
        suvr_high: of its interval.
        sd: over voxels.
        median: and further percentiles.
        z: standard deviations above the normal cohort's mean; NaN without one, and below 90 % coverage.
        asymmetry_percent: 200 (left - right) / (left + right), in rows of both hemispheres; NaN where a side is below
            1 ml or below 90 % coverage.
        flags: `small` (below 3 ml), `partly-covered` (below 90 %) or `hardly-covered` (below 50 %: no figures),
            separated by `;`.
        synthetic: yes or no.
        model: that made the PET, with its version; empty for a measured one.
    """

    region: str
    name: str
    hemisphere: str
    kind: str
    volume_ml: float
    covered_percent: float
    suvr: float = _NAN
    suvr_low: float = _NAN
    suvr_high: float = _NAN
    sd: float = _NAN
    median: float = _NAN
    p5: float = _NAN
    p25: float = _NAN
    p75: float = _NAN
    p95: float = _NAN
    z: float = _NAN
    asymmetry_percent: float = _NAN
    flags: str = ""
    synthetic: str = "no"
    model: str = ""


@dataclass(frozen=True)
class AtlasGrid:
    """A volume's grid, grown until it holds the whole atlas: what lies outside the field of view counts, too.

    Attributes:
        image: the grown grid, uint8.
        labels: atlas labels on it, (z, y, x).
        covered: where the volume was measured, bool, same shape; False outside the volume.
        inner: the volume's own part of it.
    """

    image: sitk.Image
    labels: np.ndarray
    covered: np.ndarray
    inner: tuple[slice, slice, slice]

    @classmethod
    def of(cls, volume: sitk.Image, covered: np.ndarray, transform: sitk.Transform) -> AtlasGrid:
        """Put the atlas around a volume.

        Args:
            volume: the person's.
            covered: bool, its coverage (z, y, x).
            transform: maps points of the person's world to template points; must have an inverse.
        """
        image, inner = _grown(volume, _atlas_corners(transform))
        around = np.zeros(image.GetSize()[::-1], dtype=bool)
        around[inner] = covered
        return cls(image, labels_on(image, transform), around, inner)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.image.GetSpacing())) / 1000

    def around(self, values: np.ndarray) -> np.ndarray:
        """An array of the volume's grid on the grown one, 0 outside."""
        grown = np.zeros(self.labels.shape, dtype=values.dtype)
        grown[self.inner] = values
        return grown

    def percent(self, mask: np.ndarray) -> float:
        """The share of a mask of the grown grid that was measured; 0 of an empty one."""
        return 100 * float(np.count_nonzero(mask & self.covered)) / max(int(np.count_nonzero(mask)), 1)


def _atlas_corners(transform: sitk.Transform) -> np.ndarray:
    """The corners of the atlas' brain in the person's world, (8, 3)."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(sitk.Cast(label_image() > 0, sitk.sitkUInt8))
    box = shapes.GetBoundingBox(1)
    ends = [(box[axis], box[axis] + box[axis + 3] - 1) for axis in range(3)]
    back = transform.GetInverse()
    corners = [
        label_image().TransformContinuousIndexToPhysicalPoint([float(x), float(y), float(z)])
        for x in ends[0] for y in ends[1] for z in ends[2]
    ]  # fmt: skip
    return np.array([back.TransformPoint(corner) for corner in corners])


def _grown(volume: sitk.Image, points: np.ndarray) -> tuple[sitk.Image, tuple[slice, slice, slice]]:
    """The volume's grid with whole voxels added until it holds the points; and where the volume lies in it."""
    indices = np.array([volume.TransformPhysicalPointToContinuousIndex(point.tolist()) for point in points])
    size = np.array(volume.GetSize())
    before = np.maximum(np.ceil(-indices.min(axis=0)), 0).astype(int)
    after = np.maximum(np.ceil(indices.max(axis=0) - (size - 1)), 0).astype(int)
    grid = sitk.Image((size + before + after).tolist(), sitk.sitkUInt8)
    grid.SetSpacing(volume.GetSpacing())
    grid.SetDirection(volume.GetDirection())
    grid.SetOrigin(volume.TransformContinuousIndexToPhysicalPoint((-before).astype(float).tolist()))
    x, y, z = (slice(int(start), int(start + count)) for start, count in zip(before, size, strict=True))
    return grid, (z, y, x)


def region_table(
    values: np.ndarray,
    atlas: AtlasGrid,
    normal: Mapping[Key, Normal] | None = None,
    *,
    modality: str | None = None,
    mark: Mark | None = None,
) -> tuple[RegionRow, ...]:
    """Statistics of every region and meta-region; those that the literature reports for the tracer come first.

    Args:
        values: SUVR on the volume's grid (z, y, x).
        atlas: around that grid.
        normal: what is normal, for z-scores.
        modality: of the tracer (`TAU-PET`), where it is known.
        mark: of a synthetic volume.
    """
    flat = atlas.around(values).ravel()
    whole, measured = Parcels(atlas.labels), Parcels(atlas.labels, atlas.covered)
    chosen = in_order(modality)
    rows = {
        (region.structure, region.hemisphere): _row(
            flat[measured.voxels(region)], whole.voxels(region).size, region, atlas.voxel_ml
        )
        for region in chosen
    }
    columns: dict[str, Any] = dict(mark_columns(mark))
    return tuple(
        replace(
            row,
            asymmetry_percent=_asymmetry(rows, structure) if side == "both" else _NAN,
            z=_z(row, normal) if normal is not None else _NAN,
            **columns,
        )
        for (structure, side), row in rows.items()
    )


def in_order(modality: str | None = None) -> tuple[Region, ...]:
    """The atlas' regions as tables list them: the tracer's meta-regions, the others, single regions."""
    return tuple(sorted(regions(), key=lambda region: region_place(region.name, region.kind, modality)))


def _row(inside: np.ndarray, voxels: int, region: Region, voxel_ml: float) -> RegionRow:
    percent = 100 * inside.size / voxels if voxels else _NAN  # the atlas lacks some of its labels
    volume = round(voxels * voxel_ml, 4)
    row = RegionRow(
        region.name, region.title, region.hemisphere, region.kind, volume, round(percent, 2),
        flags=region_flags(volume, percent),
    )  # fmt: skip
    if inside.size < FEWEST_VOXELS or percent < REFUSE_BELOW:
        return row
    p5, p25, median, p75, p95 = (float(value) for value in np.percentile(inside, [5, 25, 50, 75, 95]))
    return replace(
        row, suvr=float(inside.mean()), sd=float(inside.std()), median=median, p5=p5, p25=p25, p75=p75, p95=p95
    )


def region_flags(volume_ml: float, covered_percent: float) -> str:
    """What makes a region's figures doubtful, separated by `;`: see `RegionRow`."""
    flags = [SMALL] if volume_ml < SMALL_ML else []
    if covered_percent < LOOK_BELOW:
        flags.append(HARDLY if covered_percent < REFUSE_BELOW else PARTLY)
    return ";".join(flags)


def _asymmetry(rows: Mapping[tuple[str, str], RegionRow], structure: str) -> float:
    sides = [rows.get((structure, side)) for side in ("left", "right")]
    if any(row is None or row.volume_ml < LEAST_FOR_ASYMMETRY_ML or row.covered_percent < LOOK_BELOW for row in sides):
        return _NAN
    left, right = (_NAN if row is None else row.suvr for row in sides)
    return 200 * (left - right) / (left + right) if left + right != 0 else _NAN


def _z(row: RegionRow, normal: Mapping[Key, Normal]) -> float:
    found = normal.get((row.region, row.hemisphere))
    if found is None or found.sd <= 0 or row.covered_percent < LOOK_BELOW:
        return _NAN
    return found.z(row.suvr)
