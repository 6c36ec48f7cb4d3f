"""The main job: a volume in, a synthetic volume of another modality out, on the input's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.models import ModelPackage, choose_model, find_model
from modality_synthesis.preprocessing import Prepared, prepare, restore_target
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis.checks import check_before, check_contrast
from modality_synthesis.synthesis.clinical import clinical_values
from modality_synthesis.synthesis.devices import check_device_name, choose_device
from modality_synthesis.synthesis.provenance import Run, description, sidecar
from modality_synthesis.volumes import (
    check_writable,
    file_sha256,
    read_image,
    sidecar_path,
    write_image,
    write_json,
)

if TYPE_CHECKING:
    import torch

    from modality_synthesis.generators.base import Generator

SPACES = ("native", "template")


@dataclass(frozen=True)
class Synthesis:
    """A synthetic volume and everything known about how it came to be.

    Attributes:
        image: float32, in the model's output units; the input's geometry (or the model grid's, in template space).
        source: the input volume as read.
        prepared: its preprocessing, with the brain mask and the way back.
        package: the model.
        sidecar: the provenance record.
    """

    image: sitk.Image
    source: sitk.Image
    prepared: Prepared
    package: ModelPackage
    sidecar: dict[str, object]


def synthesize(
    source: str | Path,
    output: str | Path | None = None,
    *,
    to: str | None = None,
    model: str | Path | ModelPackage | None = None,
    clinical: Mapping[str, object] | None = None,
    device: str = "auto",
    seed: int = 0,
    space: str = "native",
    reporter: Reporter | None = None,
) -> Synthesis:
    """Synthesize a target modality from a source volume.

    Args:
        source: file or DICOM folder.
        output: where to write the volume (its JSON sidecar goes beside it); None writes nothing.
        to: target modality; the best installed model for the route is taken.
        model: a model's id, folder or opened package, instead of `to`.
        clinical: clinical variables by name; what is left out is unknown.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: for generators that draw noise.
        space: `native` (the input's grid) or `template` (the model's grid).
        reporter: receives progress and warnings.

    Raises:
        BadInputError, ModelMissingError, HashMismatchError, OutOfMemoryError: with a message for the user; nothing is
            written then.
    """
    reporter = reporter or Reporter()
    source = Path(source)
    if space not in SPACES:
        raise UsageError(f"Unknown space {space!r}. Use {' or '.join(SPACES)}.")
    check_device_name(device)
    if output is not None:
        check_writable(output)
    package = choose_package(to, model)
    card = package.card
    values = clinical_values(card, clinical)

    reporter.progress(0.0, "Reading")
    image = read_image(source, reporter=reporter)
    check_before(image, card.route.source, source.name, reporter)
    where = choose_device(device)
    prepared = prepare(image, card.preprocessing, name=source.name, reporter=reporter.part(0.03, 0.65))
    check_contrast(prepared, card.route.source, reporter)

    reporter.progress(0.65, "Loading the model")
    network_output = _generate(package, prepared, values, where, seed, reporter.part(0.75, 0.92))
    reporter.progress(0.92, "Returning to the input's grid")
    mapping = card.preprocessing.target
    result = restore_target(network_output, prepared, mapping)
    if space == "native":
        result = prepared.to_native_grid(result, mapping.background)
    record = sidecar(
        card,
        Run(
            source_name=source.name,
            source_sha256=file_sha256(source),
            device=str(where),
            seed=seed,
            space=space,
            quality=prepared.quality,
            warnings=tuple(reporter.warnings),
            clinical=dict(clinical or {}),
        ),
    )
    if output is not None:
        reporter.progress(0.95, "Writing")
        like = source if space == "native" and source.is_file() else None
        _write(result, record, Path(output), like, description(card))
    reporter.progress(1.0, "Done")
    return Synthesis(image=result, source=image, prepared=prepared, package=package, sidecar=record)


def _write(image: sitk.Image, record: dict[str, object], output: Path, like: Path | None, description: str) -> None:
    """Write volume and sidecar; interrupted in between, neither stays: no synthetic volume without its provenance."""
    try:
        write_image(image, output, like=like, description=description)
        write_json(record, sidecar_path(output))
    except BaseException:
        output.unlink(missing_ok=True)
        sidecar_path(output).unlink(missing_ok=True)
        raise


def load_generator(package: ModelPackage) -> Generator:
    """The package's generator with its verified weights, in evaluation mode.

    Raises:
        BadInputError: unknown generator, or weights that do not fit it.
        HashMismatchError: the weights are not those the card declares.
    """
    from modality_synthesis.generators import build_generator
    from modality_synthesis.models import load_weights

    card = package.card
    generator = build_generator(card.generator.name, dict(card.generator.parameters))
    weights = load_weights(package)
    expected = set(generator.package_state())
    if set(weights) != expected:
        odd = sorted(set(weights) ^ expected)[0]
        raise BadInputError(f"{package.folder.name}: the weights do not fit the generator ({odd!r} is not in both).")
    try:
        generator.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise BadInputError(f"{package.folder.name}: the weights do not fit the generator: {error}") from None
    return generator.eval()


def choose_package(to: str | None, model: str | Path | ModelPackage | None) -> ModelPackage:
    """The model of a request: named, or the best one for the target.

    Raises:
        UsageError: neither is given, or they contradict each other.
        ModelMissingError: not installed.
    """
    if model is None and to is None:
        raise UsageError("Say what to make: a target modality (--to FDG-PET) or a model (--model demo-t1w-fdg).")
    if isinstance(model, ModelPackage):
        return model
    package = choose_model(target=str(to)) if model is None else find_model(model)
    if to is not None and package.card.route.target != to:
        raise UsageError(f"The model {package.card.id} makes {package.card.route.target}, not {to}.")
    return package


def _generate(
    package: ModelPackage,
    prepared: Prepared,
    clinical: list[float] | None,
    device: torch.device,
    seed: int,
    reporter: Reporter,
) -> sitk.Image:
    import torch

    from modality_synthesis.generators.base import Batch
    from modality_synthesis.synthesis.allocator import keep_freed_memory
    from modality_synthesis.synthesis.devices import describe_device
    from modality_synthesis.synthesis.inference import run_generator

    keep_freed_memory()
    generator = load_generator(package)
    reporter.status(f"Model {package.card.id} {package.card.version} on {describe_device(device)}")
    batch = Batch(
        source=torch.from_numpy(sitk.GetArrayFromImage(prepared.image))[None, None],
        clinical=None if clinical is None else torch.tensor([clinical]),
        seed=seed,
    )
    output = run_generator(generator, batch, package.card.inference, device, reporter)
    volume = sitk.GetImageFromArray(output[0, 0].numpy())
    volume.CopyInformation(prepared.image)
    return volume
