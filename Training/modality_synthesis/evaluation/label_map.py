"""The atlas' regions on a person's own grid: labels to draw, and where each region can be looked at."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

from modality_synthesis.evaluation.regions import Parcels
from modality_synthesis.preprocessing.atlas import Region
from modality_synthesis.volumes import array


def region_labels(labels: np.ndarray, chosen: Iterable[Region]) -> np.ndarray:
    """Only the labels that a region has (no ventricles, no background), uint16, same shape (z, y, x)."""
    known = np.unique([label for region in chosen for label in region.labels])
    return np.where(np.isin(labels, known), labels, 0).astype(np.uint16)


def describe_regions(image: sitk.Image, chosen: Iterable[Region]) -> list[dict[str, object]]:
    """What the labels of a map are, for its sidecar: of each region that it holds, single, paired or meta.

    Args:
        image: labels on a person's grid (`region_labels`).
        chosen: regions and meta-regions of the atlas.

    Returns:
        name, hemisphere and labels of each region, and a point of it: the world coordinates (LPS, mm) of its voxel
        that is nearest to its middle. The middle itself may lie outside, as a cortex is bent.
    """
    codes = array(image)
    parcels = Parcels(codes, codes > 0)
    described: list[dict[str, object]] = []
    for region in chosen:
        where = parcels.voxels(region)
        if not where.size:
            continue
        places = np.stack(np.unravel_index(where, codes.shape), axis=1)
        nearest = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()]
        point = image.TransformIndexToPhysicalPoint([int(index) for index in nearest[::-1]])
        described.append(
            {
                "name": region.name,
                "hemisphere": region.hemisphere,
                "labels": [int(label) for label in region.labels],
                "point_lps_mm": [round(float(value), 2) for value in point],
            }
        )
    return described
