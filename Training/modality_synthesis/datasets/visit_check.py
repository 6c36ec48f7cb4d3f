"""Look at one visit's volumes before anything is computed: quick enough for a whole cohort, and everything at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.findings import Finding
from modality_synthesis.modalities import MODALITIES
from modality_synthesis.preprocessing.anatomy_checks import check_brain_volume
from modality_synthesis.preprocessing.contents import BrainLook, check_coarse_contrast, check_extents, find_brain
from modality_synthesis.preprocessing.source_checks import check_before, check_origin
from modality_synthesis.preprocessing.target_checks import check_target, check_target_before
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_image, why_absent

# Where the brain is looked for, in this order.
SOURCES = ("T1w", "CT", "T2w", "FLAIR")
# Brain tissue; what the brain network is shown of a CT.
_BRAIN_WINDOW = (0.0, 90.0)
Noted = tuple[str, Finding]


@dataclass(frozen=True)
class Request:
    """What is looked at in every visit.

    Attributes:
        modalities: to look at, in any order; empty for all that a visit has.
        required: modalities without which a visit is of no use.
        quantity: what PET is expected to be: `SUVR`; None expects nothing.
        aligned: whether a visit's volumes should lie on each other already.
    """

    modalities: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    quantity: str | None = None
    aligned: bool = True


class Gathering(Reporter):
    """Keeps findings and warnings, and goes on whatever they are: all problems at once, not the first only."""

    def finding(self, finding: Finding) -> None:
        self.findings.append(finding)

    def warning(self, message: str) -> None:
        earlier = next((found for found in self.findings if found.code == "reading"), None)
        if earlier is not None:
            self.findings.remove(earlier)
            message = f"{earlier.message} {message}"
        self.findings.append(Finding("reading", "look", message))

    def part(self, start: float, end: float) -> Reporter:
        return self

    def tried(self, code: str, check: Callable[[], object]) -> bool:
        """Run a check; what it raises is a finding as well. Whether it went through."""
        try:
            check()
        except ModalitySynthesisError as error:
            self.findings.append(refusal(error, code))
            return False
        except RuntimeError as error:  # ITK's
            self.findings.append(Finding(code, "refuse", str(error).strip().splitlines()[-1]))
            return False
        return True


def refusal(error: ModalitySynthesisError, code: str) -> Finding:
    """The finding behind an error; `code` names it when it brings none."""
    known = error.finding if isinstance(error, BadInputError) else None
    return known or Finding(code, "refuse", str(error))


def check_visit(visit: Visit, request: Request) -> list[Noted]:
    """Everything that can be said about a visit's volumes without registration.

    Header, geometry, kind of voxels, contrast, unit, and whether the volumes lie on each other.

    Returns:
        (modality, finding) pairs.
    """
    order = sorted(request.modalities or visit.volumes, key=_rank)
    noted: list[Noted] = []
    if not order and not request.required:
        none = Finding(
            "missing", "refuse", f"{visit.name} has no volume in the table.", f"Columns: {', '.join(MODALITIES)}."
        )
        noted.append(("", none))
    brain: BrainLook | None = None
    order = [*order, *(name for name in request.required if name not in order)]
    for number, modality in enumerate(order):
        path = visit.volumes.get(modality)
        gathered = Gathering()
        if path is None:
            if modality in request.required:
                gathered.finding(Finding("missing", "refuse", f"{visit.name} has no {modality} volume in the table."))
        elif reason := why_absent(path):
            gathered.finding(
                Finding("missing", "refuse", f"The {modality} volume of {visit.name} is missing: {path} ({reason})")
            )
        elif (image := _read(path, gathered)) is not None:
            if number == 0 or not request.aligned or brain is None:
                found = _check_alone(image, modality, path, gathered)
                brain = found if number == 0 else brain
            else:
                _check_on(image, brain, modality, path, request, gathered)
        noted += [(modality, finding) for finding in gathered.findings]
    return noted


def _rank(modality: str) -> tuple[int, str]:
    return (SOURCES.index(modality), "") if modality in SOURCES else (len(SOURCES), modality)


def _read(path: Path, gathered: Gathering) -> sitk.Image | None:
    try:
        return read_image(path, reporter=gathered)
    except ModalitySynthesisError as error:
        gathered.finding(Finding("unreadable", "refuse", str(error)))
        return None


def _check_alone(image: sitk.Image, modality: str, path: Path, gathered: Gathering) -> BrainLook | None:
    """A volume by itself; its brain, where it shows one."""
    name = path.name
    gathered.tried("origin", lambda: check_origin(path, gathered))
    check = check_target_before if modality.endswith("PET") else check_before
    if not gathered.tried("contents", lambda: check(image, modality, name, gathered)):
        return None
    if modality.endswith("PET") or any(finding.level == "refuse" for finding in gathered.findings):
        return None
    shown = sitk.Clamp(image, sitk.sitkFloat32, *_BRAIN_WINDOW) if modality == "CT" else image
    found: list[BrainLook | None] = []
    if not gathered.tried("brain", lambda: found.append(find_brain(shown, name))) or found[0] is None:
        return None
    check_extents(found[0].extents_mm, name, gathered)
    check_brain_volume(found[0].volume_ml, name, gathered)
    if modality != "CT":
        check_coarse_contrast(found[0], modality, name, gathered)
    return found[0]


def _check_on(
    image: sitk.Image, brain: BrainLook, modality: str, path: Path, request: Request, gathered: Gathering
) -> None:
    """A volume that should lie on the brain found in another one."""
    gathered.tried("origin", lambda: check_origin(path, gathered))
    if not gathered.tried("contents", lambda: check_target_before(image, modality, path.name, gathered)):
        return
    if any(finding.level == "refuse" for finding in gathered.findings):
        return
    quantity = request.quantity if modality.endswith("PET") else None
    gathered.tried("contents", lambda: check_target(image, brain.mask, modality, path, gathered, quantity=quantity))
