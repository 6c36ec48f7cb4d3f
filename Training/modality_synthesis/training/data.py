"""Training and validation samples for Lightning, shared among processes."""

from __future__ import annotations

from collections.abc import Sequence

import lightning
import numpy as np
from torch.utils.data import DataLoader

from modality_synthesis.datasets.augmentation import make_augmenter
from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.pairs import EpochShuffle, PairDataset, share
from modality_synthesis.errors import BadInputError
from modality_synthesis.training.recipe import Recipe


class PairData(lightning.LightningDataModule):
    """Loaders over preprocessed pairs.

    What a process draws depends on the seed, the epoch, its rank and the number of processes alone.

    Raises:
        BadInputError: a batch is larger than the training data.
    """

    def __init__(self, recipe: Recipe, training: Sequence[Pair], validation: Sequence[Pair], processes: int) -> None:
        super().__init__()
        self.schedule = recipe.training
        samples = recipe.samples
        self.training = PairDataset(
            training,
            samples,
            sampling=self.schedule.sampling,
            augmenter=make_augmenter(self.schedule.augment, recipe.route.source, recipe.preprocessing),
            clinical_dropout=self.schedule.clinical_dropout,
            seed=self.schedule.seed,
        )
        self.validation = PairDataset(spread(validation, self.schedule.validate_subjects), samples)
        together = self.schedule.batch_size * processes
        if together > len(self.training):
            times = f" times {processes} processes" if processes > 1 else ""
            raise BadInputError(
                f"training.batch_size {self.schedule.batch_size}{times} is larger than the training data "
                f"({len(self.training)} samples). Use smaller batches, or fewer processes."
            )

    def train_dataloader(self) -> DataLoader:
        trainer = _trainer(self)
        sampler = EpochShuffle(
            len(self.training), self.schedule.seed, rank=trainer.global_rank, processes=trainer.world_size
        )
        return DataLoader(
            self.training,
            batch_size=self.schedule.batch_size,
            sampler=sampler,
            num_workers=self.schedule.workers,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader:
        trainer = _trainer(self)
        mine = share(range(len(self.validation)), trainer.global_rank, trainer.world_size)
        # Of the whole data set as far as anybody asks, of this process's share as far as it is read.
        return DataLoader(self.validation, batch_size=1, sampler=mine)


def spread(pairs: Sequence[Pair], most: int | None) -> list[Pair]:
    """At most so many of the pairs, evenly spread over their order."""
    if most is None or most >= len(pairs):
        return list(pairs)
    return [pairs[index] for index in np.linspace(0, len(pairs) - 1, most).round().astype(int)]


def _trainer(data: lightning.LightningDataModule) -> lightning.Trainer:
    assert data.trainer is not None
    return data.trainer
