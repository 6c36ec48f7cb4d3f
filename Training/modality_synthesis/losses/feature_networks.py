"""Frozen networks whose features the perceptual and contextual losses compare. Nothing is downloaded.

Shipped: VGG-16 with the ImageNet weights of Oxford's Visual Geometry Group, and this project's own 3-D brain network.
Every other network is read from a file that the user fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modality_synthesis.errors import BadInputError
from modality_synthesis.foreign_weights import load_foreign_weights
from modality_synthesis.losses.feature_architectures import ARCHITECTURES, Architecture, vgg_layers
from modality_synthesis.networks import SHIPPED, network_sha256, shipped_weights

State = dict[str, Tensor]


@dataclass(frozen=True)
class Convention:
    """How images in [0, 1] become what a network was trained on: (values * scale - mean) / deviation per channel.

    `standardized` networks want images whose foreground has mean 0 and deviation 1 instead.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    reversed_channels: bool = False
    standardized: bool = False

    def apply(self, images: Tensor, centered: bool) -> Tensor:
        if self.reversed_channels:
            images = images.flip(1)
        if not centered:
            return images * self.scale if self.scale != 1 else images
        shape = (1, -1, *[1] * (images.ndim - 2))
        mean, deviation = (images.new_tensor(values).view(shape) for values in (self.mean, self.deviation))
        return (images * self.scale - mean) / deviation


