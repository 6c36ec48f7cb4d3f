"""Slabs of consecutive axial slices: where they lie in a volume and how they are put together again."""

from __future__ import annotations

import torch
from torch import Tensor

# Coprime to every usual slab thickness, and near its half: consecutive grids share no seam.
_SHIFT = 7


def centered_starts(depth: int, slices: int) -> list[int]:
    """First slices of the slabs centered on every slice; they reach half a slab beyond the volume."""
    return [center - slices // 2 for center in range(depth)]


def disjoint_starts(depth: int, slices: int, step: int) -> list[int]:
    """First slices of slabs that cover a volume once; the grid moves from step to step.

    The outermost slabs are moved inside the volume, where they overlap their neighbors, rather than padded.
    """
    if depth <= slices:
        return [0]
    shift = (step * _SHIFT) % slices
    return sorted({min(max(start, 0), depth - slices) for start in range(shift - slices, depth, slices)})


def overlapping_starts(depth: int, slices: int, stride: int) -> list[int]:
    """First slices of slabs `stride` apart, all inside the volume.

    Half a thickness apart, triangular weights are a partition of unity; closer, every slice is seen in more contexts.
    """
    if depth <= slices:
        return [0]
    return sorted({*range(0, depth - slices, stride), depth - slices})


def triangular_weights(slices: int) -> Tensor:
    """Weight of a slab's slices in the average, 1 in its middle and 0 at its ends, (slice,)."""
    half = slices // 2
    if half == 0:
        return torch.ones(1)
    return 1 - (torch.arange(slices) - half).abs() / half


def cut(volume: Tensor, starts: list[int], slices: int, background: float) -> Tensor:
    """Slabs of a volume.

    Args:
        volume: (slice, height, width).
        starts: first slices; may lie outside.
        slices: per slab.
        background: value beyond the volume.

    Returns:
        (slab, slice, height, width).
    """
    depth = len(volume)
    before, after = max(-min(starts), 0), max(max(starts) + slices - depth, 0)
    if before or after:
        volume = torch.nn.functional.pad(volume, (0, 0, 0, 0, before, after), value=background)
    return torch.stack([volume[start + before : start + before + slices] for start in starts])


class SlabSum:
    """Weighted average of slabs over a volume, a few slabs at a time.

    Args:
        like: a volume (slice, height, width) of the wanted size.
        weights: of a slab's slices.
    """

    def __init__(self, like: Tensor, weights: Tensor) -> None:
        self._sum = torch.zeros_like(like, dtype=torch.float32)
        self._weights = weights.to(like.device)
        self._total = torch.zeros(len(like), device=like.device)

    def add(self, starts: list[int], slabs: Tensor) -> None:
        """Add slabs (slab, slice, height, width); what lies beyond the volume is dropped."""
        depth = len(self._sum)
        for start, slab in zip(starts, slabs, strict=True):
            first, last = max(start, 0), min(start + len(slab), depth)
            inside = slice(first - start, last - start)
            self._sum[first:last] += self._weights[inside, None, None] * slab[inside]
            self._total[first:last] += self._weights[inside]

    def average(self) -> Tensor:
        """The volume (slice, height, width)."""
        return self._sum / self._total[:, None, None]
