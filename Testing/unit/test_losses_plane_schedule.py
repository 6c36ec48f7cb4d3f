"""The schedule of planes against the paper's Algorithm 2."""

from __future__ import annotations

import pytest

from modality_synthesis.errors import BadInputError
from modality_synthesis.losses import WeightedLosses, build_loss
from modality_synthesis.losses.plane_schedule import plane_of_epoch, switch_epochs


def algorithm_2(epochs: int, duration: int, factor: float) -> list[str]:
    """The plane of every epoch, by marking where each phase starts, as the authors' code does."""
    starts = {}
    start = 0
    while start < epochs:
        starts[start] = "axial"
        if start + duration < epochs:
            starts[start + duration] = "coronal"
        if start + 2 * duration < epochs:
            starts[start + 2 * duration] = "sagittal"
        start, duration = start + 3 * duration, max(1, round(duration * factor))
    planes, plane = [], ""
    for epoch in range(epochs):
        plane = starts.get(epoch, plane)
        planes.append(plane)
    return planes


def test_published_switches_with_the_papers_parameters():
    published = [120, 240, 360, 440, 520, 600, 653, 706, 759, 794, 829, 864, 887, 910, 933, 948, 963, 978, 988, 998]
    assert switch_epochs(1000) == published
    planes = [plane_of_epoch(epoch) for epoch in range(1000)]
    assert [planes.count(plane) for plane in ("axial", "coronal", "sagittal")] == [336, 336, 328]
    assert [planes[epoch] for epoch in (0, 119, 120, 359, 360, 999)] == [
        "axial", "axial", "coronal", "sagittal", "axial", "sagittal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "duration", "factor"),
    [(1000, 120, 2 / 3), (300, 120, 2 / 3), (400, 10, 2 / 3), (200, 7, 1.0), (90, 5, 0.5)],
)
def test_equals_the_papers_algorithm(epochs, duration, factor):
    ours = [plane_of_epoch(epoch, duration=duration, factor=factor) for epoch in range(epochs)]
    assert ours == algorithm_2(epochs, duration, factor)


def test_a_duration_never_reaches_zero():
    # An early version of the authors' code rounded down, and its schedule never ended beyond epoch 1047.
    assert {plane_of_epoch(epoch) for epoch in range(3000, 3003)} == {"axial", "coronal", "sagittal"}


def test_a_fraction_is_written_as_text():
    assert switch_epochs(1000, factor="2/3") == switch_epochs(1000, factor=2 / 3)


@pytest.mark.parametrize("parameters", [{"duration": 0}, {"factor": 0.0}, {"factor": 1.5}, {"factor": "1/0"}])
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(BadInputError, match=r"perceptual-cyclic-2\.5d"):
        build_loss("perceptual-cyclic-2.5d", parameters)


def test_the_weighted_losses_follow_the_schedule():
    losses = WeightedLosses([("mse", 1.0, {}), ("perceptual-cyclic-2.5d", 0.5, {"duration": 2})])
    planes = []
    for epoch in range(7):
        losses.set_epoch(epoch)
        planes.append(losses.plane)
    assert planes == ["axial", "axial", "coronal", "coronal", "sagittal", "sagittal", "axial"]
    assert WeightedLosses([("mse", 1.0, {})]).plane is None
