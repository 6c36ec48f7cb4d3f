"""One name per scanner manufacturer, however a file or table writes it."""

from __future__ import annotations

import re

from modality_synthesis.tables import is_unknown

# First match wins. CTI and its joint venture CPS built the PET scanners that Siemens sold and took over in 2005 (ECAT,
# HRRT); ADAC's went to Philips in 2000, Toshiba Medical's to Canon in 2016.
_PATTERNS = (
    ("Siemens", r"\b(siemens|cti|cps|ecat)"),
    ("GE", r"\b(ge|gems|gehc|general electric)\b"),
    ("Philips", r"\b(philips|adac)"),
    ("Canon", r"\b(canon|toshiba)"),
    ("United Imaging", r"\b(uih|united imaging)"),
    ("Hitachi", r"\b(hitachi|fujifilm)"),
)


def canonical_manufacturer(name: str | None) -> str | None:
    """`SIEMENS`, `Siemens Healthineers`, `CPS` -> `Siemens`; `GE MEDICAL SYSTEMS` -> `GE`; None when unknown.

    A manufacturer that is not in the list keeps its name, with capitals and spaces made uniform.
    """
    text = " ".join((name or "").replace("_", " ").split())
    if is_unknown(text) or text.lower() == "other":
        return None
    found = next((known for known, pattern in _PATTERNS if re.search(pattern, text.lower())), None)
    return found or text.title()
