"""The shipped atlas: regions, meta-regions and reference regions, and how it comes onto a person's grid."""

from __future__ import annotations

import csv
import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.names import region_name, structure_of
from modality_synthesis.preprocessing.meta_regions import META_REGIONS
from modality_synthesis.preprocessing.parameters import Resample
from modality_synthesis.preprocessing.resampling import model_grid
from modality_synthesis.resources import resource

# The erosion of the white matter keeps gray matter's signal out of it (Landau 2015, J Nucl Med 56: 567).
WHITE_MATTER_EROSION_MM = 3
_CEREBELLUM: Mapping[str, tuple[int, ...]] = {"cerebellar-gray": (8, 47), "whole-cerebellum": (7, 8, 46, 47)}
_SHIPPED_MASKS = {"pons": "mni152_pons_mask_2mm.nii.gz", "cerebellum-pons": "mni152_cerebellumPons_mask_2mm.nii.gz"}


@dataclass(frozen=True)
class Region:
    """A named set of atlas labels.

    Attributes:
        name: FreeSurfer's, or a meta-region's.
        labels: of the atlas.
        hemisphere: left, right or both.
        kind: region or meta-region.
        structure: the name without a side, which left, right and both share.
    """

    name: str
    labels: tuple[int, ...]
    hemisphere: str = "both"
    kind: str = "region"
    structure: str = ""

    @property
    def title(self) -> str:
        """The name for people: `Precuneus, left`."""
        return region_name(self.name, self.hemisphere)


@dataclass(frozen=True)
class _Label:
    index: int
    name: str
    structure: str
    hemisphere: str


@lru_cache(maxsize=1)
def regions() -> tuple[Region, ...]:
    """Every region of the atlas, left, right and both, and the meta-regions of `META_REGIONS`."""
    by_structure: dict[str, list[_Label]] = defaultdict(list)
    for label in _tissue_labels():
        by_structure[label.structure].append(label)
    single = [
        Region(label.name, (label.index,), label.hemisphere, structure=label.structure)
        for labels in by_structure.values()
        for label in labels
    ]
    pairs = [
        Region(structure, tuple(label.index for label in labels), structure=structure)
        for structure, labels in by_structure.items()
        if len(labels) > 1
    ]
    meta = []
    for defined in META_REGIONS:
        labels = [label for part in defined.parts for label in by_structure[_with_prefix(part, by_structure)]]
        for side in ("left", "right", "both"):
            codes = tuple(sorted(label.index for label in labels if side in ("both", label.hemisphere)))
            meta.append(Region(defined.name, codes, side, "meta-region", defined.name))
    return (*single, *pairs, *meta)


def _with_prefix(part: str, known: Mapping[str, object]) -> str:
    return part if part in known else f"ctx-{part}"


def _tissue_labels() -> list[_Label]:
    with resource("Atlases", "aparc+aseg_labels.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    tissue = [row for row in rows if row["tissue"] in ("GM", "WM", "mixed") and "unknown" not in row["name"]]
    sides = {"L": "left", "R": "right"}
    return [
        _Label(int(row["index"]), row["name"], structure_of(row["name"]), sides.get(row["hemisphere"], "both"))
        for row in tissue
    ]


@lru_cache(maxsize=1)
def label_image() -> sitk.Image:
    """The atlas' labels in template space, uint16, 1 mm."""
    return sitk.ReadImage(str(resource("Atlases", "mni152_aparc+aseg_1mm.nii.gz")), sitk.sitkUInt16)


def labels_on(grid: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    """Atlas labels on a person's grid (nearest), (z, y, x).

    Args:
        grid: the person's volume.
        transform: maps points of the person's world to template points.
    """
    return sitk.GetArrayFromImage(sitk.Resample(label_image(), grid, transform, sitk.sitkNearestNeighbor, 0))


def reference_mask(name: str, grid: sitk.Image, transform: sitk.Transform, labels: np.ndarray) -> np.ndarray:
    """A reference region of SUVR on a person's grid.

    Args:
        name: one of `REFERENCE_REGIONS`; pons and cerebellum-pons are Clinica's eroded masks.
        grid: the person's volume.
        transform: maps points of the person's world to template points.
        labels: `labels_on` of the same grid.

    Raises:
        UsageError: unknown name.
    """
    if name in _CEREBELLUM:
        return np.isin(labels, _CEREBELLUM[name])
    if name in _SHIPPED_MASKS:
        mask = sitk.ReadImage(str(resource("Atlases", _SHIPPED_MASKS[name])), sitk.sitkUInt8)
    elif name == "white-matter-eroded":
        mask = _eroded_white_matter()
    else:
        raise UsageError(f"Unknown reference region {name!r}. Use one of {', '.join(REFERENCE_REGIONS)}.")
    return sitk.GetArrayFromImage(sitk.Resample(mask, grid, transform, sitk.sitkNearestNeighbor, 0)) > 0


@lru_cache(maxsize=1)
def _eroded_white_matter() -> sitk.Image:
    labels = label_image()
    white = (labels == 2) | (labels == 41)
    return sitk.BinaryErode(white, [WHITE_MATTER_EROSION_MM] * 3, sitk.sitkBall)


def find_regions(names: Iterable[str | int]) -> tuple[Region, ...]:
    """Regions by what a recipe calls them.

    Args:
        names: a meta-region (`fdg_ad_signature`), a region (`ctx-lh-precuneus`), a region without its side for both
            hemispheres (`precuneus`, `Hippocampus`), or a label number.

    Raises:
        BadInputError: no such region; the nearest name is given.
    """
    found: list[Region] = []
    for name in names:
        matches = [region for region in regions() if _answers_to(region, name)]
        if not matches:
            known = sorted({called for region in regions() for called in _names(region)})
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise BadInputError(f"The atlas has no region {name!r}.{hint}")
        # A name without a side means both hemispheres.
        region = next((region for region in matches if region.hemisphere == "both"), matches[0])
        if region not in found:
            found.append(region)
    return tuple(found)


def _answers_to(region: Region, name: str | int) -> bool:
    if isinstance(name, int):
        return region.labels == (name,)
    return name.lower() in {called.lower() for called in _names(region)}


def _names(region: Region) -> set[str]:
    if region.hemisphere != "both":
        return {region.name}
    return {region.name, region.structure, region.structure.removeprefix("ctx-")}


def member_names(found: Iterable[Region]) -> tuple[str, ...]:
    """The atlas' names of the single regions in a union of regions and meta-regions, in the atlas' order."""
    labels = {label for region in found for label in region.labels}
    return tuple(region.name for region in regions() if len(region.labels) == 1 and region.labels[0] in labels)


@lru_cache(maxsize=4)
def region_mask(found: tuple[Region, ...], grid: Resample) -> np.ndarray:
    """The union of regions on a model's grid in template space (nearest).

    Returns:
        uint8, (z, y, x), 1 inside; read-only.

    Raises:
        BadInputError: the grid holds no voxel of them.
    """
    labels = labels_on(model_grid(grid), sitk.Transform())
    mask = np.isin(labels, [label for region in found for label in region.labels]).astype(np.uint8)
    if not mask.any():
        raise BadInputError(f"The model's grid holds no voxel of {', '.join(region.name for region in found)}.")
    mask.setflags(write=False)
    return mask
