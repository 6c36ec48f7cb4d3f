"""Look at this installation and say what would stand in the way."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from modality_synthesis._version import __version__

_PACKAGES = ("torch", "monai", "SimpleITK", "nibabel", "numpy", "pydicom", "safetensors", "lightning", "highdicom")


def examine() -> dict[str, Any]:
    """Versions, devices, shipped files and models, as plain data."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _installed(name) for name in _PACKAGES},
        "devices": _devices(),
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
    print("Models")
    for model in report["models"]:
        print(f"  {model['id']:<24} {model['version']:<8} {model['state']}")
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


def _models() -> list[dict[str, str]]:
    from modality_synthesis.errors import ModalitySynthesisError
    from modality_synthesis.models import list_models, verify_model

    found = []
    for package in list_models():
        try:
            verify_model(str(package.folder))
            state = "intact"
        except ModalitySynthesisError as error:
            state = str(error)
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
