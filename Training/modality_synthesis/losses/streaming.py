"""A sum over parts of a tensor, with value and gradient computed part by part: memory does not grow with the parts.

Automatic differentiation would keep the activations of every part until the backward pass. Here each part's gradient
is taken at once, and only the gradient with respect to the input is kept. Values and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Part = tuple[Any, Callable[[Tensor], Tensor]]


def streamed_sum(values: Tensor, parts: Iterable[Part]) -> Tensor:
    """The sum of `function(values[index])` over the parts (index, function).

    Differentiable once with respect to `values`. The indices must not overlap, and a function may depend on nothing
    else that needs a gradient.

    Args:
        values: any shape.
        parts: visited once, in order; each function returns a scalar.

    Returns:
        Scalar, float32.
    """
    if not torch.is_grad_enabled():
        values = values.detach()
    return _StreamedSum.apply(values, parts)


class _StreamedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, parts: Iterable[Part]) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        total = torch.zeros((), dtype=torch.float32, device=values.device)
        gradient = torch.zeros_like(values) if wanted else None
        for index, function in parts:
            piece = values[index].detach()
            if gradient is None:
                total += function(piece).float()
                continue
            with torch.enable_grad():
                value = function(piece.requires_grad_())
            (gradient[index],) = torch.autograd.grad(value, piece)
            total += value.detach().float()
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer.to(gradient), None
