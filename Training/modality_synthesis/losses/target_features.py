"""Features of targets, kept so that a target seen again is not run through the feature network again.

The key is a digest of the target's values, so a hit is exact by construction: an augmented target never matches. That
also means that nothing is gained where augmentation changes the target in every epoch; leave the store empty there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable

import torch
from torch import Tensor


def digest(*tensors: Tensor) -> bytes:
    """A digest of values and shapes (BLAKE2b, 128 bits)."""
    state = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        state.update(str(tuple(tensor.shape)).encode())
        state.update(tensor.detach().float().contiguous().cpu().numpy().tobytes())
    return state.digest()


class TargetFeatures:
    """Keeps what was computed until the room is used up, then keeps what it has.

    Going through more subjects than fit, replacing the oldest would throw every entry away just before it is needed.

    Args:
        gigabytes: room for features, on the device that computed them; 0 keeps nothing.
    """

    def __init__(self, gigabytes: float) -> None:
        self.room = int(gigabytes * 2**30)
        self._kept: dict[Hashable, list[Tensor]] = {}
        self._used = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """The features under `key`, computed without gradients if they are not kept."""
        if key in self._kept:
            return self._kept[key]
        with torch.no_grad():
            features = compute()
        size = sum(tensor.numel() * tensor.element_size() for tensor in features)
        if self._used + size <= self.room:
            self._kept[key] = features
            self._used += size
        return features

    def clear(self) -> None:
        self._kept.clear()
        self._used = 0
