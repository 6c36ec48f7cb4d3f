"""The modalities' names, and the many ways people and files write them."""

from __future__ import annotations

import difflib
import re

MODALITIES = ("T1w", "T2w", "FLAIR", "CT", "FDG-PET", "TAU-PET", "AMYLOID-PET")
# Names of PET tracers in use; compared without capitals, signs and isotope (`[18F]FDG` and `f18-fdg` are FDG).
TRACERS = {
    "FDG-PET": ("fdg", "fluorodeoxyglucose", "fludeoxyglucose"),
    "TAU-PET": ("av1451", "flortaucipir", "tauvid", "ftp", "t807", "mk6240", "florquinitau", "pi2620", "ro948",
                "gtp1", "apn1607", "pmpbb3", "florzolotau", "ro6958948", "jnj311", "jnj067", "thk5351", "thk5317",
                "thk523", "pbb3", "tau"),
    "AMYLOID-PET": ("pib", "pittsburghcompoundb", "av45", "florbetapir", "amyvid", "fbp", "fbb", "florbetaben",
                    "bay949172", "neuraceq", "flutemetamol", "fmm", "flute", "vizamyl", "nav4694", "azd4694",
                    "flutafuranol", "amyloid", "abeta"),
}  # fmt: skip
_SPELLINGS = {
    "T1w": ("t1", "t1w", "t1weighted", "t1wmri", "t1mri", "mrit1", "mrit1w", "t1wmr", "mprage", "t1mprage"),
    "T2w": ("t2", "t2w", "t2weighted", "t2wmri", "t2mri", "mrit2", "mrit2w", "t2wmr"),
    "FLAIR": ("flair", "t2flair", "flairmri", "mriflair", "t2wflair"),
    "CT": ("ct", "ctscan", "headct", "cthead", "cct"),
}
_ISOTOPE = re.compile(r"^(18f|f18|11c|c11)")


def modality_of(text: str) -> str | None:
    """The modality that a word means, however it is written: `fdg_pet`, `FDG` and `[18F]FDG` are FDG-PET.

    Args:
        text: what a user typed, a column's name, or a tracer's.

    Returns:
        One of `MODALITIES`; None for anything else, `PET` and `MRI` alone among it.
    """
    word = re.sub(r"[^a-z0-9]", "", text.lower())
    return _BY_WORD.get(word) or _BY_WORD.get(_without_isotope(word)) or tracer_modality(text)


def tracer_modality(tracer: str) -> str | None:
    """The modality of a PET tracer's name (`18FAV45`, `Florbetapir (18F)`); None when it is not known."""
    word = re.sub(r"[^a-z0-9]", "", tracer.lower())
    # "2-[18F]fluoro-2-deoxy-D-glucose" has its isotope in the middle.
    sugar = "FDG-PET" if "deoxy" in word and "gluco" in word else None
    return _BY_TRACER.get(word) or _BY_TRACER.get(_without_isotope(word)) or sugar


def nearest_modality(text: str) -> str | None:
    """The modality whose spelling is nearest to a word that means none."""
    nearest = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", text.lower()), [*_BY_WORD, *_BY_TRACER], n=1)
    return (_BY_WORD | _BY_TRACER)[nearest[0]] if nearest else None


def _without_isotope(word: str) -> str:
    bare = _ISOTOPE.sub("", word)
    return bare if bare != word else re.sub(r"(18f|f18|11c|c11)$", "", word)


_BY_TRACER = {name: modality for modality, names in TRACERS.items() for name in names}
_BY_WORD = {
    **{word: modality for modality, words in _SPELLINGS.items() for word in words},
    **{word: modality for name, modality in _BY_TRACER.items() for word in (f"{name}pet", f"pet{name}")},
}
