"""Losses compute in float32, whatever precision the networks run in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: run a function outside autocast, with its half-precision tensors cast to float32.

    Under autocast sums, variances and their differences would be rounded to 8 bits: an SSIM can leave its range, and a
    logarithm of it is infinite. The cast is differentiable; tensors of other types are handed on as they are.
    """

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return function(*map(_raised, args), **{name: _raised(value) for name, value in kwargs.items()})

    return run


def _raised(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
