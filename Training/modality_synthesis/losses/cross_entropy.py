"""Binary cross-entropy of a target in [0, 1], as Li 2022 train DRUNet with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class BCELoss(nn.Module):
    """Binary cross-entropy with logits, averaged over the masked voxels.

    The target's intensities are taken as probabilities (values outside [0, 1] count as the nearest end), and the
    prediction as their logits: the generator needs `activation: logits`, whose synthesis is the logits' sigmoid.
    """

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        values = functional.binary_cross_entropy_with_logits(prediction, target.clamp(0, 1), reduction="none")
        weight = mask.to(values).expand_as(values)
        return (values * weight).sum() / weight.sum().clamp(min=1)
