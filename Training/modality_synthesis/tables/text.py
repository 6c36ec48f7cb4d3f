"""The text of a table file, whatever program wrote it."""

from __future__ import annotations

import codecs
import difflib
import os
from pathlib import Path

from modality_synthesis.errors import BadInputError

# A cohort of a hundred thousand visits is smaller; a volume given by mistake is not read whole.
_LARGEST = 64 << 20
_SPREADSHEET = "a spreadsheet file; in Excel or LibreOffice save it as CSV (UTF-8) and give that"
_MAGIC = (
    (b"PK\x03\x04", _SPREADSHEET),
    (b"\xd0\xcf\x11\xe0", _SPREADSHEET),
    (b"\x1f\x8b", "compressed (gzip), or a volume; give the table itself"),
    (b"%PDF", "a PDF; give the table as CSV"),
    (b"PAR1", "a Parquet file; save the table as CSV"),
    (b"\x89HDF", "an HDF5 file; save the table as CSV"),
    (b"NRRD000", "a volume, no table"),
    (b"\x89PNG", "a picture, no table"),
    (b"SQLite format 3", "a database; export the table as CSV"),
    (b"$FL2", "an SPSS file; save it as CSV"),
    (b"RDX", "an R data file; save the table with write.csv"),
)
# UTF-32 begins like UTF-16, so it goes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, what: str) -> str:
    """The file's text, its lines ended by line feeds.

    UTF-8, UTF-16 and UTF-32 are recognized; what is none of them is Windows-1252 or, with a classic Mac's line ends,
    Mac Roman.

    Args:
        path: of the file.
        what: it is, for messages: "cohort table".

    Raises:
        BadInputError: missing, a folder, unreadable, empty, or no text.
    """
    data = _bytes(path, what)
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            raise BadInputError(f"{path.name} cannot be read as a {what}: it is {kind}.")
    text = _decoded(data, path, what)
    if "\0" in text or data[344:348] in (b"n+1\0", b"ni1\0"):
        raise BadInputError(f"{path.name} cannot be read as a {what}: it is a binary file. Give a CSV or TSV file.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = text.lstrip()[:1]
    if not start:
        raise BadInputError(f"{path.name} is empty: a {what} has a header and rows.")
    if start in "{[<":
        raise BadInputError(f"{path.name} cannot be read as a {what}: it is JSON, HTML or XML. Save the table as CSV.")
    return text


def _bytes(path: Path, what: str) -> bytes:
    try:
        if path.is_dir():
            way = f" For a BIDS folder, 'modality-synthesis cohort {path} -o cohort.tsv' writes one."
            raise BadInputError(
                f"{path} is a folder, and a {what} is a file (CSV or TSV).{way if 'cohort table' in what else ''}"
            )
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path} is no ordinary file. Save the {what} to one: its paths are relative to it.")
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise BadInputError(f"{path.name} cannot be read as a {what}: it is larger than {_LARGEST >> 20} MB.")
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInputError(f"The {what} {path} does not exist.{_nearest(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInputError(f"The {what} {path} cannot be read: {reason.lower()}.") from None


def _nearest(path: Path) -> str:
    try:
        there = os.listdir(path.parent)
    except OSError:
        return ""
    found = difflib.get_close_matches(path.name, there, n=1, cutoff=0.8)
    return f" Did you mean {found[0]}?" if found else ""


def _decoded(data: bytes, path: Path, what: str) -> str:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None) or _without_mark(data)
    if encoding is not None:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            raise BadInputError(
                f"{path.name} cannot be read as a {what}: it begins like {encoding[:6].upper()} and is damaged. "
                "Save it again as CSV (UTF-8)."
            ) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    old_mac = b"\r" in data and b"\n" not in data
    try:
        return data.decode("mac_roman" if old_mac else "cp1252")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{path.name}, line {line}: a character that is neither UTF-8 nor Windows-1252. Save it as CSV (UTF-8)."
        ) from None


def _without_mark(data: bytes) -> str | None:
    """UTF-16 without its mark: every second byte of the first letters is zero."""
    start = data[:64]
    if len(start) < 8 or len(data) % 2:
        return None
    if start[1::2].count(0) > len(start) / 2 * 0.9 and 0 not in start[0::2]:
        return "utf-16-le"
    if start[0::2].count(0) > len(start) / 2 * 0.9 and 0 not in start[1::2]:
        return "utf-16-be"
    return None
