"""The worker's Python packages: which are missing in Slicer's Python, what they are for, and the builds of PyTorch."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
from dataclasses import dataclass, field

import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer.command import chosen_python

REQUIREMENTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requirements.txt")
REQUESTER = "ModalitySynthesis"
TORCH = "torch"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu126"
NVIDIA_DRIVER = "/proc/driver/nvidia/version"


@dataclass(frozen=True)
class Build:
    """One of PyTorch's builds. `options` are pip's; `byExtension` leaves the choice to the PyTorch extension."""

    text: str
    options: list = field(default_factory=list)
    byExtension: bool = False


def requirements() -> list:
    """The lines of `requirements.txt`."""
    with open(REQUIREMENTS, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def missing() -> list:
    """The requirements that Slicer's Python lacks. Empty when the user chose another Python: that one answers itself."""
    if chosen_python():
        return []
    importlib.invalidate_caches()
    return [line for line in requirements() if not isThere(line)]


def isThere(requirement: str) -> bool:
    """Whether a package can be imported and is new enough."""
    name = packageName(requirement)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # a folder that an uninstalled package left behind is no package
        return False
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return True  # built into Slicer
    return numbersOf(installed) >= numbersOf(requirement.partition(">=")[2])


def packageName(requirement: str) -> str:
    """The package of a requirement: `torch` of `torch>=2.2`."""
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def numbersOf(version: str) -> tuple:
    """The numbers that a version begins with: (2, 13) of `2.13.0+cpu` (zeros at the end say nothing)."""
    numbers = [int(number) for number in re.match(r"[\d.]*", version).group().split(".") if number]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def describe(names: list) -> str:
    """What is missing, and what for."""
    purposes = {
        TORCH: _("PyTorch, runs the networks"),
        "monai": _("parts of networks"),
        "SimpleITK": _("reads and registers volumes"),
        "nibabel": _("reads NIfTI"),
        "pydicom": _("reads and writes DICOM"),
        "pydantic": _("checks model packages"),
        "safetensors": _("reads the models' weights"),
        "matplotlib": _("pictures of the reports"),
        "jinja2": _("pages of the reports"),
        "pebble": _("batches, several volumes at a time"),
    }
    packages = []
    for name in map(packageName, names):
        packages.append(f"{name} ({purposes[name]})" if name in purposes else name)
    return _(
        "The generators need Python packages that Slicer's Python does not have, or not new enough: {packages}. They are "
        "downloaded from the Python Package Index and PyTorch's own server, once."
    ).format(packages=", ".join(packages))


def builds(names: list) -> list:
    """The builds of PyTorch to choose from, the most likely one first; empty when PyTorch is not missing."""
    if TORCH not in map(packageName, names):
        return []
    if importlib.util.find_spec("PyTorchUtils") is not None:
        return [Build(_("The PyTorch build that fits this computer: the PyTorch extension chooses it"), [], True)]
    if sys.platform == "darwin":
        return [Build(_("PyTorch for this Mac"))]
    windows = sys.platform == "win32"
    cpu = Build(
        _("PyTorch without GPU support: every computer; about 1.6 GB on disk with all packages"),
        [] if windows else ["--index-url", CPU_INDEX],
    )
    cuda = Build(
        _("PyTorch for an NVIDIA GPU: about 5 GB on disk; needs a current driver"),
        ["--index-url", CUDA_INDEX] if windows else [],
    )
    return [cuda, cpu] if os.path.exists(NVIDIA_DRIVER) else [cpu, cuda]


def steps(names: list, build: Build | None) -> list:
    """The calls of pip, one after another: arguments, without `install`. PyTorch first: others would bring their own."""
    torch = [name for name in names if packageName(name) == TORCH]
    others = [name for name in names if packageName(name) != TORCH]
    found = []
    if torch and not (build is not None and build.byExtension):
        found.append([*torch, *(build.options if build is not None else [])])
    if others:
        found.append(others)
    return found


def installTorchByExtension(names: list) -> bool:
    """Have the PyTorch extension install its choice. Waits; the extension shows its progress itself."""
    from PyTorchUtils import PyTorchUtilsLogic

    version = next(name for name in names if packageName(name) == TORCH)[len(TORCH) :]
    return PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is not None


def pipInstall(arguments: list, onLine: object, onDone: object) -> None:
    """Run pip; returns at once where Slicer can do that (5.13 and newer).

    :param onLine: called with each line that pip prints.
    :param onDone: called once, with pip's exit code.
    """
    try:
        from slicer import packaging
    except ImportError:
        packaging = None
    if packaging is None:
        try:
            slicer.util.pip_install(arguments)
        except Exception as error:  # whatever it is, the user is told
            onLine(str(error))
            onDone(1)
        else:
            onDone(0)
        return
    ended = []

    def done(code: int) -> None:
        if not ended:
            ended.append(code)
            onDone(code)

    packaging.pip_install(
        arguments, blocking=False, show_progress=False, requester=REQUESTER, logCallback=onLine, completedCallback=done
    )
    if not packaging.isPipInstallInProgress():
        done(0)  # under test Slicer waits, raises where pip fails, and calls nobody


def installing() -> bool:
    """Whether an earlier installation still goes on."""
    try:
        from slicer import packaging
    except ImportError:
        return False
    return packaging.isPipInstallInProgress()


def loadedVersions() -> dict:
    """The versions of the packages that Slicer itself has loaded: when one changes, Slicer must be restarted."""
    loaded = {name.lower() for name in sys.modules if "." not in name}
    found = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name.lower().replace("-", "_") in loaded:
            found[name] = distribution.version
    return found
