"""JSON sidecars of a BIDS dataset, with those of the folders above (the inheritance principle)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from modality_synthesis.datasets.bids_names import BidsName, parse_name
from modality_synthesis.json_files import read_json_object


class Sidecars:
    """What the sidecars of a dataset say about its images; each is read once.

    Args:
        root: the dataset's folder; nothing above it is read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, _Folder] = {}

    def of(self, image: Path, name: BidsName) -> dict[str, Any]:
        """The facts about an image: those of its own sidecar, else those inherited; empty when there are none."""
        facts: dict[str, Any] = {}
        above = [folder for folder in reversed(image.parents) if folder == self._root or self._root in folder.parents]
        for folder in above:
            known = self._folders.setdefault(folder, _Folder(folder))
            for entities, path in known.sidecars.get(name.suffix.lower(), []):
                if entities.items() <= dict(name.entities).items():
                    facts |= known.read(path)
        return facts


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, dict[str, Any]] = {}

    @cached_property
    def sidecars(self) -> dict[str, list[tuple[dict[str, str], Path]]]:
        """Sidecars by the suffix they are of, the most general first."""
        found: dict[str, list[tuple[dict[str, str], Path]]] = {}
        for path in sorted(self._folder.glob("*.json")):
            stem = path.name.removesuffix(".json")
            # The root's are named without a subject: `pet.json`, `trc-FDG_pet.json`.
            named = parse_name(f"{stem}.nii") or parse_name(f"sub-0_{stem}.nii")
            if named is not None:
                entities = {key: value for key, value in named.entities.items() if f"{key}-{value}" in stem}
                found.setdefault(named.suffix.lower(), []).append((entities, path))
        for sidecars in found.values():
            sidecars.sort(key=lambda one: len(one[0]))
        return found

    def read(self, path: Path) -> dict[str, Any]:
        if path not in self._read:
            try:
                self._read[path] = read_json_object(path)
            except (OSError, ValueError):
                self._read[path] = {}
        return self._read[path]
