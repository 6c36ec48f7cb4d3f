"""Running a generator: whole or by windows, and what happens when memory runs out."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from modality_synthesis.errors import CancelledError, OutOfMemoryError, UsageError
from modality_synthesis.generators import build_generator
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis.cost import Meter, describe_cost
from modality_synthesis.synthesis.devices import choose_device
from modality_synthesis.synthesis.inference import run_generator

CPU = torch.device("cpu")
WINDOWS = Inference(mode="sliding-window", window=(16, 16, 16), overlap=0.5, batch_size=2)


class Double(Generator):
    """Twice the source; remembers the batch sizes it saw."""

    def __init__(self, room_for: int = 99) -> None:
        super().__init__()
        self.room_for = room_for
        self.seen: list[int] = []

    def forward(self, source, clinical=None):
        self.seen.append(source.shape[0])
        if source.shape[0] > self.room_for:
            raise torch.OutOfMemoryError("out of memory")
        return 2 * source


@pytest.fixture
def batch() -> Batch:
    return Batch(source=torch.rand((1, 1, 24, 30, 20), generator=torch.Generator().manual_seed(0)))


def test_whole_and_windows_agree_for_a_pointwise_generator(batch):
    whole = run_generator(Double(), batch, Inference(mode="whole"), CPU)
    windows = run_generator(Double(), batch, WINDOWS, CPU)
    torch.testing.assert_close(whole, 2 * batch.source)
    torch.testing.assert_close(windows, whole, atol=1e-5, rtol=1e-5)


def test_full_memory_means_fewer_windows_at_a_time_and_the_same_result(batch):
    reporter, generator = Reporter(), Double(room_for=1)
    result = run_generator(generator, batch, WINDOWS, CPU, reporter)
    torch.testing.assert_close(result, 2 * batch.source, atol=1e-5, rtol=1e-5)
    assert generator.seen[0] == 2
    assert set(generator.seen[1:]) == {1}
    assert any("one window at a time" in warning for warning in reporter.warnings)


def test_no_memory_at_all_is_an_error_with_advice(batch):
    with pytest.raises(OutOfMemoryError, match="smaller model"):
        run_generator(Double(room_for=0), batch, WINDOWS, CPU)


def test_other_errors_are_not_taken_for_memory(batch):
    class Broken(Double):
        def forward(self, source, clinical=None):
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_generator(Broken(), batch, WINDOWS, CPU)


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives(batch):
    from modality_synthesis.generators import build_generator

    torch.manual_seed(0)
    generator = build_generator("residual-unet", {"channels": [8, 16]})
    on_cpu = run_generator(generator, batch, Inference(mode="whole"), CPU)
    on_gpu = run_generator(generator, batch, Inference(mode="whole"), torch.device("cuda"))
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=1e-3)


def test_devices():
    assert choose_device("cpu") == CPU
    for name in ("gpu", "cuda:x", "cpu:1"):
        with pytest.raises(UsageError, match="Unknown device"):
            choose_device(name)


class Slab(Generator):
    """Each slice becomes the mean of it and its neighbors, times a ramp along the slice's rows; keeps what it saw."""

    context = 1

    def __init__(self, room_for: int = 99) -> None:
        super().__init__()
        self.room_for = room_for
        self.depths: list[int] = []

    def forward(self, source, clinical=None):
        self.depths.append(source.shape[2])
        if source.shape[2] - 2 > self.room_for:
            raise torch.OutOfMemoryError("out of memory")
        padded = torch.nn.functional.pad(source, (0, 0, 0, 0, 1, 1), mode="replicate")
        mean = (padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]) / 3
        return mean * torch.arange(source.shape[3])[:, None]


def slab_of(volume: torch.Tensor, axis: int) -> torch.Tensor:
    """What `Slab` makes of a whole volume whose slices lie along `axis`."""
    return Slab()(volume.movedim(axis, 2)).movedim(2, axis)


