"""Voxelwise losses inside the mask."""

from __future__ import annotations

from torch import Tensor, nn


class MSELoss(nn.Module):
    """Mean squared error over the masked voxels."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return _masked_mean((prediction - target) ** 2, mask)


class L1Loss(nn.Module):
    """Mean absolute error over the masked voxels."""

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return _masked_mean((prediction - target).abs(), mask)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)
