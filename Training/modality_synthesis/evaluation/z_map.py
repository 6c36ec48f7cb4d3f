"""Where a PET differs from healthy people: the z-scores of the atlas regions, painted back into the volume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.normal_cohort import Key
from modality_synthesis.preprocessing.atlas import Region


def paint_z(
    labels: np.ndarray, scores: Mapping[Key, float], chosen: Iterable[Region], table: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give every voxel of an atlas region the region's z-score.

    A single region without a score of its own takes that of both sides together. Meta-regions are not painted: they
    overlap.

    Args:
        labels: (z, y, x) atlas labels.
        scores: z-score by (name, hemisphere); NaN where none is known.
        chosen: regions and meta-regions of the atlas.
        table: the normal cohort's name, for messages.

    Returns:
        z-scores, float32, same shape, 0 where nothing is known; and the names of the regions that have one.

    Raises:
        BadInputError: no region has a score.
    """
    by_label = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.float32)
    painted = []
    for region in chosen:
        score = _score(region, scores)
        if len(region.labels) == 1 and region.kind == "region" and not math.isnan(score):
            painted.append(region.name)
            if region.labels[0] < by_label.size:
                by_label[region.labels[0]] = score
    if not painted:
        raise BadInputError(
            f"{table} names no single region of the atlas, so there is no z-map to paint. The columns region and "
            "hemisphere are written as in the table of `suvr`."
        )
    return by_label[labels], tuple(painted)


def _score(region: Region, scores: Mapping[Key, float]) -> float:
    own = scores.get((region.name, region.hemisphere), math.nan)
    return scores.get((region.structure, "both"), math.nan) if math.isnan(own) else own
