"""Where a generator runs."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from modality_synthesis.errors import UsageError

if TYPE_CHECKING:
    import torch


def check_device_name(wanted: str) -> None:
    """Refuse a device that cannot exist, without loading torch.

    Raises:
        UsageError: not one of the names `choose_device` takes, or of another system.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", wanted):
        raise UsageError(f"Unknown device {wanted!r}. Use auto, cpu, cuda, cuda:0 or mps.")
    if wanted == "mps" and sys.platform != "darwin":
        raise _no_mps()


def choose_device(wanted: str = "auto") -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. `auto` prefers CUDA, then MPS, then the CPU.

    Raises:
        UsageError: no such device on this machine.
    """
    import torch

    check_device_name(wanted)
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"The device {wanted} is not there: {torch.cuda.device_count()} CUDA device(s) found.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise _no_mps()
    return device


def _no_mps() -> UsageError:
    return UsageError("The device mps is not there. Use auto or cpu.")


def describe_device(device: torch.device) -> str:
    """A device's name for people."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return "CPU" if device.type == "cpu" else str(device)
