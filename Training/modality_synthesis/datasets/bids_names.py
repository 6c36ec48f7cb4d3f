"""What the name of a BIDS file says: its modality, whether it can be used, and which of several is the better one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# https://bids-specification.readthedocs.io/en/stable/appendices/entities.html; the suffix in any capitals.
_NAME = re.compile(r"^(?P<entities>sub-[^_]+(?:_.+)?)_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?$")
_SUFFIXES = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "ct": "CT", "pet": "PET"}
_LOCALIZERS = ("localizer", "localiser", "scout", "survey", "loc", "aahead", "threeplane", "3plane")
_VOLUME_SEQUENCES = ("mprage", "mpr", "ir-fspgr", "irfspgr", "fspgr", "spgr", "bravo", "tfl", "3d", "memprage", "space",
                     "cube", "vista")  # fmt: skip
_OTHER_IMAGES = {
    "unit1": "UNIT1 of an MP2RAGE, whose background is noise; remove it (robust combination) and name the result _T1w",
    "mp2rage": "an inversion image of an MP2RAGE, no T1w",
    "pdw": "a proton-density image",
    "t2starw": "T2*-weighted",
}
_MASKS = ("mask", "dseg", "probseg", "defacemask", "seg", "aseg", "aparcaseg")
_MAPS = re.compile(r"^(t1map|t2map|t2starmap|r1map|r2map|pdmap|mtrmap|mtsat|m0map|s0map|chimap|rb1map|tb1map)$")


@dataclass(frozen=True)
class BidsName:
    """A file's name in its parts: `sub-01_trc-FDG_pet.nii.gz` has the entities sub and trc and the suffix pet."""

    entities: Mapping[str, str]
    suffix: str

    @property
    def kind(self) -> str | None:
        """T1w, T2w, FLAIR, CT or PET; None for other images."""
        return _SUFFIXES.get(self.suffix.lower())


def parse_name(name: str) -> BidsName | None:
    """The parts of a NIfTI file's name; None when it is not named as BIDS has it."""
    match = _NAME.match(name)
    if match is None:
        return None
    parts = [part.split("-", 1) for part in match["entities"].split("_") if "-" in part]
    return BidsName({key.lower(): value for key, value in parts}, match["suffix"])


def why_unusable(name: BidsName) -> tuple[str, str] | None:
    """Kind and reason why an image is never taken, whatever else there is; None when it may be."""
    entities, suffix = name.entities, name.suffix.lower()
    if suffix in _MASKS or "label" in entities or "mask" in entities.get("desc", "").lower():
        return "mask", "a mask or segmentation"
    if suffix in _OTHER_IMAGES:
        return suffix, _OTHER_IMAGES[suffix]
    if _MAPS.match(suffix):
        return "map", "a quantitative map"
    if name.kind is None:
        return "other", f"_{name.suffix} is no T1w, T2w, FLAIR, CT or PET"
    if entities.get("part", "mag").lower() in ("phase", "real", "imag"):
        return "part", f"part-{entities['part']}: no magnitude image"
    for entity, what in (("inv", "inversion"), ("echo", "echo"), ("flip", "flip angle"), ("chunk", "part of the body")):
        if entity in entities:
            return entity, f"{entity}-{entities[entity]}: one {what} of several"
    if any(_localizer(entities.get(entity, "")) for entity in ("acq", "desc", "rec")):
        return "localizer", "a localizer, too coarse"
    return None


def preference(name: BidsName, dynamic: bool = False) -> tuple[object, ...]:
    """Sorts the images of one modality, the better first, whatever their names' alphabet.

    Attenuation-corrected before not, static before dynamic, plain before contrast-enhanced, native before template
    space, whole head before brain only, volume sequences before others, first run before second (as numbers).

    Args:
        name: of the file.
        dynamic: the sidecar lists several frames.
    """
    entities = {key: value.lower() for key, value in name.entities.items()}
    rec, desc, acq = entities.get("rec", ""), entities.get("desc", ""), entities.get("acq", "")
    space = entities.get("space", "")
    return (
        not_corrected(name),
        2 if dynamic or "dyn" in rec or "dyn" in acq or "dyn" in desc else 0 if "stat" in rec + acq + desc else 1,
        "ce" in entities or _contrast(acq),
        0 if not space else 1 if space in ("t1w", "orig", "native", "individual", "scanner", "pet") else 2,
        2
        if any(word in desc for word in ("brain", "skullstrip", "bet", "noskull"))
        else 1
        if desc not in ("", "preproc")
        else 0,
        0
        if any(acq == word or acq.startswith(word) or word in acq.split("-") for word in _VOLUME_SEQUENCES)
        else 1
        if not acq
        else 2,
        _number(entities.get("run", "")),
        [_number(value) for _, value in sorted(entities.items())],
    )


def not_corrected(name: BidsName) -> bool:
    """Whether a PET was reconstructed without the attenuation correction."""
    words = [name.entities.get(entity, "").lower() for entity in ("rec", "acq", "desc")]
    return any(word.startswith("nac") or word in ("nonac", "noac", "uncorrected") for word in words)


def is_contrast_enhanced(name: BidsName) -> bool:
    """Whether a contrast agent was given."""
    return "ce" in name.entities or _contrast(name.entities.get("acq", "").lower())


def _contrast(acquisition: str) -> bool:
    if acquisition.startswith(("pre", "no")):
        return False
    return acquisition in ("post", "gad", "ce", "t1ce") or any(
        word in acquisition for word in ("gadolin", "gd", "contrast")
    )


def _localizer(value: str) -> bool:
    word = value.lower()
    return any(word == one or (len(one) > 3 and one in word) for one in _LOCALIZERS)


def _number(text: str) -> tuple[int, str]:
    """Numbers as numbers: run 2 before run 10."""
    digits = re.match(r"\d+", text)
    return (int(digits[0]) if digits else 0, text)
