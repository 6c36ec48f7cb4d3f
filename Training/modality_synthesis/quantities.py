"""What the voxels of a volume measure, as coded concepts: DICOM files and MRML nodes carry the same codes."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept: its value in a coding scheme, and what it means."""

    value: str
    scheme: str
    meaning: str


class Quantity(NamedTuple):
    """What is measured, and in which unit (UCUM)."""

    quantity: Code
    unit: Code


# SUVR has no standard code (DICOM PS3.16 CID 7466 knows only lesions); schemes that begin with 99 are private.
PRIVATE_SCHEME = "99MODSYN"
QUANTITIES = {
    "SUVR": Quantity(
        Code("SUVR", PRIVATE_SCHEME, "Standardized Uptake Value Ratio"),
        Code("{ratio}", "UCUM", "ratio"),
    ),
    "z-score": Quantity(
        Code("ZSCORE", PRIVATE_SCHEME, "Standard deviations above the mean of a normal cohort"),
        Code("1", "UCUM", "no units"),
    ),
    "HU": Quantity(
        Code("112031", "DCM", "Attenuation Coefficient"),
        Code("[hnsf'U]", "UCUM", "Hounsfield unit"),
    ),
    "signal": Quantity(
        Code("110852", "DCM", "MR signal intensity"),
        Code("1", "UCUM", "no units"),
    ),
}
