"""Install and export packages. What comes from outside is trusted only after it was verified in a staging folder."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from modality_synthesis.errors import BadInputError, HashMismatchError, UsageError
from modality_synthesis.models.archive import pack, unpack
from modality_synthesis.models.contents import package_files
from modality_synthesis.models.package import ModelPackage, open_package, verify_package
from modality_synthesis.models.store import find_model, shipped_model
from modality_synthesis.progress import Reporter, current
from modality_synthesis.resources import user_models_folder

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def install_model(
    source: str | Path, *, sha256: str | None = None, replace: bool = False, reporter: Reporter | None = None
) -> ModelPackage:
    """Install a package from a folder, a zip file, or an https address of a zip file.

    The package is brought into a staging folder, verified there, and moved into place in one step: a failed install
    leaves nothing behind.

    Args:
        source: folder, zip, or URL of a zip (https; file:// and http of this machine too).
        sha256: expected SHA-256 of the zip.
        replace: replace an installed package of the same id; hide a shipped one.
        reporter: receives progress.

    Raises:
        BadInputError, HashMismatchError: why it was refused.
    """
    from modality_synthesis.volumes import atomic_folder, check_outputs, scratch_folder

    reporter = reporter or current()
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise UsageError("--sha256 takes the 64 hexadecimal digits of the zip file's SHA-256.")
    store = _writable_store()
    with scratch_folder(store) as staging:
        unpacked = staging / "package"
        unpacked.mkdir()
        shown = _shown(str(source))
        archive = _local(str(source), staging, reporter.part(0.0, 0.7))
        _bring(archive, unpacked, shown, sha256, reporter.part(0.7, 0.9))
        reporter.progress(0.9, "Verifying")
        package = _verify(unpacked, shown)
        place = store / package.card.id
        if not replace:
            _refuse_replacing(place, package)
        check_outputs([], folders=[place], inputs=[archive])
        with atomic_folder(place, new=not replace) as temporary:
            # Moved, not copied: these are the very files that were verified.
            for file in package_files(unpacked):
                os.replace(file, temporary / file.name)
    reporter.progress(1.0, "Installed")
    return open_package(place)


def export_model(model: str | Path, path: str | Path) -> Path:
    """Pack a package into a zip file; the same package gives the same bytes.

    Raises:
        ModelMissingError, BadInputError, HashMismatchError, UsageError: nothing is written then.
    """
    from modality_synthesis.volumes import atomic_output, check_outputs, check_writable

    found = find_model(model)
    check_outputs([path], inputs=package_files(found.folder))
    check_writable(path, endings=[".zip"])
    package = verify_package(found.folder)
    with atomic_output(path) as temporary:
        pack(package_files(package.folder), temporary)
    return Path(path)


def _writable_store() -> Path:
    from modality_synthesis.volumes import scratch_folder

    store = user_models_folder()
    try:
        store.mkdir(parents=True, exist_ok=True)
        # Tried here, so that a read-only store is reported before a long download.
        with scratch_folder(store):
            pass
    except OSError as error:
        raise BadInputError(
            f"Models cannot be installed into {store}: {error.strerror or error}. "
            "Set MODALITY_SYNTHESIS_MODELS to a folder you may write to."
        ) from None
    return store


def _bring(archive: Path, target: Path, shown: str, sha256: str | None, reporter: Reporter) -> None:
    """Copy or unpack a package into the staging folder."""
    from modality_synthesis.volumes import file_sha256

    if archive.is_dir():
        if sha256 is not None:
            raise UsageError("--sha256 checks a zip file; a folder has none.")
        _copy_folder(archive, target)
        return
    if not archive.exists():
        raise BadInputError(f"{shown} does not exist. Check the path; an address begins with https://.")
    if not archive.is_file():
        raise BadInputError(f"{shown} is neither a folder nor a zip file nor an address.")
    if sha256 is not None and file_sha256(archive) != sha256.lower():
        raise HashMismatchError(f"{shown}: the SHA-256 is not the expected one; nothing was installed.")
    unpack(archive, target, shown, reporter)


def _shown(source: str) -> str:
    if "://" not in source:
        return source
    from modality_synthesis.models.download import without_secrets

    return without_secrets(source)


def _local(source: str, staging: Path, reporter: Reporter) -> Path:
    """The source as a path on this machine."""
    if "://" not in source:
        return Path(source)
    from modality_synthesis.models.download import download, local_path

    if source.lower().startswith("file:"):
        return local_path(source)
    return download(source, staging / "download.zip", reporter)


def _copy_folder(folder: Path, target: Path) -> None:
    for path in package_files(folder):
        try:
            shutil.copyfile(path, target / path.name, follow_symlinks=False)
        except OSError as error:
            raise BadInputError(f"{path} cannot be copied: {error.strerror or error}.") from None


def _verify(staged: Path, shown: str) -> ModelPackage:
    try:
        return verify_package(staged)
    except (BadInputError, HashMismatchError) as error:
        # The staging folder's path says nothing to the user, and it is gone by the time of reading.
        message = str(error).replace(f"{staged}{os.sep}", "").replace(str(staged), "it")
        message = message.removeprefix(f"{staged.name}/")
        raise type(error)(f"{shown} is not installed: {message}") from None


def _refuse_replacing(place: Path, package: ModelPackage) -> None:
    if not place.exists() and not place.is_symlink():
        shipped = shipped_model(package.card.id)
        # The very same model again hides nothing.
        if shipped is not None and shipped.card != package.card:
            raise BadInputError(
                f"A model {package.card.id} came with the program; this one would hide it. Give the package another "
                "id (in its model.json), or use --replace to hide the shipped one."
            )
        return
    try:
        there = f"{package.card.id} {open_package(place).card.version} is installed already"
    except BadInputError:
        there = f"A damaged package is at {place}"
    raise BadInputError(f"{there}. Use --replace to put {package.card.version} in its place.")
