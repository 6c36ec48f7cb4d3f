"""Structural similarity in 3-D (Wang 2004), separable: the value of MONAI's at a fraction of its cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.precision import full_precision
from modality_synthesis.signatures import Count, Positive


def gaussian_window(size: int, sigma: float) -> Tensor:
    """A normalized 1-D Gaussian of `size` taps."""
    distance = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    window = torch.exp(-(distance**2) / (2 * sigma**2))
    return window / window.sum()


# Moments in half precision cancel catastrophically.
@full_precision
def ssim_map(
    first: Tensor, second: Tensor, *, data_range: float, window_size: int = 11, sigma: float = 1.5,
    k1: float = 0.01, k2: float = 0.03,
) -> Tensor:  # fmt: skip
    """SSIM at each position where the window fits.

    The Gaussian window is a product of three 1-D windows, so filtering is one banded matrix product per axis.

    Args:
        first: (batch, channel, depth, height, width).
        second: same shape.
        data_range: largest minus smallest possible value.

    Returns:
        (batch, channel, depth - n + 1, height - n + 1, width - n + 1), n = window_size.
    """
    if min(first.shape[2:]) < window_size:
        raise ValueError(f"SSIM with a {window_size}-voxel window needs volumes of at least that size per axis.")
    window = gaussian_window(window_size, sigma).to(first)
    filtered = _filter(torch.cat([first, second, first * first, second * second, first * second]), window)
    mean1, mean2, square1, square2, product = filtered.chunk(5)
    variance1, variance2 = square1 - mean1**2, square2 - mean2**2
    covariance = product - mean1 * mean2
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
    return luminance * (2 * covariance + c2) / (variance1 + variance2 + c2)


def _filter(volume: Tensor, window: Tensor) -> Tensor:
    for axis in (-1, -2, -3):
        size = volume.shape[axis]
        band = _band(window, size)
        volume = torch.movedim(torch.movedim(volume, axis, -1) @ band, -1, axis)
    return volume


def _band(window: Tensor, size: int) -> Tensor:
    """(size, size - n + 1) matrix whose columns are the shifted window."""
    out = size - window.numel() + 1
    rows = torch.arange(size, device=window.device)[:, None] - torch.arange(out, device=window.device)[None]
    inside = (rows >= 0) & (rows < window.numel())
    return torch.where(inside, window[rows.clamp(0, window.numel() - 1)], torch.zeros((), device=window.device))


class SSIMLoss(nn.Module):
    """1 - SSIM, averaged over the positions inside the mask.

    Args:
        data_range: largest minus smallest value of the target, network values.
        window_size: taps of the Gaussian window.
        sigma: its standard deviation, voxels.
        masked: average over the mask (True) or over the whole volume (False, as MONAI does).
    """

    def __init__(self, data_range: Positive = 1.0, window_size: Count = 11, sigma: Positive = 1.5, masked: bool = True):
        super().__init__()
        self.data_range, self.window_size, self.sigma, self.masked = data_range, window_size, sigma, masked

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        values = ssim_map(
            prediction, target, data_range=self.data_range, window_size=self.window_size, sigma=self.sigma
        )
        if not self.masked:
            return 1 - values.mean()
        border = self.window_size // 2
        weight = functional.pad(mask.to(values), [-border] * 6)
        return 1 - (values * weight).sum() / weight.sum().clamp(min=1)
