"""Preprocessed pairs as a torch dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from modality_synthesis.datasets.augmentation import Augmenter, Layout, Sample
from modality_synthesis.datasets.cache import Pair, Window
from modality_synthesis.datasets.parameters import Axis, Sampling
from modality_synthesis.datasets.samples import SampleSpec
from modality_synthesis.datasets.windows import AXIS, draw_window
from modality_synthesis.errors import BadInputError

# Streams of random numbers of one sample: what is drawn for one purpose does not depend on the others.
_POSITION, _CHANGES, _DROPPING, _PLANE = range(4)

Item = TypeVar("Item")


class PairDataset(Dataset[dict[str, Tensor]]):
    """Samples of preprocessed pairs, each from one volume of one patient.

    A sample holds, float32:
        source, target: (1, depth, height, width), network values.
        mask: same shape, 1 where the target is defined.
        brain: same shape, 1 in the brain.
        regions: same shape, 1 in the MetaROIs; with `meta_roi` only.
        clinical: (variable,), standardized, NaN unknown; with clinical variables only.
        scaling: (2,), scale and offset: target in its units = scale * network value + offset.

    What is random about a sample depends on (seed, epoch, index) alone, so that a resumed run sees exactly what an
    uninterrupted one would have seen. Call `set_epoch` before each epoch.

    Args:
        pairs: of the training or of the validation patients.
        spec: what a sample holds; fitted to the training patients (`SampleSpec.fitted`).
        sampling: which parts of a volume are samples.
        augmenter: random changes; for training patients only.
        clinical_dropout: in training, the probability p of forgetting clinical variables: with p all of them, else
            each with p. So the generator learns to do without any of them, and without all.
        seed: of everything random.

    Raises:
        BadInputError: a clinical value that cannot be used, or regions that the grid does not hold.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        spec: SampleSpec,
        *,
        sampling: Sampling | None = None,
        augmenter: Augmenter | None = None,
        clinical_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.pairs, self.sampling = list(pairs), sampling or Sampling()
        self.augmenter, self.clinical_dropout, self.seed, self.epoch = augmenter, clinical_dropout, seed, 0
        self.scalings = [spec.scaling(pair.visit) for pair in self.pairs]
        self.clinical = [spec.clinical(pair.visit) for pair in self.pairs]
        self.regions = spec.regions()

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pairs) * self.sampling.per_volume

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, part = divmod(index, self.sampling.per_volume)
        scaling = self.scalings[number]
        plane = self._plane(index)
        axis = 1 + AXIS[plane]
        layout = Layout(
            slab=self.sampling.mode == "slab",
            left_right=-3 if plane == "sagittal" else -1,
            target_fill=scaling.to_network(scaling.background),
        )
        # A patch is cut from the changed volume, so that no edge of the patch is drawn in; a slab turns in its plane.
        early = self.sampling.mode == "patch" and self.augmenter is not None
        window, least = None, (0, 0)
        if self.sampling.mode != "whole":
            brain = self.pairs[number].brain()
            window = draw_window(brain, self.sampling, part, self._rng(index, _POSITION), plane)
            least = _common_size(brain.shape) if len(self.sampling.planes) > 1 else (0, 0)
        sample = self._load(number, None if early else window)
        sample = {name: volume.movedim(axis, 1) for name, volume in sample.items()}
        square = self.augmenter is not None and self.augmenter.square
        if square:
            sample = _pad(sample, layout, square=True, least=least)
        if self.augmenter is not None:
            sample = self.augmenter(sample, layout, self._rng(index, _CHANGES))
        if early and window is not None:
            sample = {name: volume[(slice(None), *window)] for name, volume in sample.items()}
        sample = _pad(sample, layout, square=square, multiple=self.sampling.multiple, least=least)
        sample = {name: volume.contiguous() for name, volume in sample.items()}
        clinical = self._known(number, index)
        facts = {} if clinical is None else {"clinical": clinical}
        return {**sample, **facts, "scaling": torch.tensor([scaling.scale, scaling.offset], dtype=torch.float32)}

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, index, stream])

    def _plane(self, index: int) -> Axis:
        planes = self.sampling.planes
        return planes[int(self._rng(index, _PLANE).integers(len(planes)))]

    def _load(self, number: int, window: Window | None) -> Sample:
        arrays = self.pairs[number].load(window)
        if self.regions is not None:
            if window is None and self.regions.shape != arrays["source"].shape:
                raise BadInputError("The preprocessed volumes are not on the model's grid; the MetaROIs do not fit.")
            arrays["regions"] = self.regions if window is None else self.regions[window]
        arrays["mask"] = arrays.pop("region")
        # The cache holds network values of the fixed scale and offset; statistics are still to be applied.
        if self.scalings[number].statistics is not None:
            arrays["target"] = self.scalings[number].to_network(arrays["target"])
        return {name: torch.from_numpy(values.astype(np.float32))[None] for name, values in arrays.items()}

    def _known(self, number: int, index: int) -> Tensor | None:
        values = self.clinical[number]
        if values is None:
            return None
        if self.clinical_dropout > 0:
            rng = self._rng(index, _DROPPING)
            forget_all = rng.random() < self.clinical_dropout
            forgotten = rng.random(values.shape) < self.clinical_dropout
            values = np.where(forgotten | forget_all, np.nan, values).astype(np.float32)
        return torch.from_numpy(values.copy())


