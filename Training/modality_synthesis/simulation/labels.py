"""The head label maps a cohort is simulated from: which heads, which split, which label is which tissue."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.resources import resource

if TYPE_CHECKING:
    import SimpleITK as sitk

# A head belongs to one split for good, so that no anatomy is ever shared between training and testing.
HEADS_BY_SPLIT: dict[str, tuple[str, ...]] = {
    "train": ("01", "02", "03", "04", "06", "08", "09", "10"),
    "validation": ("11", "14"),
    "test": ("16", "18"),
}

# Desikan-Killiany parcel numbers; + 1000 is left, + 2000 is right.
PARCELS: dict[str, int] = {
    "bankssts": 1, "caudalanteriorcingulate": 2, "caudalmiddlefrontal": 3, "cuneus": 5, "entorhinal": 6,
    "fusiform": 7, "inferiorparietal": 8, "inferiortemporal": 9, "isthmuscingulate": 10, "lateraloccipital": 11,
    "lateralorbitofrontal": 12, "lingual": 13, "medialorbitofrontal": 14, "middletemporal": 15,
    "parahippocampal": 16, "paracentral": 17, "parsopercularis": 18, "parsorbitalis": 19, "parstriangularis": 20,
    "pericalcarine": 21, "postcentral": 22, "posteriorcingulate": 23, "precentral": 24, "precuneus": 25,
    "rostralanteriorcingulate": 26, "rostralmiddlefrontal": 27, "superiorfrontal": 28, "superiorparietal": 29,
    "superiortemporal": 30, "supramarginal": 31, "frontalpole": 32, "temporalpole": 33, "transversetemporal": 34,
    "insula": 35,
}  # fmt: skip

STRUCTURES: dict[str, tuple[int, ...]] = {
    "cerebral_white_matter": (2, 41),
    "lesion": (25, 57),
    "lateral_ventricle": (4, 43),
    "inferior_lateral_ventricle": (5, 44),
    "choroid_plexus": (136, 137, 163, 164),
    "third_fourth_ventricle": (14, 15, 72),
    "csf": (24,),
    "cerebellum_white_matter": (7, 46),
    "cerebellum_cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "brainstem": (16,),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "accumbens": (26, 58),
    "ventral_dc": (28, 60),
    "vessel": (30, 62, 502, 514),
    "optic": (85, 530),
    "eye": (506,),
    "soft_tissue": (507,),
    "muscle": (508,),
    "mucosa": (509,),
    "skin": (511,),
    "spinal_cord": (512,),
    "cortical_bone": (515,),
    "cancellous_bone": (516,),
}

CORTEX: tuple[int, ...] = tuple(side + number for side in (1000, 2000) for number in PARCELS.values())
LABEL_COUNT = 2048

_BRAIN_STRUCTURES = (
    "cerebral_white_matter", "lesion", "lateral_ventricle", "inferior_lateral_ventricle", "choroid_plexus",
    "third_fourth_ventricle", "cerebellum_white_matter", "cerebellum_cortex", "thalamus", "caudate", "putamen",
    "pallidum", "brainstem", "hippocampus", "amygdala", "accumbens", "ventral_dc", "optic",
)  # fmt: skip
BRAIN: tuple[int, ...] = (
    *CORTEX,
    *(label for name in _BRAIN_STRUCTURES if name != "optic" for label in STRUCTURES[name]),
    30,
    62,
    85,
)


def parcel(name: str) -> tuple[int, int]:
    """The left and right label of a cortical parcel."""
    number = PARCELS[name]
    return (1000 + number, 2000 + number)


def labels_of(region: str) -> tuple[int, ...]:
    """The labels of a structure or a cortical parcel (both hemispheres)."""
    return parcel(region) if region in PARCELS else STRUCTURES[region]


def lookup(values: dict[str, float], default: float = 0.0) -> np.ndarray:
    """A table label -> value of shape (LABEL_COUNT,), float32, from values per structure or parcel.

    The key "cortex" stands for every parcel; a parcel's own key overrides it.
    """
    table = np.full(LABEL_COUNT, default, dtype=np.float32)
    if "cortex" in values:
        table[list(CORTEX)] = values["cortex"]
    for region, value in values.items():
        if region != "cortex":
            table[list(labels_of(region))] = value
    return table


def membership(labels: tuple[int, ...]) -> np.ndarray:
    """A boolean table label -> is it one of `labels`, shape (LABEL_COUNT,)."""
    table = np.zeros(LABEL_COUNT, dtype=bool)
    table[list(labels)] = True
    return table


@cache
def load_head(head: str) -> sitk.Image:
    """A shipped head label map: uint16, 1 mm, whole head."""
    import SimpleITK as sitk

    return sitk.ReadImage(str(resource("LabelMaps", f"head-{head}_desc-dk_dseg.nii.gz")), sitk.sitkUInt16)
