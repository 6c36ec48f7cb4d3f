"""What a job may leave behind in the process that serves the next one: nothing that the next one sees."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from modality_synthesis.fresh_start import fresh_start


def change_the_folder() -> None:
    os.chdir("/")


def change_the_environment() -> None:
    os.environ["MODALITY_SYNTHESIS_MODELS"] = "/elsewhere"
    os.environ.pop("PATH")


def change_threads_and_modes() -> None:
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(not torch.is_grad_enabled())
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = True
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def change_the_interpreter() -> None:
    sys.setrecursionlimit(12345)
    sys.argv.append("more")
    sys.path.insert(0, "/elsewhere")
    sys.stdout = sys.stderr = None
    sys.excepthook = print


def change_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: None)


def change_warnings_and_logging() -> None:
    warnings.simplefilter("error")
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)
    os.umask(0o000)


def draw_numbers() -> None:
    torch.manual_seed(5)
    torch.rand(3)


def seen() -> tuple:
    """All of it."""
    mask = os.umask(0)
    os.umask(mask)
    root = logging.getLogger()
    return (
        os.getcwd(), dict(os.environ), mask, torch.get_num_threads(), torch.get_default_dtype(),
        torch.is_grad_enabled(), torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark,
        torch.initial_seed(), torch.get_rng_state().numpy().tobytes(),
        sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), sitk.ProcessObject.GetGlobalWarningDisplay(),
        sys.getrecursionlimit(), tuple(sys.argv), tuple(sys.path), sys.stdout, sys.stderr, sys.excepthook,
        signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), tuple(warnings.filters), root.level,
        tuple(root.handlers), logging.root.manager.disable,
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        change_the_folder, change_the_environment, change_threads_and_modes, change_the_interpreter, change_signals,
        change_warnings_and_logging, draw_numbers,
    ],
)  # fmt: skip
def test_what_a_job_changes_is_put_back(change: Callable[[], None]) -> None:
    before = seen()
    changed = False
    with fresh_start():
        change()
        changed = seen() != before
    assert changed
    assert seen() == before


def test_also_after_an_error() -> None:
    before = seen()
    with pytest.raises(FileNotFoundError), fresh_start():
        os.chdir("/") or os.stat("/no/such/file")
    assert seen() == before


def test_a_seed_of_the_job_before_is_not_drawn_from() -> None:
    draws = []
    for _ in range(2):
        with fresh_start():
            np.random.seed(1)
        draws.append(np.random.random(4).tolist())
    assert draws[0] != draws[1]


def test_answers_about_files_are_asked_again_but_what_ships_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("modality_synthesis.made_up")
    module.of_a_file = lru_cache(lambda path: object())
    module.of_the_package = lru_cache(lambda: object())
    monkeypatch.setitem(sys.modules, module.__name__, module)
    about, shipped = module.of_a_file("x"), module.of_the_package()
    with fresh_start():
        assert module.of_a_file("x") is about
    assert module.of_a_file("x") is not about
    assert module.of_the_package() is shipped


def test_processes_that_a_job_left_are_ended() -> None:
    with fresh_start():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
    assert not child.is_alive()
