"""Preprocessed pairs as a torch dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from modality_synthesis.datasets.augmentation import augment
from modality_synthesis.datasets.cache import Pair


class PairDataset(Dataset[dict[str, Tensor]]):
    """Pairs as tensors (1, depth, height, width).

    What is random about a sample depends on (seed, epoch, index) alone, so that a resumed run sees exactly what an
    uninterrupted one would have seen. Call `set_epoch` before each epoch.
    """

    def __init__(self, pairs: Sequence[Pair], *, augmented: bool = False, seed: int = 0) -> None:
        self.pairs, self.augmented, self.seed, self.epoch = list(pairs), augmented, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        arrays = {name: torch.from_numpy(values)[None] for name, values in self.pairs[index].load().items()}
        source, target = arrays["source"], arrays["target"]
        region, brain = arrays["region"].float(), arrays["brain"].float()
        if self.augmented:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            source, target, region = augment(source, target, region, brain, rng)
        return {"source": source, "target": target, "mask": region, "brain": brain}


class EpochShuffle(Sampler[int]):
    """All indices in an order that depends on (seed, epoch) alone; the trainer calls `set_epoch`."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.count).tolist())