def _common_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width that the slices of every plane of a volume (z, y, x) fit into."""
    z, y, x = shape
    return max(z, y), max(y, x)


def _pad(
    sample: Sample, layout: Layout, *, square: bool = False, multiple: int = 1, least: tuple[int, int] = (0, 0)
) -> Sample:
    """Grow height and width (without slabs, depth too) on both sides: to a least size, a square, a multiple."""
    shape = list(sample["source"].shape[1:])
    depth, height, width = shape[0], max(shape[1], least[0]), max(shape[2], least[1])
    wanted = [depth, max(height, width), max(height, width)] if square else [depth, height, width]
    wanted = [-(-length // multiple) * multiple for length in wanted]
    if layout.slab:
        wanted[0] = depth
    if wanted == shape:
        return sample
    padding: list[int] = []
    for length, target in zip(reversed(shape), reversed(wanted), strict=True):
        before = (target - length) // 2
        padding += [before, target - length - before]
    return {name: functional.pad(volume, padding, value=layout.fill(name)) for name, volume in sample.items()}


def require_disjoint(training: Sequence[Pair], *others: Sequence[Pair]) -> None:
    """Check that no patient of the training pairs is among the others.

    Raises:
        BadInputError: names the patient.
    """
    subjects = {pair.visit.subject for pair in training}
    shared = sorted(subjects & {pair.visit.subject for pairs in others for pair in pairs})
    if shared:
        raise BadInputError(f"Subject {shared[0]} is in two splits; a patient may be in one only.")


class EpochShuffle(Sampler[int]):
    """All indices in an order that depends on (seed, epoch) alone; the trainer calls `set_epoch`.

    Several processes share the order in turn: together their batches hold the indices that one process with batches so
    many times larger would draw.

    Args:
        count: of samples.
        seed: of the order.
        rank: of this process, from 0.
        processes: in all.
    """

    def __init__(self, count: int, seed: int = 0, *, rank: int = 0, processes: int = 1) -> None:
        self.count, self.seed, self.epoch = count, seed, 0
        self.rank, self.processes = rank, processes

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.processes)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count).tolist()
        return iter(share(order, self.rank, self.processes))


def share(items: Sequence[Item], rank: int, processes: int) -> list[Item]:
    """Every so-many-th item, beginning with number `rank`.

    All shares are equally long: when the items run out, the first ones come again.
    """
    length = -(-len(items) // processes)
    return [items[(rank + turn * processes) % len(items)] for turn in range(length)]
