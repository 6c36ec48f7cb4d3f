"""Batch normalization folded into the convolution before it: the same function in evaluation, with fewer passes."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(module: nn.Module) -> int:
    """Fold every batch normalization that directly follows a convolution, in place.

    Followers are recognized by what they are called (`conv1` and `bn1` of one module, as in ResNets) and as neighbors
    in a `Sequential`, also where that neighbor is itself a `Sequential` that begins with one (MONAI's blocks). The
    module must be in evaluation mode and cannot be trained further.

    Returns:
        The number of normalizations folded.
    """
    folded = 0
    for parent in list(module.modules()):
        for conv_name, follower in _pairs(parent):
            place, norm_name = _leading_norm(parent, follower)
            if place is None:
                continue
            fused = fuse_conv_bn_eval(getattr(parent, conv_name), getattr(place, norm_name))
            setattr(parent, conv_name, fused)
            setattr(place, norm_name, nn.Identity())
            folded += 1
    return folded


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of a module's convolutions, each with the name of what follows it."""
    children = dict(parent.named_children())
    names = list(children)
    if isinstance(parent, nn.Sequential):
        pairs = list(itertools.pairwise(names))
    else:
        pairs = [(name, name.replace("conv", "bn", 1)) for name in names if name.startswith("conv")]
    return [(first, second) for first, second in pairs if isinstance(children[first], nn.Conv2d) and second in children]


def _leading_norm(parent: nn.Module, name: str) -> tuple[nn.Module | None, str]:
    """Where the batch normalization is that a child is or begins with: its parent (None without one) and its name."""
    child = getattr(parent, name)
    if isinstance(child, nn.BatchNorm2d):
        return parent, name
    if isinstance(child, nn.Sequential) and len(child):
        return _leading_norm(child, next(iter(dict(child.named_children()))))
    return None, ""
