"""Networks that halve their grid several times need sizes that divide; volumes have any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional


def divisible_size(size: Sequence[int], divisor: int) -> list[int]:
    """The smallest size a network with `divisor` voxels per deepest voxel takes, per axis at least `size`.

    The deepest level keeps two voxels at least: instance normalization of a single one would erase it.
    """
    fitting = [-(-length // divisor) * divisor for length in size]
    if max(fitting) == divisor:
        fitting[fitting.index(divisor)] *= 2
    return fitting


def run_padded(network: Callable[[Tensor], Tensor], source: Tensor, size: Sequence[int]) -> Tensor:
    """Run a network on a volume grown to `size` by repeating its border, and crop the output back.

    Args:
        network: keeps the spatial size of what it is given.
        source: (batch, channel, depth, height, width), no axis longer than in `size`.
        size: depth, height, width that the network takes.

    Returns:
        (batch, channel, depth, height, width) of the source.
    """
    given = source.shape[2:]
    before = [(wanted - length) // 2 for wanted, length in zip(size, given, strict=True)]
    after = [wanted - length - first for wanted, length, first in zip(size, given, before, strict=True)]
    if any(before) or any(after):
        # torch names the padding of the last axis first.
        padding = [amount for pair in reversed(list(zip(before, after, strict=True))) for amount in pair]
        source = functional.pad(source, padding, mode="replicate")
    output = network(source)
    z, y, x = before
    depth, height, width = given
    return output[:, :, z : z + depth, y : y + height, x : x + width]
