"""Weights in the published layout: a checkpoint's names and those of `Pasta(layout="published")`.

Works on tensors by name only; `modality_synthesis.training` reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators.pasta.arm import Arm
from modality_synthesis.generators.pasta.generator import Pasta

_RESIDUAL = {
    "norm_in": "in_layers.0",
    "conv_in": "in_layers.2",
    "time": "emb_layers.1",
    "clinical": "tab_embed",
    "norm_out": "out_layers.0",
    "conv_out": "out_layers.3",
    "skip": "skip_connection",
}
_ATTENTION = {"norm": "norm", "qkv": "qkv", "projection": "proj_out"}
_RESAMPLING = {"resample_main": "h_upd", "resample_skip": "x_upd"}
_ARMS = {"denoiser": "model", "conditioner": "encoder"}


def published_names(generator: Pasta) -> dict[str, str]:
    """Name in `generator` -> name in a published checkpoint, for every weight of both arms."""
    names = {}
    for own, theirs in _ARMS.items():
        arm = getattr(generator, own)
        for name in arm.state_dict():
            names[f"{own}.{name}"] = f"{theirs}.{_published_name(arm, name)}"
    return names


def _published_name(arm: Arm, name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "embed_time":
        return f"time_embed.{rest}"
    if part == "stem":
        return f"input_blocks.0.0.{rest}"
    if part == "head":
        return f"out.{rest}"
    index, kind, inner = rest.split(".", 2)
    stage = getattr(arm, part)[int(index)]
    upward = part == "upsample"
    layer = _attention_name(inner) if kind == "attention" else _residual_name(inner, upward)
    if part == "middle":
        # Residual block, attention, residual block.
        return f"middle_block.{0 if index == '0' and kind == 'residual' else 1 if kind == 'attention' else 2}.{layer}"
    place = "1" if kind == "attention" and stage.attention is not None else "0"
    if upward:
        return f"output_upsample_blocks.{index}.{place}.{layer}"
    if part == "encoder":
        return f"input_blocks.{int(index) + 1}.{place}.{layer}"
    return f"output_blocks.{index}.{place}.{layer}"


def _residual_name(name: str, upward: bool) -> str:
    layer, _, rest = name.partition(".")
    if layer in _RESAMPLING:
        # Both hold their convolution under another name.
        return f"{_RESAMPLING[layer]}.{rest if upward else rest.replace('conv.', 'op.', 1)}"
    return f"{_RESIDUAL[layer]}.{rest}"


def _attention_name(name: str) -> str:
    layer, _, rest = name.partition(".")
    return f"{_ATTENTION[layer]}.{rest}"


def published_weights(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """The weights to synthesize with from what a checkpoint file holds.

    Args:
        content: the file's mapping: `ema` (averaged weights, preferred) and `model`, or the weights themselves.

    Returns:
        Tensors named `model.*` and `encoder.*`, and where they come from.

    Raises:
        BadInputError: none of these.
    """
    candidates = (
        (content.get("ema"), "ema_model.", "averaged weights"),
        (content.get("model"), "", "last weights"),
        (content, "ema_model.", "averaged weights"),
        (content, "", "weights"),
    )
    prefixes = tuple(f"{name}." for name in _ARMS.values())
    for holder, prefix, what in candidates:
        if not isinstance(holder, Mapping):
            continue
        found = {
            str(name)[len(prefix) :]: value
            for name, value in holder.items()
            if str(name).startswith(prefix) and isinstance(value, Tensor)
        }
        found = {name: value for name, value in found.items() if name.startswith(prefixes)}
        if found:
            return found, what
    raise BadInputError("The checkpoint holds no weights named 'model.*' and 'encoder.*'; it is not one of PASTA.")


def load_published(generator: Pasta, weights: Mapping[str, Tensor], *, transpose: bool = True) -> None:
    """Put published weights into a generator with `layout="published"`.

    Args:
        generator: takes the weights.
        weights: from `published_weights`.
        transpose: the checkpoint's slices have x before y, the model grid's y before x: swap the kernels' axes, which
            gives the same network on swapped slices.

    Raises:
        BadInputError: a name is left over or missing, or a shape differs; the first such name is given.
    """
    names = published_names(generator)
    odd = sorted(set(names.values()) ^ set(weights))
    if odd:
        where = "missing in" if odd[0] in set(names.values()) else "left over from"
        raise BadInputError(f"The checkpoint does not fit the network's numbers: {odd[0]!r} is {where} it.")
    own = generator.state_dict()
    state = {}
    for name, theirs in names.items():
        value = weights[theirs]
        if value.shape != own[name].shape:
            raise BadInputError(
                f"The checkpoint does not fit the network's numbers: {theirs!r} is {tuple(value.shape)}, "
                f"expected {tuple(own[name].shape)}."
            )
        value = value.to(torch.float32)
        state[name] = value.transpose(2, 3).contiguous() if transpose and value.ndim == 4 else value
    generator.load_state_dict(state, strict=False)
