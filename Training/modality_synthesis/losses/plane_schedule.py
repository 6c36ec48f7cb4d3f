"""Which plane the cyclic 2.5-D perceptual loss looks at in each epoch (Algorithm 2 of arXiv 2406.12632).

Axial, coronal, sagittal in turn, each for `duration` epochs; after each cycle of three the duration shrinks by
`factor`, rounded, down to one epoch. A duration counts epochs per plane: the paper's 120 make a first cycle of 360.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, get_args

Plane = Literal["axial", "coronal", "sagittal"]
CYCLE: tuple[Plane, ...] = get_args(Plane)

# Of a volume (batch, channel, z, y, x).
AXES = {"axial": 2, "coronal": 3, "sagittal": 4}

PAPER_DURATION = 120
PAPER_FACTOR = 2 / 3


def plane_of_epoch(epoch: int, *, duration: int = PAPER_DURATION, factor: float | str = PAPER_FACTOR) -> str:
    """The plane of an epoch, counted from 0.

    Args:
        epoch: 0 or later; there is no last one.
        duration: epochs per plane in the first cycle.
        factor: the next cycle's duration over this one's, in (0, 1]; a number or a fraction such as "2/3".

    Raises:
        ValueError: a value out of its range.
    """
    if epoch < 0:
        raise ValueError("epochs count from 0")
    for start, length in _cycles(duration, factor):
        if epoch < start + len(CYCLE) * length:
            return CYCLE[(epoch - start) // length]
    raise AssertionError("cycles never end")


def switch_epochs(epochs: int, *, duration: int = PAPER_DURATION, factor: float | str = PAPER_FACTOR) -> list[int]:
    """The epochs below `epochs` in which another plane begins, without epoch 0."""
    switches = []
    for start, length in _cycles(duration, factor):
        if start >= epochs:
            break
        switches += [start + turn * length for turn in range(len(CYCLE))]
    return [epoch for epoch in switches if 0 < epoch < epochs]


def _cycles(duration: int, factor: float | str) -> Iterator[tuple[int, int]]:
    """First epoch and epochs per plane of each cycle, without end."""
    # A recipe's YAML has no fractions, and 0.667 is not 2/3.
    ratio = float(Fraction(factor)) if isinstance(factor, str) else float(factor)
    if duration < 1 or not 0 < ratio <= 1:
        raise ValueError("the duration must be at least 1 epoch and the factor in (0, 1]")
    start = 0
    while True:
        yield start, duration
        start += len(CYCLE) * duration
        # Python's rounding of a float, half to even, as in the authors' code.
        duration = max(1, round(duration * ratio))
