"""The recipes that ship with the program: list them, show them, copy them with what they build on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.resources import recipes_folder
from modality_synthesis.training.recipe import merged_recipe
from modality_synthesis.volumes import atomic_files, atomic_output


@dataclass(frozen=True)
class Shipped:
    """One recipe that can be trained.

    Attributes:
        name: its path below the recipes' folder, without ending (`drunet/34-mse-T1w`).
        path: of the file.
        about: what it says its model is.
        route: source and target.
        generator: name.
    """

    name: str
    path: Path
    about: str
    route: str
    generator: str


def shipped_recipes() -> list[Shipped]:
    """All recipes, by name; parts of recipes (their names begin with an underscore) are left out."""
    return [_shipped(path) for path in _files()]


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe.

    Raises:
        BadInputError: no such recipe; the nearest is named.
    """
    known = {_name(path): path for path in _files()}
    wanted = name.removesuffix(".yaml")
    if wanted not in known:
        nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise BadInputError(f"No recipe {name!r} is shipped.{hint} `modality-synthesis recipes list` shows all.")
    return known[wanted]


def recipe_text(name: str, *, whole: bool = False) -> str:
    """A recipe as it is written, or `whole`: merged with everything it builds on."""
    path = find_recipe(name)
    if not whole:
        return path.read_text(encoding="utf-8")
    return yaml.safe_dump(merged_recipe(path), sort_keys=False, allow_unicode=True, width=120)


def copy_recipe(name: str, folder: Path) -> Path:
    """Copy a recipe and the files it builds on, laid out as they are shipped; returns the copy.

    Raises:
        UsageError: one of the files is there already.
        BadInputError: no such recipe, or a folder that cannot be written to.
    """
    root = recipes_folder()
    files = list(dict.fromkeys(_with_bases(find_recipe(name))))
    there = next((place for file in files if (place := folder / file.relative_to(root)).exists()), None)
    if there is not None:
        raise UsageError(f"{there} exists already. Choose another folder, or move it away.")
    with atomic_files():
        for file in files:
            with atomic_output(folder / file.relative_to(root)) as temporary:
                temporary.write_bytes(file.read_bytes())
    return folder / files[0].relative_to(root)


def _files() -> list[Path]:
    return sorted(path for path in recipes_folder().rglob("*.yaml") if not path.name.startswith("_"))


def _name(path: Path) -> str:
    return path.relative_to(recipes_folder()).with_suffix("").as_posix()


def _shipped(path: Path) -> Shipped:
    content = merged_recipe(path)
    route = f"{content['route']['source']} -> {content['route']['target']}"
    return Shipped(_name(path), path, content["package"]["name"], route, content["generator"]["name"])


def _with_bases(path: Path) -> Iterator[Path]:
    yield path
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = content.get("extends") or []
    for base in bases if isinstance(bases, list) else [bases]:
        yield from _with_bases(path.parent / base)