_CAFFE = Convention(scale=255.0, mean=(103.939, 116.779, 123.68), reversed_channels=True)
_TORCHVISION = Convention(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
_RADIMAGENET = Convention(mean=(0.406, 0.456, 0.485), reversed_channels=True)
_UNIT = Convention()
_STANDARDIZED = Convention(standardized=True)


@dataclass(frozen=True)
class Published:
    """Where a network's weights come from.

    Attributes:
        source: file and address.
        licence: of the weights.
        convention: of the network's input.
        default_layers: taken when none is named.
        dimensions: 2 or 3, of its images.
    """

    source: str
    licence: str
    convention: Convention
    default_layers: tuple[str, ...]
    dimensions: int = 2


_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for research"

FeatureNetworkName = Literal[
    "vgg16", "vgg19", "resnet50", "squeezenet1_1", "radimagenet-resnet50", "medicalnet-resnet10", "medicalnet-resnet50",
    "brain-mask",
]  # fmt: skip
PUBLISHED: dict[str, Published] = {
    "vgg16": Published(
        "vgg16-397923af.pth from https://download.pytorch.org/models/", _TORCHVISION_LICENCE, _TORCHVISION, ("relu4_3",)
    ),
    "vgg19": Published(
        "vgg19-dcbb9e9d.pth from https://download.pytorch.org/models/", _TORCHVISION_LICENCE, _TORCHVISION, ("relu4_4",)
    ),
    "resnet50": Published(
        "resnet50-11ad3fa6.pth from https://download.pytorch.org/models/",
        _TORCHVISION_LICENCE,
        _TORCHVISION,
        ("layer4",),
    ),
    "squeezenet1_1": Published(
        "squeezenet1_1-b8a52dc0.pth from https://download.pytorch.org/models/",
        _TORCHVISION_LICENCE,
        _TORCHVISION,
        ("fire9",),
    ),
    "radimagenet-resnet50": Published(
        "RadImageNet-ResNet50_notop.pth from https://huggingface.co/MONAI/checkpoints",
        "RadImageNet's own terms, https://www.radimagenet.com; ask there before publishing a generator trained with it",
        _RADIMAGENET,
        ("layer4",),
    ),
    "medicalnet-resnet10": Published(
        "medicalnet_resnet_10_23dataset.pth from https://huggingface.co/MONAI/checkpoints",
        "MIT (https://github.com/Tencent/MedicalNet)",
        _STANDARDIZED,
        ("layer4",),
        dimensions=3,
    ),
    "medicalnet-resnet50": Published(
        "medicalnet_resnet50_23datasets.pth from https://huggingface.co/MONAI/checkpoints",
        "MIT (https://github.com/Tencent/MedicalNet)",
        _STANDARDIZED,
        ("layer4",),
        dimensions=3,
    ),
    "brain-mask": Published("this project (Resources/Networks)", "Apache-2.0", _UNIT, ("down1", "down2", "down3"), 3),
}

_OXFORD_SOURCE = "VGG-16, ImageNet, Visual Geometry Group, University of Oxford (Simonyan & Zisserman 2015)"
_OXFORD_LICENCE = "CC-BY-4.0"


class FeatureNetwork(nn.Module):
    """A frozen network, cut after the last layer wanted.

    It always stays in evaluation mode, and it owns no parameters or buffers as far as parent modules can see: nothing
    of it enters optimizers, moving averages, checkpoints, model packages or DDP's broadcasts. It moves with
    `.to(device)` like any module.

    Attributes:
        name: of the architecture.
        layers: whose maps are returned, in this order.
        dimensions: 2 or 3, of its images.
        standardized: it wants images with mean 0 and deviation 1.
        file: name of the weights' file.
        sha256: of that file.
        licence: of the weights.
        source: where they come from.
    """

    def __init__(
        self,
        architecture: Architecture,
        convention: Convention,
        *,
        name: str,
        layers: Sequence[str],
        file: str,
        sha256: str,
        licence: str,
        source: str,
    ) -> None:
        super().__init__()
        self.name, self.layers, self.convention = name, tuple(layers), convention
        self.file, self.sha256, self.licence, self.source = file, sha256, licence, source
        self.dimensions, self.standardized = PUBLISHED[name].dimensions, convention.standardized
        self.step_names = [step_name for step_name, _ in architecture.steps]
        network = nn.Sequential(*(step for _, step in architecture.steps)).requires_grad_(False).eval()
        if self.dimensions == 2:
            network = network.to(memory_format=torch.channels_last)
        # In a tuple, out of sight of nn.Module: see the class's promise.
        self._hidden = (network,)
        super().train(False)

    def forward(self, images: Tensor, *, centered: bool = True) -> list[Tensor]:
        """One map per layer of `layers`; differentiable with respect to the images.

        Args:
            images: 2-D networks: (n, 3, height, width), RGB in [0, 1]. MedicalNet: (n, 1, depth, height, width),
                foreground with mean 0 and deviation 1; brain network: the same shape, foreground in [0, 1].
            centered: False leaves out the network's mean and deviation (not its scale and channel order), as the
                authors of the cyclic 2.5-D loss do.

        Returns:
            (n, channels, ...) each.
        """
        network = self._hidden[0]
        weight = next(network.parameters())
        values = self.convention.apply(images.to(weight.dtype), centered)
        if self.dimensions == 2:
            values = values.contiguous(memory_format=torch.channels_last)
        maps = {}
        for name, step in zip(self.step_names, network, strict=True):
            values = step(values)
            if name in self.layers:
                maps[name] = values
        return [maps[layer] for layer in self.layers]

    def train(self, mode: bool = True) -> FeatureNetwork:
        """Does nothing: batch statistics would change the features and the network."""
        return self

    def describe(self) -> dict[str, Any]:
        """For logs and model cards."""
        keys = ("name", "layers", "file", "sha256", "licence", "source")
        return {key: list(value) if isinstance(value := getattr(self, key), tuple) else value for key in keys}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FeatureNetwork:
        self._hidden[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)


def load_feature_network(
    name: str = "vgg16", *, layers: Sequence[str] | None = ("relu4_3",), weights: str | Path | None = None
) -> FeatureNetwork:
    """Load a feature network, shipped or from a file.

    Args:
        name: vgg16, vgg19, resnet50, squeezenet1_1, radimagenet-resnet50, medicalnet-resnet10, medicalnet-resnet50 or
            brain-mask.
        layers: whose maps are wanted: conv4_3 before and relu4_3 after the rectification, pool4; fire2 to fire9;
            layer1 to layer4; down1 to down4. None takes the network's default.
        weights: .pth (torchvision's or MedicalNet's layout, loaded as plain tensors) or .safetensors (the same names,
            or `conv1_1.weight` for Oxford's VGG-16); None takes the shipped file.

    Raises:
        BadInputError: unknown name or layer; a file that is missing, unreadable or of another network.
        HashMismatchError: the shipped file was changed.
    """
    if name not in ARCHITECTURES:
        raise BadInputError(f"Unknown feature network {name!r}. Known: {', '.join(sorted(ARCHITECTURES))}.")
    published = PUBLISHED[name]
    wanted = tuple(published.default_layers if layers is None else layers)
    if not wanted:
        raise BadInputError(f"Feature network {name!r}: name at least one layer.")
    # Without memory or random numbers of its own: the file's tensors take the place of these.
    with torch.device("meta"):
        whole = ARCHITECTURES[name]()
    try:
        architecture = whole.until(wanted)
    except KeyError as error:
        known = ", ".join(step for step, _ in whole.steps)
        raise BadInputError(f"Feature network {name!r} has no layer {error}. Known: {known}.") from None
    path = _weights_file(name, weights)
    digest = network_sha256(path)
    state = _read(path, name)
    oxford = "conv1_1.weight" in state
    if oxford:
        state = _torchvision_names(state)
    _fill(architecture, state, path, name)
    return FeatureNetwork(
        architecture,
        _CAFFE if oxford else published.convention,
        name=name,
        layers=wanted,
        file=path.name,
        sha256=digest,
        licence=_OXFORD_LICENCE if oxford else published.licence,
        source=_OXFORD_SOURCE if oxford else published.source,
    )


def _weights_file(name: str, weights: str | Path | None) -> Path:
    published = PUBLISHED[name]
    if weights is None:
        if name in SHIPPED:
            return shipped_weights(name)
        raise BadInputError(
            f"The weights of {name!r} are not shipped, and nothing is downloaded. Fetch {published.source} (licence: "
            f"{published.licence}) and name the file as 'weights'."
        )
    path = Path(weights)
    if not path.is_file():
        raise BadInputError(
            f"The weights {path} of {name!r} do not exist. They come as {published.source} (licence: "
            f"{published.licence})."
        )
    return path


def _read(path: Path, name: str) -> State:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = load_foreign_weights(path)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInputError(f"The weights {path.name} of {name!r} cannot be read as plain tensors: {reason}") from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    # MedicalNet's files were saved from a DataParallel wrapper.
    return {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def _torchvision_names(state: State) -> State:
    """Oxford's VGG-16 (`conv1_1.weight`; int8 with `conv5_1.scale`) under torchvision's names, float32."""
    layers = vgg_layers("vgg16")
    renamed = {}
    for key, value in state.items():
        layer, kind = key.split(".")
        if kind == "scale":
            continue
        values = value.float()
        if value.dtype == torch.int8:
            values = values * state[f"{layer}.scale"].float().view(-1, 1, 1, 1)
        renamed[f"features.{layers.index(layer)}.{kind}"] = values
    return renamed


def _fill(architecture: Architecture, state: State, path: Path, name: str) -> None:
    published = PUBLISHED[name]
    own = architecture.module.state_dict()
    wanted: State = {}
    for key in architecture.tensor_names():
        found = state.get(key)
        if found is None or found.shape != own[key].shape:
            problem = "lacks" if found is None else f"has the shape {tuple(found.shape)} for"
            raise BadInputError(
                f"{path.name} is not a file of {name!r}: it {problem} {key!r} {tuple(own[key].shape)}. Expected: "
                f"{published.source}."
            )
        if not torch.isfinite(found.float()).all():
            raise BadInputError(f"{path.name} is damaged: {key!r} holds values that are not finite.")
        wanted[key] = found.to(torch.float32, copy=True)
    counters = {key: torch.zeros((), dtype=torch.long) for key in own if key.endswith("num_batches_tracked")}
    architecture.module.load_state_dict(wanted | counters, strict=False, assign=True)
