"""What names, numbers and empty words in tables mean, however they are spelled."""

from __future__ import annotations

import math
import re
import unicodedata

# Not "?" or "other": they may be an answer. A word listed here means "unknown" in every table and option.
UNKNOWN = frozenset(
    {
        "", "-", "--", "–", "—", ".", "na", "n/a", "n.a.", "<na>", "#n/a", "#na", "nan", "none", "null", "nil",
        "unknown", "unk", "missing", "not available", "not known",
    }
)  # fmt: skip
# Columns that say who and when, in the order of preference. The first four are what the documentation promises.
SUBJECT = ("subject", "participant_id", "sub", "id", "subject_id", "participant", "patient_id", "patient", "ptid")
SESSION = ("session", "session_id", "ses")
# A spreadsheet computes a cell that begins so; `=cmd|...` in a name is somebody else's program.
FORMULA_SIGNS = ("=", "+", "@")
# Excel's errors: the formula failed, the value is not known.
_ERRORS = frozenset({"#value!", "#ref!", "#div/0!", "#name?", "#null!", "#num!"})
# Characters that no editor shows and that `str.strip` leaves.
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")


def tidy(text: str) -> str:
    """Without spaces around it and invisible characters; composed Unicode (a macOS `ü` equals a Windows `ü`)."""
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE)).strip()


def harmless(text: str) -> str:
    """A cell as it is written: one that a spreadsheet would take for a formula begins with an apostrophe, as people
    write such cells by hand; numbers and all else stay as they are. `tidy_cell` takes the apostrophe away again."""
    word = text.lstrip()
    formula = word.startswith(FORMULA_SIGNS) or (word.startswith("-") and word[1:2].isalpha())
    return f"'{text}" if formula and not _PLAIN.fullmatch(word) else text


def tidy_cell(text: str) -> str:
    """`tidy`, without the apostrophe of `harmless`."""
    word = tidy(text)
    return word[1:] if word.startswith("'") and harmless(word[1:]) == word else word


def key(name: str) -> str:
    """What a column's name is compared by: `FDG-PET`, `fdg_pet` and ` Fdg Pet ` are one."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())


def is_unknown(value: object) -> bool:
    """Whether a value says that it is not known: None, empty, `NA`, `n/a`, `-`, `unknown` and the like."""
    if value is None:
        return True
    word = tidy(str(value)).lower()
    return word in UNKNOWN or word in _ERRORS


def as_number(text: object, *, comma_is_decimal: bool = False) -> float | None:
    """A finite number as people write it, or None.

    A comma is taken for the decimal sign unless exactly three digits follow it, as they do in thousands.

    Args:
        text: `71`, `71.5`, `71,5`, `1.234,5`.
        comma_is_decimal: also `1,234`, as in a table whose cells are separated by semicolons.
    """
    word = tidy(str(text))
    if _THOUSANDS.fullmatch(word):
        word = word.replace(".", "").replace(",", ".")
    elif _COMMA.fullmatch(word):
        if len(word.partition(",")[2]) == 3 and not comma_is_decimal:
            return None
        word = word.replace(",", ".")
    if not _PLAIN.fullmatch(word):
        return None
    value = float(word)
    return value if math.isfinite(value) else None


def person_key(subject: str) -> str:
    """What people are compared by: `sub-01`, `Sub_01`, `01` and a spreadsheet's `1` are one person."""
    text = re.sub(r"[\s_-]+", "-", tidy(unicodedata.normalize("NFKC", subject)).casefold())
    return _digits(re.sub(r"^(sub|subject|participant)-", "", text))


def session_key(session: str) -> str:
    """What visits are compared by: `ses-01`, `01` and `1`."""
    text = re.sub(r"[\s_-]+", "-", tidy(unicodedata.normalize("NFKC", session)).casefold())
    return _digits(re.sub(r"^(ses|session)-", "", text))


def _digits(text: str) -> str:
    # Spreadsheets take zeros off the front of a number, pandas puts ".0" at its end.
    match = re.fullmatch(r"0*(\d+)(\.0)?", text, re.ASCII)
    return match[1] if match else text
