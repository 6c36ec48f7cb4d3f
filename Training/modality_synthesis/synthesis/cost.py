"""What a synthesis costs: time and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MIB = 2**20


@dataclass
class Meter:
    """Runs from its creation to `read`.

    Attributes:
        device: where the generator runs.
    """

    device: torch.device
    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(default_factory=time.process_time)

    def __post_init__(self) -> None:
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)

    def read(self) -> dict[str, float]:
        """Seconds passed, CPU seconds of this process, its peak memory so far and the device's, MiB.

        Memory that the system does not tell is left out.
        """
        cost = {
            "seconds": round(time.perf_counter() - self._wall, 1),
            "cpu_seconds": round(time.process_time() - self._cpu, 1),
        }
        peak = _peak_memory()
        if peak is not None:
            cost["peak_memory_mib"] = round(peak / _MIB)
        if self.device.type == "cuda":
            import torch

            cost["peak_device_memory_mib"] = round(torch.cuda.max_memory_allocated(self.device) / _MIB)
        return cost


def describe_cost(cost: dict[str, float]) -> str:
    """For people: `21 s (19 CPU s), 1.0 GiB of memory`."""
    text = f"{cost['seconds']:.0f} s ({cost['cpu_seconds']:.0f} CPU s)"
    if "peak_memory_mib" in cost:
        text += f", {cost['peak_memory_mib'] / 1024:.1f} GiB of memory"
    if "peak_device_memory_mib" in cost:
        text += f", {cost['peak_device_memory_mib'] / 1024:.1f} GiB on the device"
    return text


def _peak_memory() -> int | None:
    """The largest part of the memory that this process has held, bytes; None where the system does not tell."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
