"""A buffer of earlier synthetic volumes, for discriminators (Shrivastava 2017, section 2.3; Zhu 2017, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Shows a discriminator old synthetic volumes among new ones, which damps the two networks' oscillation.

    Until the pool is full every volume is kept and returned. From then on, with probability 1/2, a volume takes the
    place of a random one, which is returned in its stead. The draws come from torch's CPU generator. The volumes are
    part of the state, so that a resumed run sees what an uninterrupted one would have seen.

    Args:
        size: volumes kept; 0 returns each volume unchanged.
    """

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        if size < 0:
            raise ValueError("a pool's size cannot be negative")
        self.size = size
        self.volumes: list[Tensor] = []

    @torch.no_grad()
    def forward(self, volumes: Tensor) -> Tensor:
        """(batch, ...) -> the same shape, each volume new or from the pool; without gradient."""
        return torch.stack([self._exchange(volume) for volume in volumes.detach()])

    def _exchange(self, volume: Tensor) -> Tensor:
        if self.size == 0:
            return volume
        if len(self.volumes) < self.size:
            self.volumes.append(volume.clone())
            return volume
        if torch.rand(()).item() < 0.5:
            return volume
        index = int(torch.randint(self.size, ()).item())
        old, self.volumes[index] = self.volumes[index], volume.clone()
        return old.to(volume)

    def get_extra_state(self) -> dict[str, Any]:
        return {"volumes": list(self.volumes)}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.volumes = list(state["volumes"])
