"""Which model answers a request: named, or the best one that starts from the modality at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.datasets.cohort import Cohort
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.modalities import modality_of
from modality_synthesis.models import ModelPackage, choose_model, find_model, list_models
from modality_synthesis.preprocessing.contents import find_brain
from modality_synthesis.preprocessing.source_checks import looks_like_ct
from modality_synthesis.progress import Reporter, current
from modality_synthesis.volumes import read_image
from modality_synthesis.volumes.stated import stated_modalities

# Deep over outer tissue (`BrainLook.deep_ratio`): above is a T1w, below a T2w; a FLAIR lies between (0.89 and 1.04),
# where some T2w do too.
_T1W_ABOVE, _T2W_BELOW = 1.10, 0.86


def choose_for_volume(
    volume: Path | sitk.Image,
    to: str | None,
    model: str | Path | ModelPackage | None,
    origin: str | None,
    reporter: Reporter,
) -> ModelPackage:
    """The model for one volume.

    What the volume is, is asked of the user (`origin`), its DICOM header, its file name, its sidecar and, where models
    for several sources are installed, its contents; in this order.

    Args:
        volume: file, DICOM folder, or a volume in memory.
        to: target modality, any spelling.
        model: id, folder or opened package, instead of `to`.
        origin: the volume's modality, any spelling.
        reporter: hears what was decided by the volume's contents.

    Raises:
        UsageError: nothing or contradictory things asked for; a volume of a modality from which no installed model
            starts; or several could be meant.
        ModelMissingError: not installed.
    """
    if model is not None or origin is not None or to is None:
        return choose_package(to, model, origin)
    target = _canonical(to)
    sources = _sources_of(target)
    if not sources:
        return choose_package(target, None)  # its message says what there is
    said = [] if isinstance(volume, sitk.Image) else stated_modalities(volume)
    name = "The volume" if isinstance(volume, sitk.Image) else volume.name
    if len({statement.modality for statement in said}) > 1:
        claims = ", but its ".join(f"{statement.where} says {statement.modality}" for statement in said)
        raise UsageError(f"{name}: its {claims}. {_way_out(target, sources)}")
    if said:
        if said[0].modality not in sources:
            raise UsageError(
                f"{name} is a {said[0].modality} by its {said[0].where}; installed models make {target} from "
                f"{_either(sources)}. {_way_out(target, sources)}"
            )
        return choose_package(target, None, said[0].modality)
    if len(sources) == 1:
        return choose_package(target, None, sources[0])  # the checks of its contents follow
    found = _by_contents(volume, name, sources)
    if found is None:
        raise UsageError(
            f"{name}: models make {target} from {_either(sources)}, and neither its header, name nor contents say "
            f"which it is. {_way_out(target, sources)}"
        )
    reporter.status(f"{name} is taken for a {found}, by its contents")
    return choose_package(target, None, found)


def choose_for_table(
    table: Cohort, to: str | None, model: str | Path | ModelPackage | None, origin: str | None
) -> ModelPackage:
    """The model for a table: its columns say which modalities there are.

    Raises:
        UsageError: as `choose_for_volume`; columns of several sources from which models start.
        ModelMissingError: not installed.
    """
    if model is not None or origin is not None or to is None:
        return choose_package(to, model, origin)
    target = _canonical(to)
    sources = _sources_of(target)
    there = [source for source in sources if any(source in visit.volumes for visit in table)]
    if len(there) > 1:
        raise UsageError(
            f"{table.path.name} has the columns {' and '.join(there)}, and models make {target} from each of them. "
            f"{_way_out(target, there)}"
        )
    return choose_package(target, None, there[0] if there else None)


def choose_package(to: str | None, model: str | Path | ModelPackage | None, origin: str | None = None) -> ModelPackage:
    """The model of a request: named, or the best one for the route.

    Raises:
        UsageError: neither is given, or they contradict each other.
        ModelMissingError: not installed.
    """
    if model is None and to is None:
        raise UsageError("Say what to make: a target modality (--to FDG-PET) or a model (--model demo-t1w-fdg).")
    target, source = (None if text is None else _canonical(text) for text in (to, origin))
    if model is None:
        return choose_model(target=str(target), source=source)
    package = model if isinstance(model, ModelPackage) else find_model(model)
    route = package.card.route
    if target is not None and route.target != target:
        raise UsageError(f"The model {package.card.id} makes {route.target}, not {target}.")
    if source is not None and route.source != source:
        raise UsageError(f"The model {package.card.id} starts from {route.source}, not {source} (--from).")
    return package


def _canonical(text: str) -> str:
    """As the cards write it; a word that means no modality stays, for the message."""
    return modality_of(text) or text


def _sources_of(target: str) -> list[str]:
    return sorted({package.card.route.source for package in list_models(target=target)})


def _by_contents(volume: Path | sitk.Image, name: str, sources: Iterable[str]) -> str | None:
    """The source that a volume's voxels show; None where they leave it open."""
    image = volume if isinstance(volume, sitk.Image) else read_image(volume, reporter=current())
    if looks_like_ct(image):
        return "CT" if "CT" in sources else None
    magnetic = [source for source in sources if source != "CT"]
    return magnetic[0] if len(magnetic) == 1 else _by_contrast(image, name, magnetic)


def _by_contrast(image: sitk.Image, name: str, sources: Iterable[str]) -> str | None:
    try:
        look = find_brain(image, name)
    except BadInputError:
        return None
    if look is None:
        return None
    tests: dict[str, Callable[[float], bool]] = {
        "T1w": lambda ratio: ratio > _T1W_ABOVE,
        "T2w": lambda ratio: ratio < (_T2W_BELOW if "FLAIR" in sources else 1.0),
        "FLAIR": lambda ratio: "T2w" not in sources and ratio < _T1W_ABOVE,
    }
    fitting = [source for source in sources if tests[source](look.deep_ratio)]
    return fitting[0] if len(fitting) == 1 else None


def _either(sources: Iterable[str]) -> str:
    return " or ".join(sources)


def _way_out(target: str, sources: Iterable[str]) -> str:
    ids = [package.card.id for source in sources for package in list_models(source, target)]
    return f"Say what it is with --from ({_either(sources)}), or choose a model with --model ({', '.join(ids)})."
