"""The main job: a volume in, a synthetic volume of another modality out, on the input's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from modality_synthesis.choices import SPACES
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.models import ModelPackage
from modality_synthesis.preprocessing import Prepared, prepare, restore_target, target_region
from modality_synthesis.preprocessing.source_checks import check_before, check_origin, check_prepared
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.synthesis.choice import choose_for_volume
from modality_synthesis.synthesis.clinical import clinical_values
from modality_synthesis.synthesis.cost import Meter, describe_cost
from modality_synthesis.synthesis.devices import check_device_name, choose_device
from modality_synthesis.synthesis.manufacturer import choose_scaling
from modality_synthesis.synthesis.moments import RunningMoments
from modality_synthesis.synthesis.provenance import (
    Run,
    description,
    sidecar,
    uncertainty_description,
    uncertainty_sidecar,
)
from modality_synthesis.volumes import (
    array,
    atomic_files,
    check_outputs,
    check_writable,
    file_sha256,
    image_like,
    read_image,
    write_image,
    write_sidecar,
)

if TYPE_CHECKING:
    import torch

    from modality_synthesis.generators.base import Generator
    from modality_synthesis.models import Card


@dataclass(frozen=True)
class Synthesis:
    """A synthetic volume and everything known about how it came to be.

    Attributes:
        image: float32, in the model's output units; the input's geometry (or the model grid's, in template space).
        source: the input volume as read.
        prepared: its preprocessing, with the brain mask and the way back.
        package: the model.
        sidecar: the provenance record.
        uncertainty: standard deviation over the samples, like `image`; None when only one was drawn.
    """

    image: sitk.Image
    source: sitk.Image
    prepared: Prepared
    package: ModelPackage
    sidecar: dict[str, object]
    uncertainty: sitk.Image | None = None


def synthesize(
    source: str | Path,
    output: str | Path | None = None,
    *,
    to: str | None = None,
    model: str | Path | ModelPackage | None = None,
    origin: str | None = None,
    clinical: Mapping[str, object] | None = None,
    manufacturer: str | None = None,
    device: str = "auto",
    seed: int = 0,
    space: str = "native",
    samples: int = 1,
    uncertainty: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Synthesis:
    """Synthesize a target modality from a source volume.

    Args:
        source: file or DICOM folder.
        output: where to write the volume (its JSON sidecar goes beside it); None writes nothing.
        to: target modality; the best installed model is taken that makes it from a volume like this one.
        model: a model's id, folder or opened package, instead of `to`.
        origin: what the source is (`T1w`, `CT`, ...), where its header, name and contents do not tell.
        clinical: clinical variables by name; what is left out is unknown.
        manufacturer: for a model standardized by manufacturer: the one of the scanner whose image is wanted, as any
            file writes it; `pooled` for the mean over all; None is unknown, which warns and takes the pooled one.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: for generators that draw noise.
        space: `native` (the input's grid) or `template` (the model's grid).
        samples: how many to draw, with the seeds `seed`, `seed` + 1, ...; the volume is then their mean.
        uncertainty: where to write the samples' standard deviation, with a sidecar of its own; needs two samples.
        reporter: receives progress and warnings.

    Raises:
        BadInputError, ModelMissingError, HashMismatchError, OutOfMemoryError: with a message for the user; nothing is
            written then.
    """
    reporter = reporter or current()
    source = Path(source)
    if space not in SPACES:
        raise UsageError(f"Unknown space {space!r}. Use {' or '.join(SPACES)}.")
    check_device_name(device)
    check_outputs([], described=[output, uncertainty], inputs=[source])
    for path in (output, uncertainty):
        if path is not None:
            check_writable(path)
    package = choose_for_volume(source, to, model, origin, reporter)
    card = package.card
    check_samples(card, samples, uncertainty)
    values = clinical_values(card, clinical)
    scaling = choose_scaling(card, manufacturer, reporter)

    source_sha256 = file_sha256(source)
    made_of = synthesis_fingerprint(
        source_sha256, package, clinical=clinical, manufacturer=manufacturer, seed=seed, samples=samples, space=space
    )
    where = choose_device(device)
    meter = Meter(where)
    reporter.progress(0.0, "Reading")
    image = read_image(source, reporter=reporter)
    check_origin(source, reporter)
    check_before(image, card.route.source, source.name, reporter)
    prepared = prepare(image, card.preprocessing, name=source.name, reporter=reporter.part(0.03, 0.65))
    check_prepared(prepared, card.route.source, reporter)

    reporter.progress(0.65, "Loading the model")
    seeds = range(seed, seed + samples)
    drawn = _draw(package, prepared, values, manufacturer, where, seeds, space, reporter.part(0.75, 0.95))
    result, spread = _mean_and_spread(drawn, samples)
    cost = meter.read()
    reporter.status(f"Cost: {describe_cost(cost)}")
    record = sidecar(
        card,
        Run(
            source_name=source.name,
            source_sha256=source_sha256,
            device=str(where),
            seed=seed,
            space=space,
            quality=prepared.quality,
            warnings=tuple(reporter.warnings),
            findings=tuple(reporter.findings),
            clinical=dict(clinical or {}),
            samples=samples,
            manufacturer=manufacturer,
            scaling=scaling,
            cost=cost,
            fingerprint=made_of,
        ),
    )
    reporter.progress(0.95, "Writing")
    like = source if space == "native" and source.is_file() else None
    files = []
    if output is not None:
        files.append(_File(Path(output), result, record, description(card)))
    if uncertainty is not None and spread is not None:
        about = uncertainty_sidecar(record, card, samples)
        files.append(_File(Path(uncertainty), spread, about, uncertainty_description(card)))
    _write(files, like)
    reporter.progress(1.0, "Done")
    return Synthesis(image=result, source=image, prepared=prepared, package=package, sidecar=record, uncertainty=spread)


@dataclass(frozen=True)
class _File:
    """A volume to write, and its sidecar."""

    path: Path
    image: sitk.Image
    record: Mapping[str, object]
    description: str


def _write(files: Sequence[_File], like: Path | None) -> None:
    """Write volumes and sidecars, all or none: no synthetic volume without its provenance."""
    with atomic_files():
        for file in files:
            write_image(file.image, file.path, like=like, description=file.description)
            write_sidecar(file.path, file.record)


def synthesis_fingerprint(
    source_sha256: str,
    package: ModelPackage,
    *,
    clinical: Mapping[str, object] | None = None,
    manufacturer: str | None = None,
    seed: int = 0,
    samples: int = 1,
    space: str = "native",
) -> str:
    """What a synthetic volume and its sidecar are made from, as one hash; the device does not count.

    The card counts with all its words: the sidecar repeats its units, name and badge.
    """
    return fingerprint(
        source=source_sha256,
        card=package.card.model_dump(mode="json"),
        clinical={name: str(value) for name, value in sorted((clinical or {}).items())},
        manufacturer=manufacturer,
        seed=seed,
        samples=samples,
        space=space,
    )


def check_samples(card: Card, samples: int, uncertainty: str | Path | None = None) -> None:
    """Whether this model can draw so many samples.

    Raises:
        UsageError: what does not go together.
    """
    if samples < 1:
        raise UsageError("At least one sample is drawn (--samples).")
    if samples > 1 and not card.inference.stochastic:
        raise UsageError(
            f"The model {card.id} is deterministic: every sample would be the same, and its standard deviation says "
            "nothing. Leave out --samples and --uncertainty, or choose a diffusion model."
        )
    if uncertainty is not None and samples < 2:
        raise UsageError("The uncertainty is the standard deviation of at least two samples: add --samples 8.")


def _mean_and_spread(drawn: Iterable[sitk.Image], samples: int) -> tuple[sitk.Image, sitk.Image | None]:
    """Mean and standard deviation over the samples; a single sample is returned as it is."""
    if samples == 1:
        return next(iter(drawn)), None
    moments = RunningMoments()
    for image in drawn:
        moments.add(array(image))
    return image_like(moments.mean, image), image_like(moments.standard_deviation, image)


def check_generator(package: ModelPackage) -> None:
    """Whether the card's generator is the one whose weights the package holds; neither is loaded for that.

    Raises:
        BadInputError: unknown generator, parameters that no package may have, or weights that do not fit.
    """
    from modality_synthesis.generators import weight_shapes
    from modality_synthesis.models.package import stored_shapes

    choice, name = package.card.generator, package.folder.name
    stored = stored_shapes(package)
    try:
        # What only training needs, discriminators for example, comes on top.
        expected = weight_shapes(choice.name, choice.parameters, most=4 * len(stored) + 100)
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from None
    odd = next((key for key in sorted({*expected, *stored}) if expected.get(key) != stored.get(key)), None)
    if odd is not None:
        there, wanted = (str(list(found[odd])) if odd in found else "missing" for found in (stored, expected))
        raise BadInputError(
            f"{name}: the weights do not fit the generator ({odd!r} is {there} in the file, {wanted} in the generator)."
        )


def load_generator(package: ModelPackage) -> Generator:
    """The package's generator with its verified weights, in evaluation mode.

    Raises:
        BadInputError: unknown generator, or weights that do not fit it.
        HashMismatchError: the weights are not those the card declares.
    """
    from modality_synthesis.generators import build_generator
    from modality_synthesis.models import load_weights

    card = package.card
    check_generator(package)
    weights = load_weights(package)
    generator = build_generator(card.generator.name, dict(card.generator.parameters))
    generator.load_state_dict(weights, strict=False)
    generator.drop_training_parts()
    return generator.eval()


def _draw(
    package: ModelPackage,
    prepared: Prepared,
    clinical: list[float] | None,
    manufacturer: str | None,
    device: torch.device,
    seeds: Sequence[int],
    space: str,
    reporter: Reporter,
) -> Iterator[sitk.Image]:
    """One synthetic volume per seed, in the target's units, on the input's or the model's grid."""
    import torch

    from modality_synthesis.generators.base import Batch
    from modality_synthesis.synthesis.allocator import keep_freed_memory
    from modality_synthesis.synthesis.devices import describe_device
    from modality_synthesis.synthesis.inference import run_generator

    keep_freed_memory()
    generator = load_generator(package)
    generator.optimize_for_synthesis(device)
    reporter.status(f"Model {package.card.id} {package.card.version} on {describe_device(device)}")
    source = torch.from_numpy(sitk.GetArrayFromImage(prepared.image))[None, None]
    values = None if clinical is None else torch.tensor([clinical])
    mapping = package.card.preprocessing.target
    mask = torch.from_numpy(sitk.GetArrayFromImage(target_region(prepared, mapping)))[None, None]
    for seed, part in zip(seeds, parts(reporter, [1.0] * len(seeds)), strict=True):
        batch = Batch(source=source, mask=mask, clinical=values, seed=seed)
        output = run_generator(generator, batch, package.card.inference, device, part.part(0.0, 0.85))
        volume = sitk.GetImageFromArray(output[0, 0].numpy())
        volume.CopyInformation(prepared.image)
        part.progress(0.85, "Returning to the input's grid")
        result = restore_target(volume, prepared, mapping, manufacturer)
        yield result if space == "template" else prepared.to_native_grid(result, mapping.background)
