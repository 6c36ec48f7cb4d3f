"""More weight where uptake is high: lesions and high-SUVR regions are small, and a mean over the brain forgets them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.signatures import Fraction, NotNegative


class ForegroundWeightedLoss(nn.Module):
    """Another loss of the registry, with voxels of high uptake counted `1 + gain` times.

    A voxel is foreground where the target *or* the prediction exceeds the threshold: uptake that was missed and uptake
    that was invented weigh the same. The weights enter as the mask, so this works with every loss that averages over
    its mask (mse, l1, ssim, and the perceptual losses except in the paper's form, which ignores the mask).

    Args:
        loss: name of the weighted loss.
        parameters: its parameters.
        gain: extra weight of the foreground; 0 changes nothing.
        quantile: the threshold of each subject, as a quantile of its target inside the mask.
        threshold: the threshold in network values, instead of the quantile.
    """

    def __init__(
        self,
        loss: str = "mse",
        parameters: dict[str, Any] | None = None,
        gain: NotNegative = 4.0,
        quantile: Fraction = 0.9,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        from modality_synthesis.losses.registry import build_loss

        if gain < 0 or not 0 < quantile < 1:
            raise BadInputError("foreground-weighted: gain is at least 0 and quantile between 0 and 1.")
        self.loss = build_loss(loss, parameters)
        if getattr(self.loss, "normalization", None) == "paper":
            raise BadInputError("foreground-weighted: the paper's perceptual form ignores weights; use 'robust'.")
        self.name, self.gain, self.quantile, self.threshold = loss, gain, quantile, threshold

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return self.loss(prediction, target, mask * self.weight(prediction.detach(), target, mask))

    def weight(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """1, and 1 + gain in the foreground; the shape of the target."""
        mask = mask.expand_as(target)
        limits = torch.stack([self._limit(volume, inside > 0) for volume, inside in zip(target, mask, strict=True)])
        high = torch.maximum(prediction, target) > limits.view(-1, *[1] * (target.ndim - 1))
        return 1 + self.gain * high.to(mask.dtype)

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.loss, "set_epoch"):
            self.loss.set_epoch(epoch)

    @property
    def plane(self) -> str | None:
        return getattr(self.loss, "plane", None)

    def describe(self) -> dict[str, Any]:
        """For logs and model cards."""
        return self.loss.describe() if hasattr(self.loss, "describe") else {}

    def _limit(self, target: Tensor, inside: Tensor) -> Tensor:
        if self.threshold is not None or not inside.any():
            return target.new_tensor(float("inf") if self.threshold is None else self.threshold).float()
        values = target[inside].float()
        return values.kthvalue(max(1, int(self.quantile * values.numel()))).values
