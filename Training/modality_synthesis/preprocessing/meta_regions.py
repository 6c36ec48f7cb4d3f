"""Named unions of atlas regions that the literature reports, by the FreeSurfer names of their parts (no side)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetaRegion:
    """A union of regions in both hemispheres.

    Attributes:
        name: as in the tables; `names.REGIONS` has what people call it.
        parts: FreeSurfer structures (`Hippocampus`) and Desikan-Killiany parcels (`precuneus`).
        source: where it was defined.
    """

    name: str
    parts: tuple[str, ...]
    source: str


_FRONTAL = (
    "caudalmiddlefrontal", "lateralorbitofrontal", "medialorbitofrontal", "parsopercularis", "parsorbitalis",
    "parstriangularis", "rostralmiddlefrontal", "superiorfrontal", "frontalpole",
)  # fmt: skip
_BRAAK = "Schoell 2016, Neuron 89: 971, in the Desikan-Killiany form that ADNI reports"

META_REGIONS: tuple[MetaRegion, ...] = (
    MetaRegion(
        "tau_meta_temporal",
        ("Amygdala", "entorhinal", "parahippocampal", "fusiform", "inferiortemporal", "middletemporal"),
        "Jack 2017, Alzheimers Dement 13: 205",
    ),
    MetaRegion("braak_1", ("entorhinal",), _BRAAK),
    MetaRegion("braak_2", ("Hippocampus",), _BRAAK),
    MetaRegion("braak_3", ("parahippocampal", "fusiform", "lingual", "Amygdala"), _BRAAK),
    MetaRegion(
        "braak_4",
        ("middletemporal", "caudalanteriorcingulate", "rostralanteriorcingulate", "posteriorcingulate",
         "isthmuscingulate", "insula", "inferiortemporal", "temporalpole"),
        _BRAAK,
    ),
    MetaRegion(
        "braak_5",
        (*_FRONTAL, "lateraloccipital", "supramarginal", "inferiorparietal", "superiortemporal", "superiorparietal",
         "precuneus", "bankssts", "transversetemporal"),
        _BRAAK,
    ),
    MetaRegion(
        "braak_6", ("pericalcarine", "postcentral", "cuneus", "precentral", "paracentral"), _BRAAK
    ),
    MetaRegion(
        "fdg_ad_signature",
        ("inferiorparietal", "inferiortemporal", "middletemporal", "posteriorcingulate", "isthmuscingulate",
         "precuneus"),
        "after Landau 2011, Neurobiol Aging 32: 1207 (angular, posterior cingulate and temporal clusters), as parcels",
    ),
    MetaRegion(
        "amyloid_global",
        (*_FRONTAL, "caudalanteriorcingulate", "isthmuscingulate", "posteriorcingulate", "rostralanteriorcingulate",
         "inferiorparietal", "precuneus", "superiorparietal", "supramarginal", "middletemporal", "superiortemporal"),
        "Landau 2012, Ann Neurol 72: 578",
    ),
)  # fmt: skip


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
