"""The shipped atlas: regions, meta-regions and reference regions, and how it comes onto a person's grid."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import UsageError
from modality_synthesis.resources import resource

REFERENCE_REGIONS = ("cerebellar-gray", "whole-cerebellum", "pons")


@dataclass(frozen=True)
class Region:
    """A named set of atlas labels."""

    name: str
    labels: tuple[int, ...]
    hemisphere: str = "both"
    kind: str = "region"


@lru_cache(maxsize=1)
def regions() -> tuple[Region, ...]:
    """Every region of the atlas, one per hemisphere, and the meta-regions.

    Meta-regions: `tau_meta_temporal` (Jack 2017), `fdg_ad_signature` (after Landau 2011), and the Braak stages used for
    tau PET (Schoell 2016).
    """
    with resource("Atlases", "aparc+aseg_labels.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    tissue = [row for row in rows if row["tissue"] in ("GM", "WM", "mixed") and "unknown" not in row["name"]]
    plain = [Region(row["name"], (int(row["index"]),), _side(row["hemisphere"])) for row in tissue]
    meta = [
        Region(name, tuple(int(row["index"]) for row in rows if row[name] == "1"), kind="meta-region")
        for name in ("tau_meta_temporal", "fdg_ad_signature")
    ]
    stages = sorted({row["braak_stage"] for row in rows} - {"-"})
    braak = [
        Region(
            f"braak_{stage}",
            tuple(int(row["index"]) for row in rows if row["braak_stage"] == stage),
            kind="meta-region",
        )
        for stage in stages
    ]
    return (*plain, *meta, *braak)


def _side(code: str) -> str:
    return {"L": "left", "R": "right"}.get(code, "both")


@lru_cache(maxsize=1)
def label_image() -> sitk.Image:
    """The atlas' labels in template space, uint16, 1 mm."""
    return sitk.ReadImage(str(resource("Atlases", "mni152_aparc+aseg_1mm.nii.gz")), sitk.sitkUInt16)


def labels_on(grid: sitk.Image, to_template: sitk.Transform) -> np.ndarray:
    """Atlas labels on a person's grid (nearest), (z, y, x).

    Args:
        grid: the person's volume.
        to_template: maps points of the person's world to template points.
    """
    return sitk.GetArrayFromImage(sitk.Resample(label_image(), grid, to_template, sitk.sitkNearestNeighbor, 0))


def reference_mask(name: str, grid: sitk.Image, to_template: sitk.Transform, labels: np.ndarray) -> np.ndarray:
    """The reference region of SUVR on a person's grid.

    Args:
        name: `cerebellar-gray`, `whole-cerebellum` or `pons` (eroded mask of Clinica).
        grid: the person's volume.
        to_template: maps points of the person's world to template points.
        labels: `labels_on` of the same grid.

    Raises:
        UsageError: unknown name.
    """
    if name == "pons":
        mask = sitk.ReadImage(str(resource("Atlases", "mni152_pons_mask_2mm.nii.gz")), sitk.sitkUInt8)
        return sitk.GetArrayFromImage(sitk.Resample(mask, grid, to_template, sitk.sitkNearestNeighbor, 0)) > 0
    codes: Mapping[str, tuple[int, ...]] = {"cerebellar-gray": (8, 47), "whole-cerebellum": (7, 8, 46, 47)}
    if name not in codes:
        raise UsageError(f"Unknown reference region {name!r}. Use one of {', '.join(REFERENCE_REGIONS)}.")
    return np.isin(labels, codes[name])
