"""Fixtures shared by all suites."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest-xdist already keeps each core busy: threads that wait, spinning, for one another's turn double the CPU time.
# Before the first import of torch, and for the processes that tests start.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(_variable, "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def sample_head() -> Path:
    """The real T1w head that ships with the project."""
    return REPOSITORY / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"


@pytest.fixture(scope="session")
def shared_subjects() -> Path:
    """Real heads beside the checkout (continuous integration has them, a user has not)."""
    folder = REPOSITORY.parent / "shared" / "data" / "subjects"
    if not folder.is_dir():
        pytest.skip(f"the real test heads are not at {folder}")
    return folder


@pytest.fixture
def handlers_as_before() -> Iterator[None]:
    """Signal handlers that a test sets are gone after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip, with the reason, where there is no GPU."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
