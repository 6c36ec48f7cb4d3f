"""The main job: a volume in, a synthetic volume of another modality out, on the input's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from modality_synthesis.choices import SPACES
from modality_synthesis.errors import UsageError
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.models import ModelPackage
from modality_synthesis.preprocessing import Prepared
from modality_synthesis.preprocessing.source_checks import check_origin
from modality_synthesis.progress import Reporter, current
from modality_synthesis.synthesis.choice import choose_for_volume
from modality_synthesis.synthesis.clinical import clinical_values
from modality_synthesis.synthesis.cost import Meter, describe_cost
from modality_synthesis.synthesis.devices import check_device_name
from modality_synthesis.synthesis.manufacturer import choose_scaling
from modality_synthesis.synthesis.moments import RunningMoments
from modality_synthesis.synthesis.provenance import (
    Run,
    description,
    sidecar,
    uncertainty_description,
    uncertainty_sidecar,
)
from modality_synthesis.synthesis.synthesizer import Synthesizer, kept_synthesizer
from modality_synthesis.volumes import (
    array,
    atomic_files,
    check_outputs,
    check_writable,
    checked_image,
    file_sha256,
    image_like,
    image_sha256,
    read_image,
    write_image,
    write_sidecar,
)

if TYPE_CHECKING:
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
    source: str | Path | sitk.Image,
    output: str | Path | None = None,
    *,
    to: str | None = None,
    model: str | Path | ModelPackage | Synthesizer | None = None,
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
        source: file, DICOM folder, or a volume in memory.
        output: where to write the volume (its JSON sidecar goes beside it); None writes nothing.
        to: target modality; the best installed model is taken that makes it from a volume like this one.
        model: a model's id, folder or opened package, instead of `to`; or a synthesizer, which has its device.
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
    path = None if isinstance(source, sitk.Image) else Path(source)
    if space not in SPACES:
        raise UsageError(f"Unknown space {space!r}. Use {' or '.join(SPACES)}.")
    check_device_name(device)
    check_outputs([], described=[output, uncertainty], inputs=[source])
    for file in (output, uncertainty):
        if file is not None:
            check_writable(file)
    named = model.package if isinstance(model, Synthesizer) else model
    package = choose_for_volume(source if isinstance(source, sitk.Image) else Path(source), to, named, origin, reporter)
    card = package.card
    check_samples(card, samples, uncertainty)
    values = clinical_values(card, clinical)
    scaling = choose_scaling(card, manufacturer, reporter)

    source_sha256 = image_sha256(source) if path is None else file_sha256(path)
    made_of = synthesis_fingerprint(
        source_sha256, package, clinical=clinical, manufacturer=manufacturer, seed=seed, samples=samples, space=space
    )
    synthesizer = model if isinstance(model, Synthesizer) else kept_synthesizer(package, device)
    meter = Meter(synthesizer.device)
    reporter.progress(0.0, "Reading")
    image, name = _read(source, path, reporter)
    prepared = synthesizer.prepare(image, name, reporter.part(0.03, 0.65))

    reporter.progress(0.65, "Loading the model")
    synthesizer.load()
    drawn = synthesizer.run(
        prepared, values, range(seed, seed + samples), manufacturer=manufacturer, space=space,
        reporter=reporter.part(0.75, 0.95),
    )  # fmt: skip
    result, spread = _mean_and_spread(drawn, samples)
    cost = meter.read()
    reporter.status(f"Cost: {describe_cost(cost)}")
    record = sidecar(
        card,
        Run(
            source_name=name,
            source_sha256=source_sha256,
            device=str(synthesizer.device),
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
    like = path if space == "native" and path is not None and path.is_file() else None
    files = []
    if output is not None:
        files.append(_File(Path(output), result, record, description(card)))
    if uncertainty is not None and spread is not None:
        about = uncertainty_sidecar(record, card, samples)
        files.append(_File(Path(uncertainty), spread, about, uncertainty_description(card)))
    _write(files, like)
    reporter.progress(1.0, "Done")
    return Synthesis(image=result, source=image, prepared=prepared, package=package, sidecar=record, uncertainty=spread)


def _read(source: str | Path | sitk.Image, path: Path | None, reporter: Reporter) -> tuple[sitk.Image, str]:
    """The volume, and what messages call it."""
    if path is None:
        name = "The volume"
        return checked_image(source, name), name
    image = read_image(path, reporter=reporter)
    check_origin(path, reporter)
    return image, path.name


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
