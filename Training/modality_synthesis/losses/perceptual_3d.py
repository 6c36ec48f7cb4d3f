"""A perceptual loss in true 3-D: features of whole volumes instead of slices.

MedicalNet (Chen 2019) from a file, as MONAI's `PerceptualLoss` uses it, or by default this project's own brain
segmentation network, which is shipped. The latter was trained to ignore contrast and to find anatomy at 2.5 mm, so it
answers to shape, edges and gross intensity patterns, little to fine texture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses.feature_networks import FeatureNetworkName
from modality_synthesis.losses.intensity import Scale, scale_of
from modality_synthesis.losses.perceptual import (
    PRECISIONS,
    Precision,
    check_choice,
    load_weighted,
    mean_square_response,
    weighted_difference,
)
from modality_synthesis.losses.streaming import Part, streamed_sum
from modality_synthesis.losses.target_features import TargetFeatures, digest
from modality_synthesis.signatures import NotNegative, WeightsFile

# The coarsest features of the 3-D networks are at 1/16.
_DIVISOR = 16


class Perceptual3DLoss(nn.Module):
    """Mean squared difference between features of volumes, one subject at a time.

    As in the `robust` form of the losses on slices, prediction and target are put on the target's scale inside the
    mask (for MedicalNet: the target's mean 0 and deviation 1), differences are averaged with the mask's share as weight
    and divided by the network's mean square response to noise.

    Args:
        network: brain-mask, medicalnet-resnet10 or medicalnet-resnet50.
        layers: the network's layers; a list weighs them equally, a mapping gives each its weight; None takes its own.
        weights: file of the network's weights; None takes the shipped one.
        precision: of the network: float32 or bfloat16.
        cache_gigabytes: room for the features of targets seen before; exact, useful only without augmentation.
    """

    def __init__(
        self,
        network: FeatureNetworkName = "brain-mask",
        layers: Sequence[str] | Mapping[str, float] | None = None,
        weights: WeightsFile | None = None,
        precision: Precision = "float32",
        cache_gigabytes: NotNegative = 0.0,
    ) -> None:
        super().__init__()
        check_choice("precision", precision, tuple(PRECISIONS))
        if cache_gigabytes < 0:
            raise BadInputError("cache_gigabytes is at least 0.")
        self.features, self.layer_weights = load_weighted(network, layers, weights, dimensions=3)
        self.precision, self.kept = precision, TargetFeatures(cache_gigabytes)
        self.units = mean_square_response(self.features)

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        if prediction.shape != target.shape or prediction.shape[1] != 1:
            raise ValueError("perceptual losses need prediction and target of one shape (batch, 1, z, y, x)")
        with torch.autocast(prediction.device.type, enabled=False):
            target, mask = target.detach().float(), mask.detach().float().expand_as(target)
            return streamed_sum(prediction.float(), self._parts(target, mask))

    def describe(self) -> dict[str, Any]:
        """For logs and model cards."""
        return {"feature_network": self.features.describe()}

    def _parts(self, target: Tensor, mask: Tensor) -> Iterator[Part]:
        for subject in range(len(target)):
            volume, weight = target[subject, 0], mask[subject, 0]
            inside = weight > 0
            if not inside.any():
                continue
            scale = self._scale(volume, inside)
            features = partial(self._features, inside=inside, scale=scale)
            key = digest(volume, inside) if self.kept.room else b""
            wanted = self.kept.get(key, partial(features, volume))
            weight = _padded(weight)
            share = float(1 / (len(target) * weight.mean()))
            yield (subject, 0), partial(self._part, features=features, wanted=wanted, weight=weight[None], share=share)

    def _part(
        self,
        piece: Tensor,
        *,
        features: Callable[[Tensor], list[Tensor]],
        wanted: list[Tensor],
        weight: Tensor,
        share: float,
    ) -> Tensor:
        return share * weighted_difference(features(piece), wanted, self.layer_weights, self.units, weight)

    def _scale(self, volume: Tensor, inside: Tensor) -> Scale:
        if not self.features.standardized:
            return scale_of(volume, inside)
        deviation, mean = torch.std_mean(volume[inside], correction=0)
        return Scale(mean, mean + torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def _features(self, volume: Tensor, inside: Tensor, scale: Scale) -> list[Tensor]:
        half = PRECISIONS[self.precision]
        with torch.autocast(volume.device.type, dtype=half, enabled=half is not None):
            features = self.features(_padded(scale.apply(volume, inside))[None, None])
        return [values.float() for values in features]


def _padded(volume: Tensor) -> Tensor:
    """With zeros up to sizes that halve evenly, so that places of features and of weights correspond."""
    excess = [-size % _DIVISOR for size in reversed(volume.shape)]
    return functional.pad(volume, [side for end in excess for side in (0, end)])
