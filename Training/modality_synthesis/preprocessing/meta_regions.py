"""Named unions of atlas regions that the literature reports, by the FreeSurfer names of their parts (no side)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetaRegion:
    """A union of regions in both hemispheres.

    Attributes:
        name: as in the tables.
        label: for people.
        parts: FreeSurfer structures (`Hippocampus`) and Desikan-Killiany parcels (`precuneus`).
        source: where it was defined.
    """

    name: str
    label: str
    parts: tuple[str, ...]
    source: str


_FRONTAL = (
    "caudalmiddlefrontal", "lateralorbitofrontal", "medialorbitofrontal", "parsopercularis", "parsorbitalis",
    "parstriangularis", "rostralmiddlefrontal", "superiorfrontal", "frontalpole",
)  # fmt: skip
_BRAAK = "Schoell 2016, Neuron 89: 971, in the Desikan-Killiany form that ADNI reports"

META_REGIONS: tuple[MetaRegion, ...] = (
    MetaRegion(
        "tau_meta_temporal", "Tau meta-temporal",
        ("Amygdala", "entorhinal", "parahippocampal", "fusiform", "inferiortemporal", "middletemporal"),
        "Jack 2017, Alzheimers Dement 13: 205",
    ),
    MetaRegion("braak_1", "Braak I", ("entorhinal",), _BRAAK),
    MetaRegion("braak_2", "Braak II", ("Hippocampus",), _BRAAK),
    MetaRegion("braak_3", "Braak III", ("parahippocampal", "fusiform", "lingual", "Amygdala"), _BRAAK),
    MetaRegion(
        "braak_4", "Braak IV",
        ("middletemporal", "caudalanteriorcingulate", "rostralanteriorcingulate", "posteriorcingulate",
         "isthmuscingulate", "insula", "inferiortemporal", "temporalpole"),
        _BRAAK,
    ),
    MetaRegion(
        "braak_5", "Braak V",
        (*_FRONTAL, "lateraloccipital", "supramarginal", "inferiorparietal", "superiortemporal", "superiorparietal",
         "precuneus", "bankssts", "transversetemporal"),
        _BRAAK,
    ),
    MetaRegion(
        "braak_6", "Braak VI", ("pericalcarine", "postcentral", "cuneus", "precentral", "paracentral"), _BRAAK
    ),
    MetaRegion(
        "fdg_ad_signature", "FDG AD signature",
        ("inferiorparietal", "inferiortemporal", "middletemporal", "posteriorcingulate", "isthmuscingulate",
         "precuneus"),
        "after Landau 2011, Neurobiol Aging 32: 1207 (angular, posterior cingulate and temporal clusters), as parcels",
    ),
    MetaRegion(
        "amyloid_global", "Amyloid cortical summary",
        (*_FRONTAL, "caudalanteriorcingulate", "isthmuscingulate", "posteriorcingulate", "rostralanteriorcingulate",
         "inferiorparietal", "precuneus", "superiorparietal", "supramarginal", "middletemporal", "superiortemporal"),
        "Landau 2012, Ann Neurol 72: 578",
    ),
)  # fmt: skip

# What the literature reports for a tracer, the main one first: tables begin with these.
PRIMARY: dict[str, tuple[str, ...]] = {
    "FDG-PET": ("fdg_ad_signature",),
    "TAU-PET": ("tau_meta_temporal", *(f"braak_{stage}" for stage in range(1, 7))),
    "AMYLOID-PET": ("amyloid_global",),
}


@dataclass(frozen=True)
class Centiloid:
    """CL = slope * SUVR + intercept for one tracer, in `amyloid_global` with the whole cerebellum as reference."""

    slope: float
    intercept: float
    source: str


_ROYSE = "Royse 2021, Alzheimers Res Ther 13: 99 (FreeSurfer parcels, native space, whole cerebellum)"
CENTILOID: dict[str, Centiloid] = {
    "florbetapir": Centiloid(188.22, -189.16, _ROYSE),
    "florbetaben": Centiloid(157.15, -151.87, _ROYSE),
}
