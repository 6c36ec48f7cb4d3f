"""Mean and standard deviation of volumes that are seen one after another."""

from __future__ import annotations

import numpy as np


class RunningMoments:
    """Welford's algorithm: three volumes of memory, however many samples come."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = np.zeros(0, dtype=np.float32)
        self._squares = np.zeros(0, dtype=np.float32)

    def add(self, sample: np.ndarray) -> None:
        """Take in one sample; all have the same shape."""
        values = sample.astype(np.float32)
        if self.count == 0:
            self._mean, self._squares = np.zeros_like(values), np.zeros_like(values)
        self.count += 1
        values -= self._mean
        self._mean += values / self.count
        values *= values
        self._squares += values * ((self.count - 1) / self.count)

    @property
    def mean(self) -> np.ndarray:
        """float32."""
        return self._mean

    @property
    def standard_deviation(self) -> np.ndarray:
        """Of the samples (divisor: their number less one), float32; needs two samples."""
        if self.count < 2:
            raise ValueError("a standard deviation needs two samples")
        return np.sqrt(self._squares / (self.count - 1))
