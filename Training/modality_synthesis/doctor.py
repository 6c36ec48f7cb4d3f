"""Look at this installation and say what would stand in the way."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cache_folder import CACHE_VARIABLE
from modality_synthesis.environment import shown

_PACKAGES = ("torch", "monai", "SimpleITK", "nibabel", "numpy", "pydicom", "safetensors", "pebble", "lightning")
# Extra -> the packages it brings, and what does not work without them.
_EXTRAS = {
    "train": (("lightning", "tensorboard", "pyyaml"), "no `train`, `models import` and `recipes`"),
    "dicom": (("highdicom",), "no `export --format dicom-parametric-map` (DICOM series need it not)"),
    "report": (("fpdf2",), "no report.pdf beside report.html"),
    "downstream": (("scikit-learn",), "no `evaluate --downstream`"),
}


def examine() -> dict[str, Any]:
    """Versions, devices, shipped files and models, as plain data."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _installed(name) for name in _PACKAGES},
        "devices": _devices(),
        "extras": _extras(),
        "folders": _folders(),
        "models": _models(),
        "networks": _networks(),
    }


def print_report(report: dict[str, Any]) -> None:
    """The same, for people."""
    print(f"modality-synthesis {report['version']}, Python {report['python']}")
    print(f"{report['system']}, {report['cores']} cores")
    for name, found in report["packages"].items():
        print(f"  {name:<12} {found or 'not installed'}")
    print("Devices")
    for name, facts in report["devices"].items():
        print(f"  {name:<12} {facts}")
    print("Extras")
    for name, extra in report["extras"].items():
        missing = f"{', '.join(extra['missing'])} not installed: {extra['without']}; pip install '.[{name}]'"
        print(f"  {name:<12} {missing if extra['missing'] else 'installed'}")
    print("Folders")
    for folder in report["folders"]:
        print(shown(f"  {folder['purpose']:<16} {folder['path'] or '-'} ({folder['state']})"))
    print("Models")
    for model in report["models"]:
        print(shown(f"  {model['id']:<24} {model['version']:<8} {model['state']}"))
    print("Networks")
    for name, network in report["networks"].items():
        print(f"  {name:<24} sha256 {network['sha256'][:16]:<16} {network['state']}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> dict[str, str]:
    import torch

    devices = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices


def _extras() -> dict[str, dict[str, Any]]:
    return {
        name: {"missing": [package for package in packages if _installed(package) is None], "without": without}
        for name, (packages, without) in _EXTRAS.items()
    }


def _folders() -> list[dict[str, str]]:
    """Where models are looked for, in this order, and where caches go; each with the variable that names another."""
    from modality_synthesis.environment import user_folder
    from modality_synthesis.resources import (
        MODELS_VARIABLE,
        RESOURCES_VARIABLE,
        recipes_folder,
        resources_folder,
        user_models_folder,
    )

    wanted: list[tuple[str, Callable[[], Path], str]] = [
        ("your models", user_models_folder, MODELS_VARIABLE),
        ("shipped models", lambda: resources_folder() / "Models", RESOURCES_VARIABLE),
        ("shipped recipes", recipes_folder, ""),
        ("cache", lambda: Path(os.environ.get(CACHE_VARIABLE) or user_folder("cache")), CACHE_VARIABLE),
    ]
    return [_folder(purpose, find, variable) for purpose, find, variable in wanted]


def _folder(purpose: str, find: Callable[[], Path], variable: str) -> dict[str, str]:
    from modality_synthesis.errors import ModalitySynthesisError

    try:
        path = find()
    except ModalitySynthesisError as error:
        return {"purpose": purpose, "path": "", "state": str(error), "variable": variable}
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    states = ["writable" if os.access(there, os.W_OK) else "read-only", *([] if there == path else ["not made yet"])]
    if variable:
        states.append(f"{variable}{' is set' if os.environ.get(variable) else ' names another'}")
    return {"purpose": purpose, "path": str(path), "state": ", ".join(states), "variable": variable}


def _models() -> list[dict[str, str]]:
    from modality_synthesis.errors import ModalitySynthesisError
    from modality_synthesis.models import hidden_by, list_models, verify_model

    found = []
    for package in list_models():
        try:
            verify_model(str(package.folder))
            state = "intact"
        except ModalitySynthesisError as error:
            state = str(error)
        if hidden := hidden_by(package):
            state += f"; hides {', '.join(f'{other.card.version} ({other.folder})' for other in hidden)}"
        found.append({"id": package.card.id, "version": package.card.version, "state": state})
    return found


def _networks() -> dict[str, dict[str, str]]:
    from modality_synthesis.networks import SHIPPED
    from modality_synthesis.resources import resources_folder
    from modality_synthesis.volumes import file_sha256

    found = {}
    for name, shipped in SHIPPED.items():
        path = resources_folder() / "Networks" / shipped.file
        digest = file_sha256(path) if path.is_file() else ""
        state = "intact" if digest == shipped.sha256 else "changed" if digest else "missing"
        found[name] = {"file": shipped.file, "sha256": digest, "state": state}
    return found
