"""What a CT holds where it was not measured: around a round field of view, beyond a cut, in a resampled corner.

Scanners, converters and programs write a number there that no tissue has: -2000, -3024, -32768, or just -1024, which
air has as well where a scanner clips it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# The lowest value of 12 bits, at which scanners clip air. Below lies nothing that was measured.
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0
# Noise in air does not reach down to here.
MIXED_BELOW_HU = -1150.0
# Up to here a voxel is air, noise and the foam of head rests left out.
_AIR_AT_MOST_HU = -960.0
# Of all air: where so much lies above a value, air was not clipped there. Foam makes up a twentieth at most.
_OTHER_AIR = 0.1
# Of a head CT at least this much is air, and at least this much soft tissue.
_LEAST_SHARE = 0.01
# Of the volume; a smaller zone is found as the lowest value, or is no zone.
_FILLED_SHARE = 0.01


def is_hounsfield(values: np.ndarray) -> bool:
    """Whether a volume holds a CT's numbers: air near -1000, soft tissue near 0, bone above.

    Args:
        values: (z, y, x); NaN does not count.
    """
    some = values[tuple(slice(None, None, 2 if size > 8 else 1) for size in values.shape)]
    air = ((some >= -1100) & (some <= -900)).mean()
    tissue = ((some >= -100) & (some <= 100)).mean()
    return bool(min(air, tissue) >= _LEAST_SHARE and (some > 300).any())


class Padding:
    """Which values of a CT stand for nothing.

    Below -1024 every value that fills a zone does. Between there and air it does where the volume's air lies above it;
    where all air has this one value, it is air.
    """

    def __init__(self, values: np.ndarray) -> None:
        """Args:
        values: HU (z, y, x); NaN does not count.
        """
        self._air = np.sort(values[values <= _AIR_AT_MOST_HU], axis=None)

    def holds(self, value: float) -> bool:
        """Whether a zone of this value was not measured, for all its values tell."""
        return value < LOWEST_HU or (value <= _AIR_AT_MOST_HU and self._share_above(value) >= _OTHER_AIR)

    def is_air(self, value: float) -> bool:
        """Whether this value is what a scanner's air is clipped to."""
        return LOWEST_HU <= value <= _AIR_AT_MOST_HU and not self.holds(value)

    def values(self, total: int) -> Iterator[float]:
        """The values that fill a part of the volume and stand for nothing.

        Args:
            total: how many voxels the volume has.
        """
        found, counts = np.unique(self._air[:: max(self._air.size // 100_000, 1)], return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            if count / max(counts.sum(), 1) * self._air.size >= _FILLED_SHARE * total and self.holds(value):
                yield value

    def _share_above(self, value: float) -> float:
        return 1.0 - np.searchsorted(self._air, value, side="right") / max(self._air.size, 1)
