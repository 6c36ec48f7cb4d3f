"""JSON objects in files that anybody may have written: read within bounds, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The largest that this program writes, a study's record of one visit, has less than a hundredth of it.
LARGEST_BYTES = 32 << 20


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file: UTF-8, with or without a byte order mark.

    Raises:
        OSError: missing, or not to be read.
        ValueError: no regular file (a pipe would keep the reader waiting), too large, no JSON, nested too deeply, or
            no object; says which in a few words.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as stream:
        content = stream.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it is larger than {LARGEST_BYTES >> 20} MiB")
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no JSON object")
    return found
