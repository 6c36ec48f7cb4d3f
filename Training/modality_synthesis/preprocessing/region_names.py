"""What people call the atlas' regions: one table for reports, tables and the panel."""

from __future__ import annotations

import re

from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.preprocessing.atlas import Region
from modality_synthesis.preprocessing.meta_regions import META_REGIONS

# Desikan-Killiany parcels and FreeSurfer's structures, by `Region.structure`.
_NAMES = {
    "ctx-bankssts": "Banks of the superior temporal sulcus",
    "ctx-caudalanteriorcingulate": "Caudal anterior cingulate",
    "ctx-caudalmiddlefrontal": "Caudal middle frontal gyrus",
    "ctx-corpuscallosum": "Cortex at the corpus callosum",
    "ctx-cuneus": "Cuneus",
    "ctx-entorhinal": "Entorhinal cortex",
    "ctx-frontalpole": "Frontal pole",
    "ctx-fusiform": "Fusiform gyrus",
    "ctx-inferiorparietal": "Inferior parietal lobule",
    "ctx-inferiortemporal": "Inferior temporal gyrus",
    "ctx-insula": "Insula",
    "ctx-isthmuscingulate": "Isthmus of the cingulate",
    "ctx-lateraloccipital": "Lateral occipital cortex",
    "ctx-lateralorbitofrontal": "Lateral orbitofrontal cortex",
    "ctx-lingual": "Lingual gyrus",
    "ctx-medialorbitofrontal": "Medial orbitofrontal cortex",
    "ctx-middletemporal": "Middle temporal gyrus",
    "ctx-paracentral": "Paracentral lobule",
    "ctx-parahippocampal": "Parahippocampal gyrus",
    "ctx-parsopercularis": "Pars opercularis",
    "ctx-parsorbitalis": "Pars orbitalis",
    "ctx-parstriangularis": "Pars triangularis",
    "ctx-pericalcarine": "Pericalcarine cortex",
    "ctx-postcentral": "Postcentral gyrus",
    "ctx-posteriorcingulate": "Posterior cingulate",
    "ctx-precentral": "Precentral gyrus",
    "ctx-precuneus": "Precuneus",
    "ctx-rostralanteriorcingulate": "Rostral anterior cingulate",
    "ctx-rostralmiddlefrontal": "Rostral middle frontal gyrus",
    "ctx-superiorfrontal": "Superior frontal gyrus",
    "ctx-superiorparietal": "Superior parietal lobule",
    "ctx-superiortemporal": "Superior temporal gyrus",
    "ctx-supramarginal": "Supramarginal gyrus",
    "ctx-temporalpole": "Temporal pole",
    "ctx-transversetemporal": "Transverse temporal gyrus",
    "Accumbens-area": "Nucleus accumbens",
    "Brain-Stem": "Brain stem",
    "CC_Anterior": "Corpus callosum, anterior",
    "CC_Central": "Corpus callosum, central",
    "CC_Mid_Anterior": "Corpus callosum, mid-anterior",
    "CC_Mid_Posterior": "Corpus callosum, mid-posterior",
    "CC_Posterior": "Corpus callosum, posterior",
    "Cerebellum-Cortex": "Cerebellar cortex",
    "Cerebellum-White-Matter": "Cerebellar white matter",
    "Cerebral-White-Matter": "Cerebral white matter",
    "Optic-Chiasm": "Optic chiasm",
    "VentralDC": "Ventral diencephalon",
    "WM-hypointensities": "White matter hypointensities",
    "non-WM-hypointensities": "Other hypointensities",
} | {defined.name: defined.label for defined in META_REGIONS}


def region_name(region: Region) -> str:
    """A region's name for people: `Precuneus, left`."""
    structure = region.structure or region.name
    name = _NAMES.get(structure, structure)
    return name if region.hemisphere == "both" else f"{name}, {region.hemisphere}"


# Words of a reference region's name that mean the same, and those that tell nothing apart.
_SAME_WORDS = {"cerebellar": "cerebellum", "cerebellums": "cerebellum", "pontine": "pons", "grey": "gray",
               "cortex": "gray", "cortical": "gray", "gm": "gray", "wm": "white", "erosion": "eroded"}  # fmt: skip
_FILLERS = {"matter", "region", "reference", "and", "the", "of", "whole", "full", "entire", "subcortical", "mask"}


def reference_region_id(name: str) -> str:
    """The id of a reference region (`REFERENCE_REGIONS`), however it is spelled: "Cerebellar grey matter", for example.

    What is none of them comes back in one spelling, so that two names of one region are equal.
    """
    words = _words_of(name)
    known = {frozenset(_words_of(region)): region for region in REFERENCE_REGIONS}
    return known.get(frozenset(words)) or "-".join(words)


def _words_of(name: str) -> list[str]:
    words = [_SAME_WORDS.get(word, word) for word in re.findall(r"[a-z0-9]+", name.lower())]
    return sorted({word for word in words if word not in _FILLERS})
