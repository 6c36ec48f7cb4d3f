"""Packages as zip files: unpack nothing but a package's own files, pack the same bytes every time."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.contents import CARD_FILE, MOST_FILES, PackageFiles, is_companion
from modality_synthesis.progress import Reporter

_CHUNK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# Weights hardly shrink. What shrinks this much and is this large was made to fill the disk.
_LARGEST_RATIO = 200
_RATIO_MATTERS_FROM = 64 * 2**20
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError, IndexError,
)  # fmt: skip


def unpack(archive: Path, target: Path, name: str, reporter: Reporter) -> None:
    """Unpack a package into an empty folder.

    Args:
        archive: the zip file; the package lies at its top or in a folder. What file managers and repositories put
            beside it (`.DS_Store`, `__MACOSX`, `.gitattributes`, a licence's text) is passed over.
        target: an empty folder.
        name: what messages call the archive.
        reporter: receives progress.

    Raises:
        BadInputError: damaged, or holds anything but a package's plain files.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            listed = [entry for entry in content.infolist() if not is_companion(entry.filename)]
            # Entries for folders are not unpacked, but an archive full of them is no package either.
            if len(listed) > 2 * MOST_FILES:
                raise BadInputError(f"{name}: {len(listed)} entries are too many for a model package; refused.")
            entries = [entry for entry in listed if not entry.is_dir()]
            files = _checked(entries, name)
            total = sum(entry.file_size for entry in entries)
            if total > max(_RATIO_MATTERS_FROM, _LARGEST_RATIO * archive.stat().st_size):
                raise BadInputError(f"{name}: it unpacks to a suspiciously large package; refused.")
            if total > shutil.disk_usage(target).free:
                raise BadInputError(f"{name}: unpacked it needs {total >> 20} MiB, more than the disk has left.")
            done = 0
            for file, entry in files.items():
                reporter.progress(done / max(total, 1), "Unpacking")
                _extract(content, entry, target / file, name)
                done += entry.file_size
    except _DAMAGED as error:
        raise BadInputError(f"{name} is not an intact zip file: {str(error) or type(error).__name__}") from None
    except OSError as error:
        raise BadInputError(f"{name} cannot be unpacked: {error.strerror or error}.") from None


def pack(files: Sequence[Path], path: Path) -> None:
    """Write a zip file whose bytes depend on the files' names and contents alone.

    The files are stored, not deflated: weights hardly shrink, and what deflate writes differs between zlib versions.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(files, key=lambda file: file.name):
            entry = zipfile.ZipInfo(file.name, date_time=(2000, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, also on Windows
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(entry, "w") as stream:
                shutil.copyfileobj(source, stream, _CHUNK)


def _checked(entries: list[zipfile.ZipInfo], archive: str) -> dict[str, zipfile.ZipInfo]:
    prefix = _package_folder(entries, archive)
    files, found = PackageFiles(archive), {}
    for entry in entries:
        # Only plain names of the package's own files get through: no folder, no drive, no '..', no link.
        name = _slashed(entry)
        if not name.startswith(prefix) and is_companion(name, anywhere=True):
            continue
        name = name[len(prefix) :] if name.startswith(prefix) else name
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.orig_filename != entry.filename or kind not in (0, stat.S_IFREG):
            raise BadInputError(f"{archive}: {entry.orig_filename!r} does not belong into a model package.")
        files.add(name, entry.file_size)
        if entry.flag_bits & _ENCRYPTED:
            raise BadInputError(f"{archive}: {name!r} is encrypted; pack the model without a password.")
        if entry.compress_type not in _METHODS:
            raise BadInputError(f"{archive}: {name!r} is compressed in an unusual way; pack it with 'deflate'.")
        if entry.file_size > max(_RATIO_MATTERS_FROM, _LARGEST_RATIO * entry.compress_size):
            raise BadInputError(f"{archive}: {name!r} unpacks to a suspiciously large file; refused.")
        found[name] = entry
    return found


def _package_folder(entries: list[zipfile.ZipInfo], archive: str) -> str:
    """The folder that holds the card, with a slash at its end: one or more folders may have been zipped around it."""
    folders = [name[: -len(CARD_FILE)] for name in map(_slashed, entries) if f"/{name}".endswith(f"/{CARD_FILE}")]
    if len(folders) > 1 and len(set(folders)) == len(folders):
        raise BadInputError(
            f"{archive}: several model packages are in it ({', '.join(sorted(folders))}). Unpack it and install one "
            "folder at a time."
        )
    folder = folders[0] if folders else ""
    return "" if set(folder.split("/")[:-1]) & {"", ".", ".."} else folder


def _slashed(entry: zipfile.ZipInfo) -> str:
    """The entry's path; some programs for Windows write backslashes."""
    return entry.filename.replace("\\", "/")


def _extract(content: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, archive: str) -> None:
    written = 0
    with content.open(entry) as source, path.open("xb") as stream:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            # The size an archive declares is a claim; what unpacks is what counts.
            if written > entry.file_size:
                raise BadInputError(f"{archive}: {entry.filename!r} is larger than the archive declares.")
            stream.write(chunk)
    if written != entry.file_size:
        raise BadInputError(f"{archive}: {entry.filename!r} is smaller than the archive declares.")
