"""What a kept result was made from, as one hash: whatever resumes or caches compares it, and makes the rest again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modality_synthesis._version import __version__

# Bump it when the same inputs, parameters and weights give another result than before: checks, preprocessing,
# generators, measurements. Kept results of other numbers, and of other versions of the program, are made again.
RESULTS_VERSION = 1


def program() -> str:
    """The program as fingerprints know it."""
    return f"{__version__}+{RESULTS_VERSION}"


def fingerprint(**facts: Any) -> str:
    """SHA-256, in hexadecimal, of named facts and of the program that uses them.

    Args:
        facts: JSON's types, tuples, and what `str` tells apart (paths, dates).
    """
    text = json.dumps({**facts, "program": program()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
