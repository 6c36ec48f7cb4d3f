"""What people call things that files and programs know by an id: regions, reference regions, metrics, tracers.

One table for reports, command line and panel; tables keep the ids and add these names. Plain Python, so that the panel
can use it before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Desikan-Killiany parcels (with `ctx-`) and FreeSurfer's structures, without their side; and the unions of them that
# the literature reports (`preprocessing.meta_regions`).
REGIONS: Mapping[str, str] = {
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
    "Amygdala": "Amygdala",
    "Brain-Stem": "Brain stem",
    "CC_Anterior": "Corpus callosum, anterior",
    "CC_Central": "Corpus callosum, central",
    "CC_Mid_Anterior": "Corpus callosum, mid-anterior",
    "CC_Mid_Posterior": "Corpus callosum, mid-posterior",
    "CC_Posterior": "Corpus callosum, posterior",
    "Caudate": "Caudate nucleus",
    "Cerebellum-Cortex": "Cerebellar cortex",
    "Cerebellum-White-Matter": "Cerebellar white matter",
    "Cerebral-White-Matter": "Cerebral white matter",
    "Hippocampus": "Hippocampus",
    "Optic-Chiasm": "Optic chiasm",
    "Pallidum": "Pallidum",
    "Putamen": "Putamen",
    "Thalamus": "Thalamus",
    "VentralDC": "Ventral diencephalon",
    "WM-hypointensities": "White matter hypointensities",
    "non-WM-hypointensities": "Other hypointensities",
    "tau_meta_temporal": "Tau meta-temporal",
    "braak_1": "Braak I",
    "braak_2": "Braak II",
    "braak_3": "Braak III",
    "braak_4": "Braak IV",
    "braak_5": "Braak V",
    "braak_6": "Braak VI",
    "fdg_ad_signature": "FDG AD signature",
    "amyloid_global": "Amyloid cortical summary",
}
# What the literature reports for a tracer, the main one first: tables begin with these.
PRIMARY_REGIONS: Mapping[str, tuple[str, ...]] = {
    "FDG-PET": ("fdg_ad_signature",),
    "TAU-PET": ("tau_meta_temporal", *(f"braak_{stage}" for stage in range(1, 7))),
    "AMYLOID-PET": ("amyloid_global",),
}
REFERENCE_REGIONS: Mapping[str, str] = {
    "cerebellar-gray": "Cerebellar gray matter",
    "whole-cerebellum": "Whole cerebellum",
    "pons": "Pons",
    "cerebellum-pons": "Cerebellum and pons",
    "white-matter-eroded": "Eroded white matter",
}
METRICS: Mapping[str, str] = {
    "MAE": "Mean absolute error",
    "MSE": "Mean squared error",
    "RMSE": "Root mean squared error",
    "PSNR": "Peak signal-to-noise ratio",
    "SSIM": "Structural similarity",
    "MS-SSIM": "Multi-scale structural similarity",
    "NCC": "Normalized cross-correlation",
    "NMI": "Normalized mutual information",
    "AUSE": "Area under the sparsification error",
}
TRACERS: Mapping[str, str] = {"florbetapir": "Florbetapir", "florbetaben": "Florbetaben"}
_SIDES = (("ctx-lh-", "ctx-", "left"), ("ctx-rh-", "ctx-", "right"), ("Left-", "", "left"), ("Right-", "", "right"))
_OTHER_KIND, _SINGLE = 1, 2


def structure_of(region: str) -> str:
    """A region's id without its side: `ctx-precuneus` of `ctx-lh-precuneus`."""
    for prefix, plain, _side in _SIDES:
        if region.startswith(prefix):
            return plain + region[len(prefix) :]
    return region


def structure_name(region: str) -> str:
    """A region's name without its side: `Precuneus` of `ctx-lh-precuneus`; an id that is not known stays."""
    structure = structure_of(region)
    return REGIONS.get(structure) or REGIONS.get(f"ctx-{structure}", structure)


def region_name(region: str, hemisphere: str | None = None) -> str:
    """A region's name for people: `Precuneus, left`.

    Args:
        region: its id.
        hemisphere: left, right or both, of ids that do not say it themselves.
    """
    side = next((side for prefix, _plain, side in _SIDES if region.startswith(prefix)), hemisphere)
    return structure_name(region) if side in (None, "", "both") else f"{structure_name(region)}, {side}"


def region_place(region: str, kind: str, modality: str | None) -> tuple[int, int]:
    """Where tables list a region: what the literature reports for the tracer, the other meta-regions, single regions.

    Args:
        region: its id.
        kind: region or meta-region.
        modality: of the tracer, where it is known.
    """
    first = PRIMARY_REGIONS.get(modality or "", ())
    if region in first:
        return 0, first.index(region)
    return (_OTHER_KIND if kind == "meta-region" else _SINGLE), 0


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


def reference_region_name(name: str) -> str:
    """A reference region's name for people, however it is spelled; one that is not known stays as it is."""
    return REFERENCE_REGIONS.get(reference_region_id(name), name)


def _words_of(name: str) -> list[str]:
    words = [_SAME_WORDS.get(word, word) for word in re.findall(r"[a-z0-9]+", name.lower())]
    return sorted({word for word in words if word not in _FILLERS})


def shortened(text: str, length: int) -> str:
    """A text of at most so many characters; a longer one loses its middle, since names differ at their ends too."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head].rstrip()}…{text[len(text) - (length - 1 - head) :].lstrip()}"
