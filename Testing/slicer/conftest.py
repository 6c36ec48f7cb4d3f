"""Fixtures of the panel tests. They need slicer-core and PySide6 and are skipped, with the reason, without them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import MODULES, REPOSITORY

NEEDED = ("slicer_core", "PySide6", "SimpleITK")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.pop("DISPLAY", None)
sys.path.insert(0, str(REPOSITORY / "Testing"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what cannot run here."""
    if not MISSING:
        return
    skip = pytest.mark.skip(reason=f"not installed: {', '.join(MISSING)}")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def app() -> Any:
    """The host application with both modules loaded."""
    from slicer_host import application

    started = application.start()
    for name in MODULES:
        application.load_module(REPOSITORY / name / f"{name}.py")
    started.finish_startup()
    return started


@pytest.fixture
def scene(app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty scene, no models but those a test makes, no missing packages. Fails when a slot raised."""
    import slicer

    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "models"))
    from modality_synthesis.slicer import dependencies

    monkeypatch.setattr(dependencies, "missing", list)
    from slicer_host import strict

    slicer.mrmlScene.Clear(False)
    app.errors.clear()
    app.settings().clear()  # what a panel of the test before remembered
    strict.violations.clear()
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear(False)
    app.processEvents()
    assert app.errors == []
    assert strict.violations == []  # also those that the code caught


@pytest.fixture
def open_panel(scene: Any) -> Iterator[Callable[[str], Any]]:
    """Opens a module's panel with the fake worker, and closes it after the test."""
    from fakes import fake_command
    from slicer_host import application, pythonqt

    opened = []

    def open_(name: str = "MRItoPETSynthesis") -> Any:
        widget = application.open_module(name)
        widget.logic.workerCommand = fake_command()
        opened.append(widget)
        return widget

    yield open_
    for widget in opened:
        stray = pythonqt.stray_attributes(widget.parent)
        application.close_module(widget)
        assert stray == []


@pytest.fixture
def wait(app: Any) -> Callable[..., None]:
    """Runs the event loop until a condition holds. The limit is for what hangs; no test is about it."""
    import time

    def wait_(condition: Callable[[], bool], seconds: float = 600.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            app.processEvents()
            time.sleep(0.005)
            assert time.monotonic() < end, "waited too long"

    return wait_


@pytest.fixture(scope="session")
def layout_manager(app: Any) -> Any:
    """Slice views, rendered off-screen; skipped where there is no software renderer."""
    from slicer_host import views

    return views.LayoutManager((320, 320))


@pytest.fixture
def views(scene: Any, layout_manager: Any, app: Any) -> Iterator[Any]:
    """The layout manager in its conventional layout; other tests go without."""
    app.set_layout_manager(layout_manager)
    layout_manager.setLayout(2)
    yield layout_manager
    app.set_layout_manager(None)
