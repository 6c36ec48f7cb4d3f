"""A model ready to run: loaded and made quick once, then used for one volume after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.models import Card, ModelPackage, find_model
from modality_synthesis.preprocessing import Prepared, prepare, restore_target, target_region
from modality_synthesis.preprocessing.source_checks import check_before, check_prepared
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.synthesis.devices import choose_device, describe_device
from modality_synthesis.volumes import array

if TYPE_CHECKING:
    from torch import Tensor

    from modality_synthesis.generators.base import Generator

# As many models as an evaluation usually compares; each holds its weights in memory.
_MOST_KEPT = 4
_KEPT: dict[tuple[Path, str], Synthesizer] = {}


class Synthesizer:
    """A model package on a device. The network is loaded, and its weights verified, when it is first needed.

    Args:
        package: the model.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UsageError: no such device.
    """

    def __init__(self, package: ModelPackage, device: str = "auto") -> None:
        self.package, self.device = package, choose_device(device)

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.package.card

    @cached_property
    def generator(self) -> Generator:
        """The network, ready to synthesize.

        Raises:
            BadInputError: unknown generator, or weights that do not fit it.
            HashMismatchError: the weights are not those the card declares.
        """
        from modality_synthesis.synthesis.allocator import keep_freed_memory

        keep_freed_memory()
        generator = load_generator(self.package)
        generator.optimize_for_synthesis(self.device)
        return generator

    def load(self) -> None:
        """Load the network now; `generator` tells what can go wrong."""
        _ = self.generator

    def prepare(self, image: sitk.Image, name: str = "The volume", reporter: Reporter | None = None) -> Prepared:
        """Check a source volume and bring it into the form the model takes.

        Args:
            image: 3-D scalar volume, any grid, in the source modality's values.
            name: what messages call it.
            reporter: receives progress, findings and warnings.

        Raises:
            BadInputError: the volume is not what the model needs.
        """
        reporter = reporter or current()
        check_before(image, self.card.route.source, name, reporter)
        prepared = prepare(image, self.card.preprocessing, name=name, reporter=reporter)
        check_prepared(prepared, self.card.route.source, reporter)
        return prepared

    def run(
        self,
        prepared: Prepared,
        clinical: Sequence[float] | None = None,
        seeds: Sequence[int] = (0,),
        *,
        manufacturer: str | None = None,
        space: str = "native",
        reporter: Reporter | None = None,
    ) -> Iterator[sitk.Image]:
        """One synthetic volume per seed, float32, in the target's units.

        Args:
            prepared: by `prepare`.
            clinical: standardized values, as `synthesis.clinical.clinical_values` makes them; None when the model
                takes none.
            seeds: of the noise; a deterministic model needs one.
            manufacturer: whose image is wanted, of models standardized by manufacturer; None is the pooled one.
            space: `native`, the input's grid, or `template`, the model's.
            reporter: receives progress and warnings.

        Raises:
            BadInputError, HashMismatchError: the weights are not the package's.
            OutOfMemoryError: not even the CPU has room.
        """
        import torch

        reporter = reporter or current()
        mapping = self.card.preprocessing.target
        source = torch.from_numpy(array(prepared.image))[None, None]
        mask = torch.from_numpy(array(target_region(prepared, mapping)))[None, None]
        self.load()
        reporter.status(f"Model {self.card.id} {self.card.version} on {describe_device(self.device)}")
        for seed, part in zip(seeds, parts(reporter, [1.0] * len(seeds)), strict=True):
            output = self.output(source, seed, clinical=clinical, mask=mask, reporter=part.part(0.0, 0.85))
            volume = sitk.GetImageFromArray(output[0, 0].numpy())
            volume.CopyInformation(prepared.image)
            part.progress(0.85, "Returning to the input's grid")
            result = restore_target(volume, prepared, mapping, manufacturer)
            yield result if space == "template" else prepared.to_native_grid(result, mapping.background)

    def output(
        self,
        source: Tensor,
        seed: int = 0,
        *,
        clinical: Sequence[float] | None = None,
        mask: Tensor | None = None,
        reporter: Reporter | None = None,
    ) -> Tensor:
        """What the network makes of a prepared volume, before it is brought into the target's units.

        Args:
            source: (1, 1, depth, height, width), network values on the model's grid.
            seed: of the noise.
            clinical: standardized values.
            mask: same shape; slice by slice only the slices it reaches are computed.
            reporter: receives progress and warnings.

        Returns:
            (1, 1, depth, height, width), float32, on the CPU, network values.
        """
        import torch

        from modality_synthesis.generators.base import Batch
        from modality_synthesis.synthesis.inference import run_generator

        values = None if clinical is None else torch.tensor([list(clinical)])
        batch = Batch(source=source, mask=mask, clinical=values, seed=seed)
        return run_generator(self.generator, batch, self.card.inference, self.device, reporter)


def load_synthesizer(model: str | Path | ModelPackage, device: str = "auto") -> Synthesizer:
    """A model, loaded: `prepare` and `run` then cost no loading, however many volumes follow.

    Args:
        model: id, folder or opened package.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        ModelMissingError: not installed.
        BadInputError, HashMismatchError: the package is damaged.
        UsageError: no such device.
    """
    synthesizer = Synthesizer(model if isinstance(model, ModelPackage) else find_model(model), device)
    synthesizer.load()
    return synthesizer


def kept_synthesizer(package: ModelPackage, device: str = "auto") -> Synthesizer:
    """The synthesizer of a model in this process: made once, and kept as long as few others are asked for."""
    key = (package.folder, device)
    kept = _KEPT.pop(key, None)
    if kept is None or kept.package != package:
        kept = Synthesizer(package, device)
    _KEPT[key] = kept  # the last one asked for is the last to go
    if len(_KEPT) > _MOST_KEPT:
        _KEPT.pop(next(iter(_KEPT)))
    return kept


def check_fit(package: ModelPackage) -> None:
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
    check_fit(package)
    weights = load_weights(package)
    generator = build_generator(card.generator.name, dict(card.generator.parameters))
    generator.load_state_dict(weights, strict=False)
    generator.drop_training_parts()
    return generator.eval()
