"""Perceptual losses on slices: 2-D (one plane), plain 2.5-D (three planes) and cyclic 2.5-D (the plane changes).

The mean squared difference between the features of each slice of the prediction and of the target (Johnson 2016), and
the schedule of planes of "Cyclic 2.5D Perceptual Loss for Cross-Modal 3D Medical Image Synthesis" (arXiv 2406.12632).

Two forms, chosen by `normalization`:

`paper`, the authors' form, number for number: each slice is stretched to [0, 1] by its own minimum and maximum (over
all subjects of the batch), prediction and target each by their own; gray is repeated to three channels without the
network's mean; every slice counts, the mask does not. Its gradient grows as 1 / (range of the slice), so slices with
almost nothing in them dominate it; it cannot see a wrong SUVR scale; a subject's value depends on the others in its
batch. Its weight 0.5 belongs to torchvision's VGG-16; the features of the shipped one are larger, and the same weight
is far stronger with it.

`robust`, the default: prediction and target are put on the *target volume's* scale, inside the mask, cut to the mask's
bounding box and centered as the network wants it; feature differences are averaged with the mask's share of each
feature's place as weight, and divided by the network's mean square response to a fixed noise image. So the gain is
bounded, empty slices weigh nothing and cost nothing, a wrong scale is seen, subjects do not mix, and a weight means
much the same whatever the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses.feature_networks import FeatureNetwork, FeatureNetworkName, load_feature_network
from modality_synthesis.losses.intensity import Scale, scale_of
from modality_synthesis.losses.plane_schedule import (
    AXES,
    CYCLE,
    PAPER_DURATION,
    PAPER_FACTOR,
    Plane,
    plane_of_epoch,
    switch_epochs,
)
from modality_synthesis.losses.streaming import Part, streamed_sum
from modality_synthesis.losses.target_features import TargetFeatures, digest
from modality_synthesis.signatures import Count, NotNegative, Pair, WeightsFile

Form = Literal["robust", "paper"]
Precision = Literal["float32", "bfloat16"]
PRECISIONS: dict[Precision, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
# Three halvings and a 3 x 3 convolution still see something; a multiple of the features' stride.
_SMALLEST = 16
_PAPER_EPSILON = 1e-8


class SlicePerceptualLoss(nn.Module):
    """What the perceptual losses on slices share; a subclass says which planes are looked at.

    Called with prediction, target and mask (batch, 1, z, y, x); the mask may hold weights. Value and gradient are
    computed a few slices at a time, so memory does not grow with their number.

    Args:
        network: name of the feature network (`load_feature_network`).
        layers: the network's layers; a list weighs them equally, a mapping gives each its weight.
        weights: file of the network's weights; None takes the shipped one.
        normalization: `robust` or `paper`, see the module's text.
        value_range: `robust` only: target values that become 0 and 1; None takes each target's own.
        slice_stride: every n-th slice, from a random first one in training; 1 takes all, as the paper does. Unbiased,
            n times cheaper, noisier.
        chunk: slices run through the network at once; None takes 4 on the CPU and 32 on a GPU.
        precision: of the network: float32, or bfloat16 (autocast; a gradient off by some percent, much faster on a
            GPU). What surrounds it is float32.
        cache_gigabytes: room for the features of targets seen before; exact, useful only without augmentation.
    """

    def __init__(
        self,
        *,
        network: FeatureNetworkName = "vgg16",
        layers: Sequence[str] | Mapping[str, float] | None = None,
        weights: WeightsFile | None = None,
        normalization: Form = "robust",
        value_range: Pair | None = None,
        slice_stride: Count = 1,
        chunk: Count | None = None,
        precision: Precision = "float32",
        cache_gigabytes: NotNegative = 0.0,
    ) -> None:
        super().__init__()
        check_choice("normalization", normalization, get_args(Form))
        check_choice("precision", precision, tuple(PRECISIONS))
        if slice_stride < 1 or (chunk is not None and chunk < 1) or cache_gigabytes < 0:
            raise BadInputError("slice_stride and chunk are at least 1, cache_gigabytes at least 0.")
        if value_range is not None and (len(value_range) != 2 or value_range[0] >= value_range[1]):
            raise BadInputError("value_range is a pair [low, high] with low below high.")
        self.features, self.layer_weights = load_weighted(network, layers, weights, dimensions=2)
        self.normalization, self.value_range = normalization, value_range
        self.slice_stride, self.chunk, self.precision = slice_stride, chunk, precision
        self.kept = TargetFeatures(cache_gigabytes)
        self.units = [1.0] * len(self.layer_weights)
        if normalization == "robust":
            self.units = mean_square_response(self.features)

    def planes(self) -> tuple[str, ...]:
        """The planes looked at now; their losses are averaged."""
        raise NotImplementedError

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        if prediction.shape != target.shape or prediction.shape[1] != 1:
            raise ValueError("perceptual losses need prediction and target of one shape (batch, 1, z, y, x)")
        planes = self.planes()
        with torch.autocast(prediction.device.type, enabled=False):
            target, mask = target.detach().float(), mask.detach().float().expand_as(target)
            values = [self._plane_loss(prediction.float(), target, mask, plane) for plane in planes]
        return torch.stack(values).mean()

    def describe(self) -> dict[str, Any]:
        """For logs and model cards."""
        return {
            "feature_network": self.features.describe(),
            "normalization": self.normalization,
            "planes": list(self.planes()),
        }

    def _plane_loss(self, prediction: Tensor, target: Tensor, mask: Tensor, plane: str) -> Tensor:
        prediction, target, mask = (_slices(volume, plane) for volume in (prediction, target, mask))
        if min(target.shape[2:]) < _SMALLEST:
            raise ValueError(f"perceptual losses need slices of at least {_SMALLEST} x {_SMALLEST} voxels")
        training = prediction.requires_grad and torch.is_grad_enabled()
        first = int(torch.randint(self.slice_stride, ())) if training and self.slice_stride > 1 else 0
        chosen = torch.arange(first, target.shape[1], self.slice_stride, device=target.device)
        if self.normalization == "paper":
            return streamed_sum(prediction, self._paper_parts(target, chosen))
        return streamed_sum(prediction, self._robust_parts(target, mask, chosen))

    def _paper_parts(self, target: Tensor, chosen: Tensor) -> Iterator[Part]:
        """Chunks of slices of the whole batch."""
        key = digest(target) if self.kept.room else b""
        for slices in chosen.split(self._chunk(target)):
            features = self._paper_features
            wanted = self.kept.get((key, tuple(slices.tolist())), partial(features, target[:, slices]))
            share = len(slices) / len(chosen)
            yield (slice(None), slices), partial(self._part, features=features, wanted=wanted, weight=None, share=share)

    def _robust_parts(self, target: Tensor, mask: Tensor, chosen: Tensor) -> Iterator[Part]:
        """Chunks of slices of one subject at a time."""
        for subject in range(len(target)):
            rows, columns = _bounding_box(mask[subject] > 0)
            volume, weight = target[subject, :, rows, columns], mask[subject, :, rows, columns]
            inside, area = weight > 0, weight.mean(dim=(1, 2))
            filled = chosen[area[chosen] > 0]
            if len(filled) == 0:
                continue
            scale = scale_of(volume, inside, self.value_range)
            key = digest(volume, inside) if self.kept.room else b""
            for slices in filled.split(self._chunk(target)):
                features = partial(self._robust_features, inside=inside[slices], scale=scale)
                wanted = self.kept.get((key, tuple(slices.tolist())), partial(features, volume[slices]))
                share = float(len(slices) / (len(target) * area[filled].sum()))
                yield (
                    (subject, slices, rows, columns),
                    partial(self._part, features=features, wanted=wanted, weight=weight[slices], share=share),
                )

    def _part(
        self,
        piece: Tensor,
        *,
        features: Callable[[Tensor], list[Tensor]],
        wanted: list[Tensor],
        weight: Tensor | None,
        share: float,
    ) -> Tensor:
        """A chunk's share of the loss."""
        return share * weighted_difference(features(piece), wanted, self.layer_weights, self.units, weight)

    def _chunk(self, values: Tensor) -> int:
        return self.chunk or (4 if values.device.type == "cpu" else 32)

    def _paper_features(self, slices: Tensor) -> list[Tensor]:
        """(batch, slices, h, w) -> features of batch x slices images."""
        low, high = (extreme(slices, dim=(0, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
        return self._run(((slices - low) / (high - low + _PAPER_EPSILON)).flatten(0, 1), centered=False)

    def _robust_features(self, slices: Tensor, inside: Tensor, scale: Scale) -> list[Tensor]:
        return self._run(scale.apply(slices, inside), centered=True)

    def _run(self, images: Tensor, centered: bool) -> list[Tensor]:
        half = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, dtype=half, enabled=half is not None):
            features = self.features(images[:, None].expand(-1, 3, -1, -1), centered=centered)
        return [values.float() for values in features]


class Perceptual2DLoss(SlicePerceptualLoss):
    """One plane in all epochs.

    Args:
        plane: axial, coronal or sagittal.
        options: see `SlicePerceptualLoss`.
    """

    def __init__(self, plane: Plane = "axial", **options: Any) -> None:
        check_choice("plane", plane, CYCLE)
        super().__init__(**options)
        self.plane = plane

    def planes(self) -> tuple[str, ...]:
        return (self.plane,)


class Perceptual25DLoss(SlicePerceptualLoss):
    """The three planes at once, averaged: over a cycle, the cyclic loss has the same mean at a third of the cost.

    Args:
        options: see `SlicePerceptualLoss`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def planes(self) -> tuple[str, ...]:
        return CYCLE


class PerceptualCyclic25DLoss(SlicePerceptualLoss):
    """One plane per epoch, by the paper's schedule (`plane_schedule`); call `set_epoch` before each epoch.

    Args:
        duration: epochs per plane in the first cycle (the paper's T).
        factor: the next cycle's duration over this one's (the paper's cycle factor), a number or "2/3".
        options: see `SlicePerceptualLoss`.
    """

    def __init__(self, duration: Count = PAPER_DURATION, factor: float | str = PAPER_FACTOR, **options: Any) -> None:
        try:
            self.plane = plane_of_epoch(0, duration=duration, factor=factor)
        except (ValueError, ZeroDivisionError) as error:
            raise BadInputError(f"perceptual-cyclic-2.5d: {error}.") from None
        super().__init__(**options)
        self.duration, self.factor = duration, factor

    def set_epoch(self, epoch: int) -> None:
        """Choose the plane of an epoch, counted from 0."""
        plane = plane_of_epoch(epoch, duration=self.duration, factor=self.factor)
        if plane != self.plane:
            # The features of another plane's slices are not needed for a long time.
            self.kept.clear()
        self.plane = plane

    def planes(self) -> tuple[str, ...]:
        return (self.plane,)

    def describe(self) -> dict[str, Any]:
        schedule = {
            "order": list(CYCLE),
            "duration": self.duration,
            "factor": self.factor,
            "first_switches": switch_epochs(10 * self.duration, duration=self.duration, factor=self.factor)[:9],
        }
        return {**super().describe(), "planes": list(CYCLE), "schedule": schedule}


def load_weighted(
    network: str, layers: Sequence[str] | Mapping[str, float] | None, weights: str | None, dimensions: int
) -> tuple[FeatureNetwork, list[float]]:
    """A feature network and the weight of each of its layers, which sum to 1 unless a mapping gives them.

    Raises:
        BadInputError: as `load_feature_network`; a network of the other number of dimensions.
    """
    names = None if layers is None else list(layers)
    loaded = load_feature_network(network, layers=names, weights=weights)
    if loaded.dimensions != dimensions:
        kind = "perceptual-3d" if loaded.dimensions == 3 else "the perceptual losses on slices"
        raise BadInputError(f"The feature network {network!r} is for {loaded.dimensions}-D images: use it in {kind}.")
    if isinstance(layers, Mapping):
        return loaded, [float(layers[name]) for name in loaded.layers]
    return loaded, [1 / len(loaded.layers)] * len(loaded.layers)


@torch.no_grad()
def mean_square_response(network: FeatureNetwork) -> list[float]:
    """Mean square of each layer's features for a fixed image of 1/f noise in [0, 1]: the unit of its differences."""
    size = 128 if network.dimensions == 2 else 48
    shape = (size,) * network.dimensions
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grids = torch.meshgrid(*(torch.fft.fftfreq(size, dtype=torch.float64) for _ in shape), indexing="ij")
    frequency = sum(grid**2 for grid in grids) ** 0.5
    # Natural images have amplitudes that fall with the frequency (Field 1987).
    image = torch.fft.ifftn(torch.fft.fftn(noise) / frequency.clamp(min=1 / size)).real
    image = ((image - image.min()) / (image.max() - image.min())).float()[None, None]
    if network.standardized:
        image = (image - image.mean()) / image.std()
    if network.dimensions == 2:
        image = image.expand(-1, 3, -1, -1)
    return [float((features.float() ** 2).mean()) for features in network(image)]


def weighted_difference(
    ours: list[Tensor], theirs: list[Tensor], layer_weights: Sequence[float], units: Sequence[float],
    weight: Tensor | None,
) -> Tensor:  # fmt: skip
    """Mean squared difference of feature maps, summed over the layers.

    Args:
        ours: (n, channels, ...) per layer.
        theirs: the same.
        layer_weights: one per layer.
        units: one per layer, dividing its difference.
        weight: (n, ...) at the images' resolution; None weighs all places equally.

    Returns:
        Scalar: mean over images, channels and places of weight x difference.
    """
    total = ours[0].new_zeros(())
    for first, second, layer_weight, unit in zip(ours, theirs, layer_weights, units, strict=True):
        difference = ((first - second) ** 2).mean(dim=1)
        if weight is not None:
            pool = functional.adaptive_avg_pool2d if weight.ndim == 3 else functional.adaptive_avg_pool3d
            difference = difference * pool(weight[:, None], first.shape[2:])[:, 0]
        total = total + layer_weight / unit * difference.mean()
    return total


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raise BadInputError unless `value` is one of `known`."""
    if value not in known:
        raise BadInputError(f"{name} {value!r} is not known. Known: {', '.join(known)}.")


def _slices(volume: Tensor, plane: str) -> Tensor:
    """(batch, 1, z, y, x) -> (batch, slices, height, width)."""
    return volume.movedim(AXES[plane], 1).squeeze(2)


def _bounding_box(inside: Tensor) -> tuple[slice, slice]:
    """The rows and columns that hold the mask of any slice, made up to multiples of 16 as far as the slice goes."""
    extents = []
    for other, size in ((1, inside.shape[1]), (0, inside.shape[2])):
        filled = torch.nonzero(inside.any(dim=0).any(dim=other))[:, 0]
        first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, 0)
        length = min(size, -(-(last - first + 1) // _SMALLEST) * _SMALLEST)
        start = min(max((first + last + 1 - length) // 2, 0), size - length)
        extents.append(slice(start, start + length))
    return extents[0], extents[1]
