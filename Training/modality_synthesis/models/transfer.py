"""Install and export packages. What comes from outside is trusted only after it was verified in a staging folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from modality_synthesis.errors import BadInputError, HashMismatchError
from modality_synthesis.models.package import (
    ALLOWED_FILES,
    CARD_FILE,
    ModelPackage,
    open_package,
    verify_package,
)
from modality_synthesis.models.store import find_model
from modality_synthesis.progress import Reporter
from modality_synthesis.resources import user_models_folder
from modality_synthesis.volumes import atomic_folder, atomic_output

LARGEST_BYTES = 8 * 2**30
_TIMEOUT_SECONDS = 30
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
_CHUNK = 1 << 20


def install_model(
    source: str | Path, *, sha256: str | None = None, replace: bool = False, reporter: Reporter | None = None
) -> ModelPackage:
    """Install a package from a folder, a zip file, or an https address.

    The package is copied into a staging folder, verified there, and moved into place in one step: a failed install
    leaves nothing behind.

    Args:
        source: folder, zip, or URL of a zip.
        sha256: expected SHA-256 of the zip.
        replace: replace an installed package of the same id.
        reporter: receives progress.

    Raises:
        BadInputError, HashMismatchError: why it was refused.
    """
    reporter = reporter or Reporter()
    store = user_models_folder()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".install-", dir=store) as staging:
        unpacked = Path(staging) / "package"
        unpacked.mkdir()
        _fetch(str(source), unpacked, Path(staging), sha256, reporter)
        reporter.progress(0.9, "Verifying")
        package = verify_package(unpacked)
        place = store / package.card.id
        if place.exists() and not replace:
            installed = open_package(place).card.version
            raise BadInputError(
                f"{package.card.id} {installed} is installed already. Use --replace to put "
                f"{package.card.version} in its place."
            )
        with atomic_folder(place) as temporary:
            shutil.copytree(unpacked, temporary, dirs_exist_ok=True)
    reporter.progress(1.0, "Installed")
    return open_package(place)


def export_model(model: str | Path, path: str | Path) -> Path:
    """Pack a package into a zip file; the same package gives the same bytes.

    Raises:
        ModelMissingError, BadInputError, HashMismatchError: nothing is written then.
    """
    package = verify_package(find_model(model).folder)
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.folder.iterdir()):
            # A fixed date keeps the archive reproducible.
            entry = zipfile.ZipInfo(file.name, date_time=(2000, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return Path(path)


def _fetch(source: str, target: Path, staging: Path, sha256: str | None, reporter: Reporter) -> None:
    archive = _download(source, staging / "download.zip", reporter) if "://" in source else Path(source)
    if archive.is_dir():
        if sha256 is not None:
            raise BadInputError("--sha256 checks a zip file; a folder has none.")
        _copy_folder(archive, target)
        return
    if not archive.is_file():
        raise BadInputError(f"{source} is neither a folder nor a zip file nor an address.")
    if sha256 is not None and _file_hash(archive) != sha256.lower():
        raise HashMismatchError(f"{source}: the SHA-256 is not the expected one; nothing was installed.")
    _extract(archive, target, source)


def _download(address: str, path: Path, reporter: Reporter) -> Path:
    import urllib.error
    import urllib.request

    parts = urlparse(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS):
        raise BadInputError(f"{address}: models are downloaded through https only.")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as stream:
            if urlparse(answer.url).scheme != parts.scheme:
                raise BadInputError(f"{address} leads to an address that is not {parts.scheme}.")
            total, received = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                if received > LARGEST_BYTES:
                    raise BadInputError(f"{address}: larger than {LARGEST_BYTES >> 30} GiB; refused.")
                stream.write(chunk)
                reporter.progress(0.8 * min(received / total, 1.0) if total else 0.4, "Downloading")
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise BadInputError(f"{address} could not be downloaded: {error}") from None
    if total and received != total:
        raise BadInputError(f"{address}: only {received} of {total} bytes arrived. Try again.")
    return path


def _copy_folder(folder: Path, target: Path) -> None:
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file() or path.name not in ALLOWED_FILES:
            raise BadInputError(f"{folder}: {path.name!r} does not belong into a model package.")
        shutil.copyfile(path, target / path.name)


def _extract(archive: Path, target: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(archive) as content:
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            prefix = _common_folder(entries)
            if sum(entry.file_size for entry in entries) > LARGEST_BYTES:
                raise BadInputError(f"{name}: unpacks to more than {LARGEST_BYTES >> 30} GiB; refused.")
            seen: set[str] = set()
            for entry in entries:
                file = _safe_name(entry, prefix, name)
                if file in seen:
                    raise BadInputError(f"{name}: {file!r} is in the archive twice.")
                seen.add(file)
                _extract_entry(content, entry, target / file, name)
    except zipfile.BadZipFile as error:
        raise BadInputError(f"{name} is not an intact zip file: {error}") from None


def _common_folder(entries: list[zipfile.ZipInfo]) -> str:
    """A package may lie in one top-level folder of the archive, as it does when a folder was zipped."""
    tops = {PurePosixPath(entry.filename).parts[0] for entry in entries if "/" in entry.filename}
    nested = all("/" in entry.filename for entry in entries)
    return f"{tops.pop()}/" if nested and len(tops) == 1 else ""


def _safe_name(entry: zipfile.ZipInfo, prefix: str, archive: str) -> str:
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    file = entry.filename[len(prefix) :]
    # Only plain names of the package's own files get through: no folder, no drive, no '..', no link.
    if is_link or prefix.strip("/") in {"..", "."} or file not in ALLOWED_FILES:
        raise BadInputError(f"{archive}: {entry.filename!r} does not belong into a model package.")
    return file


def _extract_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, archive: str) -> None:
    written = 0
    with content.open(entry) as source, path.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            # The size an archive declares is a claim; what unpacks is what counts.
            if written > entry.file_size:
                raise BadInputError(f"{archive}: {entry.filename!r} is larger than the archive declares.")
            stream.write(chunk)


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


__all__ = ["CARD_FILE", "export_model", "install_model"]
