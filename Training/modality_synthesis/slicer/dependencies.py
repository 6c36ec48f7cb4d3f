"""The worker's Python packages: which are missing in Slicer's Python, and installing them after asking."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re

import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer.command import chosen_python

REQUIREMENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
REQUESTER = "ModalitySynthesis"


def requirements() -> list:
    """The lines of `requirements.txt`."""
    with open(REQUIREMENTS, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def missing() -> list:
    """The requirements that Slicer's Python lacks. Empty when the user chose another Python: that one answers itself."""
    if chosen_python():
        return []
    importlib.invalidate_caches()
    return [line for line in requirements() if importlib.util.find_spec(packageName(line)) is None]


def packageName(requirement: str) -> str:
    """The package of a requirement: `torch` of `torch>=2.2`."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def describe(names: list) -> str:
    """What is missing and what installing means, in two sentences."""
    packages = ", ".join(packageName(name) for name in names)
    size = _(" PyTorch is a large download.") if any(packageName(name) == "torch" for name in names) else ""
    return (
        _("These Python packages are needed once and are not installed: {packages}.").format(packages=packages) + size
    )


def install(names: list) -> bool:
    """Install requirements into Slicer's Python, after asking.

    :return: False when the user declined.
    """
    if not slicer.util.confirmOkCancelDisplay(describe(names) + "\n\n" + _("Install them now?")):
        return False
    remaining = list(names)
    torch = next((line for line in remaining if packageName(line) == "torch"), None)
    if torch is not None and _installTorch(torch):
        remaining.remove(torch)
    if remaining:
        _pipInstall(remaining)
    return not missing()


def _installTorch(requirement: str) -> bool:
    """Through the PyTorch extension, which picks the build for this machine's GPU. False when it is not there."""
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError:
        return False
    version = requirement[len("torch") :]
    return PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is not None


def _pipInstall(names: list) -> None:
    try:
        from slicer import packaging
    except ImportError:  # Slicer 5.10 and older
        slicer.util.pip_install(names)
        return
    packaging.pip_ensure(names, prompt_install=False, requester=REQUESTER)
