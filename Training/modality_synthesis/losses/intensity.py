"""The target's own scale, on which a feature network sees both the target and the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_QUANTILES = (0.005, 0.995)
# Enough for a quantile, and below the number of values that torch.quantile accepts.
_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Scale:
    """An affine map: `low` becomes 0 and `high` becomes 1."""

    low: Tensor
    high: Tensor

    def apply(self, values: Tensor, inside: Tensor) -> Tensor:
        """Scaled values; 0 outside. Not clipped, so that every voxel inside keeps its gradient."""
        return torch.where(inside, (values - self.low) / (self.high - self.low), torch.zeros_like(values))


def scale_of(target: Tensor, inside: Tensor, value_range: Sequence[float] | None = None) -> Scale:
    """The scale of one target volume: its 0.5 % and 99.5 % quantiles inside the mask, or a fixed range.

    A target without any contrast is only shifted, so the gain never exceeds 1 over a real range of values.
    """
    if value_range is not None:
        low, high = (target.new_tensor(float(end)) for end in value_range)
        return Scale(low, high)
    values = target[inside]
    values = values[:: max(values.numel() // _SAMPLES, 1)]
    low, high = torch.quantile(values, values.new_tensor(_QUANTILES)).unbind()
    return Scale(low, torch.where(high > low, high, low + 1))
