"""The contextual loss: how well every feature of the real image is matched somewhere in the synthetic one.

Mechrez 2018 (arXiv 1803.02077), as Li 2022 (QIMS 12(6):3151-3169) train DRUNet with. It compares what is in the images,
not where: it tolerates misregistration, and it sets neither positions nor intensities. Use it beside a pixel loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses.feature_networks import FeatureNetworkName, load_feature_network
from modality_synthesis.signatures import Count, Pair, Positive, WeightsFile

# Of the published form: keeps the relative distance finite where a feature has an exact match.
_DISTANCE_EPSILON = 1e-5
_NORM_EPSILON = 1e-6
# Rows of the similarity matrix computed at a time: bounds memory at 512 x points.
_ROWS = 512


def contextual_loss(synthetic: Tensor, real: Tensor, bandwidth: float = 0.5) -> Tensor:
    """-log CX between two sets of features (Mechrez 2018, equations 2 to 5, with the real features' mean removed).

    The published w = exp((1 - d) / h), normalized over the real features, is a softmax of -d / h; its logarithm is
    computed as such, in single precision at least: the textbook form gives NaN in half precision as soon as two
    features agree.

    Args:
        synthetic: (points, channels).
        real: (points, channels).
        bandwidth: h; smaller means harder matching.

    Returns:
        Scalar in [0, log(real points)]; 0 when every real feature is matched by a synthetic one of its own.
    """
    with torch.autocast(synthetic.device.type, enabled=False):
        synthetic, real = _at_least_single(synthetic), _at_least_single(real)
        mean = real.mean(dim=0)
        synthetic = functional.normalize(synthetic - mean, dim=1, eps=_NORM_EPSILON)
        real = functional.normalize(real - mean, dim=1, eps=_NORM_EPSILON)
        rows = synthetic.split(_ROWS)
        if len(rows) == 1:
            best = _best_matches(synthetic, real, bandwidth)
        else:
            # Each part of the matrix is computed again in the backward pass instead of being kept.
            parts = [checkpoint(_best_matches, part, real, bandwidth, use_reentrant=False) for part in rows]
            best = torch.stack(parts).max(dim=0).values
        return math.log(real.shape[0]) - torch.logsumexp(best, dim=0)


def _best_matches(synthetic: Tensor, real: Tensor, bandwidth: float) -> Tensor:
    """max over synthetic i of log CX_ij, for each real j."""
    # Rounding can carry a cosine beyond 1, and a negative distance divided by a tiny one explodes.
    distance = (1 - synthetic @ real.T).clamp(min=0)
    relative = distance / (distance.min(dim=1, keepdim=True).values + _DISTANCE_EPSILON)
    return functional.log_softmax(-relative / bandwidth, dim=1).max(dim=0).values


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class ContextualLoss(nn.Module):
    """Contextual loss between the feature maps of synthetic and real slices, inside the mask.

    Slices along depth are images. Outside the mask both images are set to the background, and features whose receptive
    stride lies mostly outside take no part: repeated background features would split the softmax, so that a perfect
    image of which a share f is background would not reach 0 but -log(1 - f). A slice without mask does not count.

    Args:
        weights: file of the feature network's weights; default: the shipped VGG-16.
        network: the feature network.
        layers: its layers, each with its weight; default the last of block 5 (the paper's choice in VGG-19), rectified.
        bandwidth: h of the published equation.
        value_range: target values that become 0 and 1 in the feature network's images.
        points: most positions per slice and layer; above it, so many common to both images are drawn at random.
        slices: most slices per call, drawn at random; None takes all.
    """

    def __init__(
        self,
        weights: WeightsFile | None = None,
        network: FeatureNetworkName = "vgg16",
        layers: Mapping[str, float] | None = None,
        bandwidth: Positive = 0.5,
        value_range: Pair = (0.0, 1.0),
        points: Count = 4096,
        slices: Count | None = None,
    ) -> None:
        super().__init__()
        if bandwidth <= 0 or points < 2 or (slices is not None and slices < 1):
            raise ValueError("bandwidth must be positive, points at least 2 and slices at least 1")
        if len(value_range) != 2 or value_range[0] >= value_range[1]:
            raise ValueError("value_range must be a pair [low, high] with low below high")
        chosen = dict(layers) if layers else {"relu5_3": 1.0}
        self.features = load_feature_network(network, layers=list(chosen), weights=weights)
        if self.features.dimensions != 2:
            raise BadInputError(f"The contextual loss compares slices: {network!r} is a network for volumes.")
        self.weights = list(chosen.values())
        self.bandwidth, self.points, self.slices = bandwidth, points, slices
        self.low, self.high = (float(end) for end in value_range)

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Mean over the slices of the layers' weighted sum; tensors (batch, 1, depth, height, width)."""
        synthetic, real = self._images(prediction), self._images(target)
        inside = _slices(mask.to(prediction.dtype).expand(-1, 1, *prediction.shape[2:]))
        chosen = self._choose(inside)
        if chosen.numel() == 0:
            # Still a function of the prediction, so that a backward pass finds a (zero) gradient.
            return 0 * prediction.sum()
        synthetic, real, inside = (images[chosen] for images in (synthetic, real, inside))
        synthetic, real = ((images * inside).expand(-1, 3, -1, -1) for images in (synthetic, real))
        made = self.features(synthetic)
        with torch.no_grad():
            wanted = self.features(real)
        total = 0 * prediction.sum()
        for weight, ours, theirs in zip(self.weights, made, wanted, strict=True):
            values = [self._slice_loss(*maps) for maps in zip(ours, theirs, _share_inside(inside, ours), strict=True)]
            total = total + weight * torch.stack(values).mean()
        return total

    def describe(self) -> dict[str, Any]:
        """For logs and model cards."""
        return {"feature_network": self.features.describe(), "bandwidth": self.bandwidth}

    def _images(self, volume: Tensor) -> Tensor:
        return (_slices(volume) - self.low) / (self.high - self.low)

    def _choose(self, inside: Tensor) -> Tensor:
        """Indices of the slices that count."""
        filled = torch.nonzero(inside.flatten(1).any(dim=1))[:, 0]
        if self.slices is None or filled.numel() <= self.slices:
            return filled
        picked = torch.randperm(filled.numel())[: self.slices]
        return filled[picked.to(filled.device)]

    def _slice_loss(self, synthetic: Tensor, real: Tensor, share: Tensor) -> Tensor:
        """Of two (channels, h, w) maps at common positions; `share` (1, h, w): how much of each lies inside."""
        # A mask smaller than the feature map's stride still leaves the positions that see most of it.
        positions = torch.nonzero(share.flatten() >= min(0.5, float(share.max())))[:, 0]
        if positions.numel() > self.points:
            picked = torch.randperm(positions.numel())[: self.points]
            positions = positions[picked.to(positions.device)]
        return contextual_loss(synthetic.flatten(1)[:, positions].T, real.flatten(1)[:, positions].T, self.bandwidth)


def _slices(volume: Tensor) -> Tensor:
    """(batch, 1, depth, height, width) -> (batch * depth, 1, height, width)."""
    return volume.transpose(1, 2).flatten(0, 1)


def _share_inside(inside: Tensor, features: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(inside.float(), features.shape[-2:])