@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 3), ("sagittal", 4)])
@pytest.mark.parametrize("slices", [2, 7, 64])
def test_slices_in_any_plane_and_number_equal_the_whole(plane, axis, slices, batch):
    inference = Inference(mode="slices", planes=(plane,), batch_size=slices)
    generator = Slab()
    result = run_generator(generator, batch, inference, CPU)
    torch.testing.assert_close(result, slab_of(batch.source, axis))
    # Constant memory: no call saw more than the slices asked for and their two neighbors.
    assert max(generator.depths) <= slices + 2
    assert sum(depth - 2 for depth in generator.depths) == batch.source.shape[axis]


def test_planes_are_averaged(batch):
    inference = Inference(mode="slices", planes=("axial", "coronal", "sagittal"), batch_size=5)
    result = run_generator(Slab(), batch, inference, CPU)
    expected = sum(slab_of(batch.source, axis) for axis in (2, 3, 4)) / 3
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("slices", [2, 64])
def test_slices_beyond_the_mask_cost_nothing(slices, batch):
    """Where the mask lies, the result is that of the whole volume; neighbors outside it still give context."""
    mask = torch.zeros_like(batch.source[:, :1])
    mask[:, :, 3:6, 2:9, 4:7] = 1
    generator = Slab()
    inference = Inference(mode="slices", planes=("axial", "coronal"), batch_size=slices)
    result = run_generator(generator, replace(batch, mask=mask), inference, CPU)
    expected = (slab_of(batch.source, 2) + slab_of(batch.source, 3)) / 2
    torch.testing.assert_close(result[mask > 0], expected[mask > 0])
    assert sum(depth - 2 for depth in generator.depths) == 3 + 7
    assert not run_generator(Slab(), replace(batch, mask=0 * mask), inference, CPU).any()


def test_full_memory_means_one_slice_at_a_time_and_the_same_result(batch):
    reporter, generator = Reporter(), Slab(room_for=1)
    result = run_generator(generator, batch, Inference(mode="slices", batch_size=8), CPU, reporter)
    torch.testing.assert_close(result, slab_of(batch.source, 2))
    assert any("one slice at a time" in warning for warning in reporter.warnings)


def test_synthesis_can_be_cancelled_between_batches_of_slices(batch):
    class Impatient(Reporter):
        def emit_progress(self, fraction, stage):
            if fraction > 0.4:
                raise CancelledError("Cancelled.")

    generator = Slab()
    with pytest.raises(CancelledError):
        run_generator(generator, batch, Inference(mode="slices", batch_size=4), CPU, Impatient())
    assert len(generator.depths) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "whole", "planes": ["coronal"]},
        {"mode": "slices", "planes": ["axial", "axial"]},
        {"mode": "slices", "planes": []},
        {"mode": "slices", "window": [8, 8, 8]},
    ],
)
def test_impossible_inference_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        Inference.model_validate(wrong)


def test_slices_with_their_neighbors_as_channels():
    torch.manual_seed(0)
    generator = build_generator("unet-2d", {"features": [2, 2, 2, 2, 2], "channels": "neighbors"}).eval()
    source = torch.rand(1, 1, 9, 20, 18)
    slices = run_generator(generator, Batch(source=source), Inference(mode="slices", batch_size=4), CPU)
    whole = run_generator(generator, Batch(source=source), Inference(mode="whole"), CPU)
    torch.testing.assert_close(slices, whole, atol=1e-5, rtol=1e-5)


def test_the_cost_counts_what_was_done():
    began = time.process_time()
    meter = Meter(CPU)
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    held = np.ones(50 * 2**20, dtype=np.uint8)  # 50 MiB
    cost = meter.read()
    assert 0.3 <= cost["cpu_seconds"] <= time.process_time() - began + 0.05  # it is rounded to 0.1
    assert cost["seconds"] >= 0.3
    assert cost["peak_memory_mib"] > held.nbytes / 2**20
    assert describe_cost({"seconds": 21.4, "cpu_seconds": 18.9, "peak_memory_mib": 1075}) == (
        "21 s (19 CPU s), 1.0 GiB of memory"
    )
