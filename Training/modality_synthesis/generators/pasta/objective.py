"""What one pass minimizes: errors weighted in the MetaROIs, and structural similarity of the slices."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.precision import full_precision

_LARGEST_WEIGHT = 100.0


class PathologyWeight(nn.Module):
    """Weight of the absolute error in the MetaROIs, relative to 1 elsewhere; learned or fixed.

    The learned weight w belongs to the likelihood of a Laplace error with scale 1 / w there: w |e| - log w (after
    Kendall and Gal 2017). Its optimum is the inverse of the mean error in the MetaROIs, so that it grows as the
    network gets them right; without the logarithm it would shrink to nothing. The published code has a fixed 10.

    Args:
        weight: initial or fixed.
        learned: whether it is learned.
    """

    def __init__(self, weight: float = 10.0, learned: bool = True) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError("metaroi_weight must be positive")
        value = torch.tensor(math.log(weight))
        self.log_weight: Tensor
        if learned:
            self.log_weight = nn.Parameter(value)
        else:
            self.register_buffer("log_weight", value)

    @property
    def weight(self) -> Tensor:
        """The weight, between 1 and 100."""
        return self.log_weight.clamp(0.0, math.log(_LARGEST_WEIGHT)).exp()

    @full_precision
    def forward(self, clean: Tensor, estimate: Tensor, regions: Tensor | None) -> Tensor:
        """Mean over all voxels of the weighted absolute error.

        Args:
            clean: (batch, slice, height, width).
            estimate: same shape.
            regions: 1 in the MetaROIs, shaped like the images; None weights all voxels alike.
        """
        error = (clean - estimate).abs()
        if regions is None:
            return error.mean()
        weight = self.weight
        loss = (error * (1 + (weight - 1) * regions)).mean()
        if self.log_weight.requires_grad:
            loss = loss - weight.log() * regions.mean()
        return loss


# Moments in half precision cancel catastrophically.
@full_precision
def slice_ssim(a: Tensor, b: Tensor, data_range: float, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Mean SSIM of the slices (Wang 2004), Gaussian window, zero padding; background counts.

    Args:
        a: (batch, slice, height, width).
        b: same shape.
        data_range: of the values; the published code uses 1 although its values run from -1 to 1.
        window: width.
        sigma: of the Gaussian, voxels.
    """
    positions = torch.arange(window, device=a.device, dtype=torch.float32) - window // 2
    line = torch.exp(-0.5 * (positions / sigma) ** 2)
    line = line / line.sum()
    a, b = a.flatten(0, 1)[:, None], b.flatten(0, 1)[:, None]

    def blur(values: Tensor) -> Tensor:
        values = functional.conv2d(values, line[None, None, :, None], padding=(window // 2, 0))
        return functional.conv2d(values, line[None, None, None, :], padding=(0, window // 2))

    mean_a, mean_b, aa, bb, ab = blur(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * (ab - mean_a * mean_b) + c2) / (aa - mean_a**2 + bb - mean_b**2 + c2)
    return (luminance * structure).mean()
