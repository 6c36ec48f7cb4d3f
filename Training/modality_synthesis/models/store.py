"""Installed models: find, list, choose, verify, remove. The user's folder comes before the shipped one."""

from __future__ import annotations

import difflib
import re
import shutil
from pathlib import Path

from modality_synthesis.errors import BadInputError, ModelMissingError
from modality_synthesis.models.package import CARD_FILE, ModelPackage, open_package, verify_package
from modality_synthesis.progress import Reporter
from modality_synthesis.resources import resources_folder, user_models_folder


def list_models(
    source: str | None = None, target: str | None = None, *, reporter: Reporter | None = None
) -> list[ModelPackage]:
    """The installed packages, by id; a user's package hides a shipped one of the same id.

    A broken package is reported as a warning and left out.
    """
    found: dict[str, ModelPackage] = {}
    for folder in _folders():
        try:
            package = open_package(folder)
        except BadInputError as error:
            (reporter or Reporter()).warning(str(error))
            continue
        found.setdefault(package.card.id, package)
    routes = ((package, package.card.route) for package in found.values())
    chosen = [
        package
        for package, route in routes
        if (source is None or route.source == source) and (target is None or route.target == target)
    ]
    return sorted(chosen, key=lambda package: package.card.id)


def find_model(model: str | Path) -> ModelPackage:
    """The package of an id, or of a folder.

    Raises:
        ModelMissingError: not installed; the message names the nearest id.
        BadInputError: the folder holds no valid package.
    """
    text = str(model)
    installed = list_models()
    for package in installed:
        if package.card.id == text:
            return package
    if Path(text).is_dir() or "/" in text or "\\" in text:
        return open_package(text)
    names = [package.card.id for package in installed]
    nearest = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else f" Installed: {', '.join(names) or 'none'}."
    raise ModelMissingError(f"No model {text!r} is installed.{hint}")


def choose_model(target: str, source: str | None = None) -> ModelPackage:
    """The best installed model for a route: research before demonstration, then the newest version.

    Raises:
        ModelMissingError: none; the message lists the routes there are.
    """
    matches = list_models(source, target)
    if not matches:
        routes = sorted({f"{found.card.route.source} -> {found.card.route.target}" for found in list_models()})
        raise ModelMissingError(
            f"No installed model makes {target}. Installed routes: {', '.join(routes) or 'none'}. Install "
            "a model with: modality-synthesis models install FOLDER_OR_ZIP"
        )
    return max(matches, key=lambda found: (not found.card.is_demonstration, _version_key(found.card.version)))


def verify_model(model: str | Path) -> ModelPackage:
    """Check an installed package's card and weights.

    Raises:
        ModelMissingError, BadInputError, HashMismatchError: what is wrong.
    """
    return verify_package(find_model(model).folder)


def remove_model(model: str) -> Path:
    """Delete a package that the user installed; returns the folder that is gone.

    Raises:
        ModelMissingError: not installed.
        BadInputError: it was shipped with the program.
    """
    package = find_model(model)
    if package.folder.resolve().parent != user_models_folder().resolve():
        raise BadInputError(f"{package.card.id} came with the program and cannot be removed ({package.folder}).")
    shutil.rmtree(package.folder)
    return package.folder


def _folders() -> list[Path]:
    roots = [user_models_folder(), resources_folder() / "Models"]
    return [path for root in roots if root.is_dir() for path in sorted(root.iterdir()) if (path / CARD_FILE).is_file()]


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
