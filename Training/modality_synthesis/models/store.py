"""Installed models: find, list, choose, verify, remove. The user's folder comes before the shipped one."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from modality_synthesis.errors import BadInputError, ModelMissingError
from modality_synthesis.modalities import modality_of, nearest_modality
from modality_synthesis.models.card import WEIGHTS_FILE, Target
from modality_synthesis.models.contents import CARD_FILE
from modality_synthesis.models.package import ModelPackage, open_package, verify_package
from modality_synthesis.models.versions import version_key
from modality_synthesis.progress import Reporter
from modality_synthesis.resources import model_folders, resources_folder, user_models_folder

_log = logging.getLogger(__name__)


def list_models(
    source: str | None = None, target: str | None = None, *, reporter: Reporter | None = None
) -> list[ModelPackage]:
    """The installed packages, by id; a user's package hides a shipped one of the same id.

    Source and target may be spelled as people do (`fdg`, `t1`).

    A broken package is reported as a warning (to the log, when there is no reporter) and left out.
    """
    packages, broken = _scan(model_folders())
    for error in broken.values():
        if reporter is None:
            _log.warning("%s", error)
        else:
            reporter.warning(str(error))
    return [package for package in packages if package.card.route_matches(_canonical(source), _canonical(target))]


def hidden_by(package: ModelPackage) -> tuple[ModelPackage, ...]:
    """The installed packages of the same id that this one hides: the shipped one, usually."""
    same = [found for folder, found in _valid(model_folders()).items() if found.card.id == package.card.id]
    return tuple(found for found in same if found.folder != package.folder) if package in same[:1] else ()


def shipped_model(model: str) -> ModelPackage | None:
    """The package of this id that came with the program."""
    shipped = _valid([resources_folder() / "Models"]).values()
    return next((found for found in shipped if found.card.id == model), None)


def find_model(model: str | Path) -> ModelPackage:
    """The package of an id, or of a folder.

    Raises:
        ModelMissingError: not installed; the message names the nearest id.
        BadInputError: the package is broken, or the folder holds none.
    """
    text = str(model)
    packages, broken = _scan(model_folders())
    for package in packages:
        if package.card.id == text:
            return package
    # A broken model is not a missing one, and a folder of the same name elsewhere is not meant.
    for folder, error in broken.items():
        if folder.name == text:
            raise error
    if Path(text).exists() or "/" in text or "\\" in text:
        return open_package(text)
    names = [package.card.id for package in packages]
    nearest = difflib.get_close_matches(text.lower(), names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else f" Installed: {', '.join(names) or 'none'}."
    raise ModelMissingError(f"No model {text!r} is installed.{hint}")


def choose_model(target: str, source: str | None = None) -> ModelPackage:
    """The best installed model for a route: research before demonstration, the newest version, the one without noise.

    Of equals, a model whose every run gives the same volume comes before one that draws samples.

    Raises:
        ModelMissingError: none; the message lists the routes there are and what to do.
    """
    packages, _ = _scan(model_folders())
    target, source = modality_of(target) or target, _canonical(source)
    matches = [package for package in packages if package.card.route_matches(source, target)]
    if matches:
        return max(matches, key=_preference)
    routes = sorted({f"{found.card.route.source} -> {found.card.route.target}" for found in packages})
    wanted = target if source is None else f"{target} from {source}"
    raise ModelMissingError(
        f"No installed model makes {wanted}.{_nearest_target(target)} Installed routes: {', '.join(routes) or 'none'}. "
        "Install a model with: modality-synthesis models install FOLDER_OR_ZIP"
    )


def _canonical(modality: str | None) -> str | None:
    """As the cards write it."""
    return None if modality is None else modality_of(modality) or modality


def _preference(package: ModelPackage) -> tuple[Any, ...]:
    card = package.card
    return not card.is_demonstration, version_key(card.version), not card.inference.stochastic


def verify_model(model: str | Path) -> ModelPackage:
    """Check an installed package's card and weights.

    Raises:
        ModelMissingError, BadInputError, HashMismatchError: what is wrong.
    """
    return verify_package(find_model(model).folder)


def remove_model(model: str) -> Path:
    """Delete a package that the user installed, a broken one too; returns the folder that is gone.

    Raises:
        ModelMissingError: not installed.
        BadInputError: it was shipped with the program, or lies outside the folder of installed models.
    """
    store = user_models_folder()
    packages, broken = _scan([store])
    folders = [package.folder for package in packages if package.card.id == model]
    folders += [folder for folder in broken if folder.name == model]
    if not folders:
        folders = [find_model(model).folder]
        parent = folders[0].absolute().parent.resolve()
        if parent == (resources_folder() / "Models").resolve():
            raise BadInputError(f"{model} came with the program and cannot be removed ({folders[0]}).")
        if parent != store.resolve():
            raise BadInputError(f"{folders[0]} is not among the installed models ({store}); delete it yourself.")
    _delete(folders[0], store)
    return folders[0]


def _scan(roots: Iterable[Path]) -> tuple[list[ModelPackage], dict[Path, BadInputError]]:
    """The valid packages, by id, and what is wrong with the others."""
    found: dict[str, ModelPackage] = {}
    broken: dict[Path, BadInputError] = {}
    for package in _valid(roots, broken).values():
        found.setdefault(package.card.id, package)
    return sorted(found.values(), key=lambda package: package.card.id), broken


def _valid(roots: Iterable[Path], broken: dict[Path, BadInputError] | None = None) -> dict[Path, ModelPackage]:
    """The valid packages by folder, those that count first; what is wrong with the others goes into `broken`."""
    found, broken = {}, {} if broken is None else broken
    for root in roots:
        for folder in _package_folders(root, broken):
            try:
                found[folder] = open_package(folder)
            except BadInputError as error:
                broken[folder] = error
    return found


def _package_folders(root: Path, broken: dict[Path, BadInputError]) -> list[Path]:
    try:
        # Hidden folders are packages on their way in or out.
        return sorted(
            path
            for path in (root.iterdir() if root.is_dir() else ())
            if not path.name.startswith(".") and any((path / name).is_file() for name in (CARD_FILE, WEIGHTS_FILE))
        )
    except OSError as error:
        broken[root] = BadInputError(f"The models in {root} cannot be listed: {error.strerror or error}.")
        return []


def _nearest_target(target: str) -> str:
    known = get_args(Target)
    if target in known:
        return ""
    nearest = nearest_modality(target)
    return f" Did you mean {nearest!r}?" if nearest in known else f" Targets: {', '.join(known)}."


def _delete(folder: Path, store: Path) -> None:
    from modality_synthesis.volumes import scratch_folder

    try:
        if folder.is_symlink():
            folder.unlink()
            return
        # Out of sight in one step: an interrupted deletion leaves no half package behind.
        with scratch_folder(store) as hidden:
            os.replace(folder, hidden / folder.name)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be removed: {error.strerror or error}.") from None
