"""Running a generator: whole or by windows, and what happens when memory runs out."""

from __future__ import annotations

import pytest
import torch

from modality_synthesis.errors import OutOfMemoryError, UsageError
from modality_synthesis.generators.base import Batch, Generator
from modality_synthesis.models.card import Inference
from modality_synthesis.progress import Reporter
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
