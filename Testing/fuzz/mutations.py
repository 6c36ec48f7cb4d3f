"""How inputs are damaged: bytes, lines of text, values of JSON. All by a random generator that is given."""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Iterator
from random import Random
from typing import Any

WORDS = [
    "0", "-1", "1", "7", "255", "65536", "2147483647", "-2147483648", "4294967296", "9223372036854775807", "1e308",
    "1e-320", "nan", "inf", "-inf", "", "x", "0x10", "1,5", "9" * 400, "(1,0,0)", "none", "../../../etc/passwd",
    "/etc/passwd", "/dev/zero", "LIST", "%03d.raw 1 9 1", "\x1b[2J", "\u202e", "true", "\0", "$\\frac$",
    "=cmd|' /C'!A0",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -0.0, 1e308, 0.99999999, float("nan"), float("inf"), "", "x",
    "\x1b[31m", "\u202ea", "../..", "/etc/passwd", "//server/share", "<img src=x>", "$\\frac$", "\ud800", [], {}, [[]],
    [1, 2, 3], [100_000] * 3, [2048, 2048], {"a": 1}, "a" * 5000,
]  # fmt: skip
_YAML = ['"', "'", "&a", "*a", "!!python/object/apply:os.system ['id']", "[", "{", "- ", "<<: *x", "\ufeff"]
_SEPARATORS = [":", "=", ",", " "]
_DEPTHS = [50, 900, 5_000, 200_000]
_INTEGERS = [0, -1, 1, 2**15 - 1, 2**31 - 1, -(2**31), 2**63 - 1]
_REALS = [float("nan"), float("inf"), 1e38, -1.0, 0.0]


def flipped(random: Random, content: bytes, last: int | None = None) -> bytes:
    """Some bytes changed, before `last`."""
    changed = bytearray(content)
    end = min(last or len(changed), len(changed))
    for _ in range(random.choice([1, 1, 2, 4, 8, 32]) if end else 0):
        changed[random.randrange(end)] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    return bytes(changed)


def bytes_mutated(random: Random, content: bytes, head: int | None = None) -> bytes:
    """Bytes flipped, cut, added, inserted, taken out or replaced by a number, in the first `head` ones if given."""
    kind, end = random.random(), min(head or len(content), len(content))
    if kind < 0.55 or not end:
        return flipped(random, content, head)
    if kind < 0.65:
        return content[: random.randrange(len(content) + 1)]
    if kind < 0.72:
        return content + random.randbytes(random.randrange(1, 4096))
    place = random.randrange(end)
    if kind < 0.80:
        return content[:place] + random.randbytes(random.randrange(1, 64)) + content[place:]
    if kind < 0.88:
        return content[:place] + content[place + random.randrange(1, 64) :]
    form = random.choice(["<i", "<h", "<f", "<d", "<q"])
    try:
        number = struct.pack(form, random.choice(_INTEGERS if form[1] in "ihq" else _REALS))
    except (struct.error, OverflowError):
        number = b"\xff" * 4
    return content[:place] + number + content[place + len(number) :]


def fields_mutated(random: Random, content: bytes, fields: list[tuple[int, str]]) -> bytes:
    """Numbers of a binary header replaced.

    Args:
        random: generator.
        content: of the file.
        fields: place and `struct` format of each number.
    """
    values: dict[str, list[Any]] = {
        "<h": [0, 1, -1, 2, 4, 7, 8, 9, 16, 64, 128, 256, 512, 1024, 1280, 2304, 32767, -32768],
        "<i": [0, 1, -1, 2**31 - 1, -(2**31), 348, 540],
        "<f": [
            0.0,
            -0.0,
            1.0,
            -1.0,
            1.00001,
            352.0,
            1e9,
            1e38,
            -1e38,
            1e-40,
            float("nan"),
            float("inf"),
            -float("inf"),
        ],
    }
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 3])):
        place, form = random.choice(fields)
        struct.pack_into(form, changed, place, random.choice(values[form]))
    return bytes(changed)


def text_mutated(random: Random, text: str) -> bytes:
    """Lines changed, repeated, removed, joined or cut: headers, tables and YAML."""
    lines = text.split("\n")
    for _ in range(random.choice([1, 1, 2, 3])):
        place, kind = random.randrange(len(lines)), random.random()
        line, other = lines[place], lines[random.randrange(len(lines))]
        if kind < 0.45:
            lines[place] = re.sub(
                r"[-\w.()]+$|[-\d.]+", lambda m: random.choice(WORDS) if random.random() < 0.5 else m.group(), line
            )
        elif kind < 0.55:
            lines.insert(place, other)
        elif kind < 0.65:
            del lines[place]
            lines = lines or [""]
        elif kind < 0.75:
            new = random.choice(["", "::", "=", "\t", ";", "\r", "\u2028"])
            lines[place] = line.replace(random.choice(_SEPARATORS), new)
        elif kind < 0.82:
            lines[place] = line * random.choice([2, 50, 3000])
        elif kind < 0.90:
            lines[place] = re.split("[:=,]", line)[0] + random.choice([": ", " = ", ","]) + re.split("[:=,]", other)[-1]
        else:
            cut, again = random.randrange(len(line) + 1), random.randrange(len(line) + 1)
            lines[place] = line[:cut] + random.choice(WORDS + _YAML) + line[again:]
    return "\n".join(lines).encode("utf-8", "replace")


def json_mutated(random: Random, value: Any) -> bytes:
    """Values of a JSON replaced, removed or added; sometimes nested beyond all measure, or damaged as bytes."""
    value = copy.deepcopy(value)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        paths = [path for path in _paths(value) if path]
        if not paths:
            break
        *parents, last = random.choice(paths)
        holder = value
        for key in parents:
            holder = holder[key]
        kind = random.random()
        if kind < 0.70:
            holder[last] = copy.deepcopy(random.choice(VALUES))
        elif kind < 0.85:
            del holder[last]
        else:
            new = copy.deepcopy(random.choice(VALUES))
            if isinstance(holder, dict):
                holder[random.choice(["x", "\x1b]0;t\x07", "__class__", "id", "a" * 300])] = new
            else:
                holder.insert(0, new)
    kind = random.random()
    if kind < 0.04:
        value = random.choice(VALUES)
    text = json.dumps(value)
    if 0.04 < kind < 0.12:
        text = text.replace(":", ":" + "[" * random.choice(_DEPTHS), 1)
    content = text.encode("utf-8", "replace")
    return bytes_mutated(random, content) if 0.12 < kind < 0.20 else content


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))
