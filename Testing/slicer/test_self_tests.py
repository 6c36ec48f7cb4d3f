"""The modules' own Slicer tests: they run here as in the application, and fail where something is wrong."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import pytest
from fakes import MODULES


def run_main_job(name: str) -> None:
    """The part of a module's self test that does the main job, with what slots raise."""
    from modality_synthesis.slicer import self_test

    test = getattr(sys.modules[name], name + "Test")()
    test.setUp()
    with self_test.raisedInSlots() as raised:
        test.test_main_job_and_what_it_shows()
    assert raised == []


@pytest.fixture
def opened(open_panel: Any, views: Any) -> Callable[[str], None]:
    """Runs a module's main job in an open panel beside slice views."""

    def opened_(name: str = "MRItoPETSynthesis") -> None:
        open_panel(name)
        run_main_job(name)

    return opened_


@pytest.mark.parametrize("name", MODULES)
def test_self_test_runs_beside_slice_views(open_panel: Any, views: Any, name: str) -> None:
    import slicer

    open_panel(name)  # closed after the test
    slicer.selfTests[name]()


@pytest.mark.long
def test_self_test_runs_without_a_main_window(open_panel: Any) -> None:
    open_panel("MRItoPETSynthesis")
    run_main_job("MRItoPETSynthesis")


def test_self_test_needs_no_package_but_python_and_numpy() -> None:
    import ast

    from gui_files import ROOM

    tree = ast.parse((ROOM / "self_test_worker.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names <= set(sys.stdlib_module_names)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_self_test_sees_what_slots_raise(open_panel: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    import slicer

    def broken() -> None:
        raise ValueError("in a slot")

    name = "MRItoPETSynthesis"
    test = getattr(sys.modules[name], name + "Test")
    open_panel(name)
    monkeypatch.setattr(test, "test_main_job_and_what_it_shows", lambda self: None)
    monkeypatch.setattr(test, "test_bad_input", lambda self: qt.QTimer.singleShot(0, broken))
    with pytest.raises(AssertionError, match="in a slot"):
        slicer.selfTests[name]()
    app.errors.clear()


def test_self_test_sees_a_plot_that_fails(opened: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the application it would be a line on the console."""
    import slicer

    def broken() -> None:
        raise ValueError("in a slot")

    monkeypatch.setattr(slicer.modules.plots, "logic", broken)
    with pytest.raises(AssertionError):
        opened()
    assert any("in a slot" in text for text in app.errors)
    app.errors.clear()


def test_self_test_sees_a_long_legend(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from modality_synthesis.slicer import self_test

    real = self_test.SynthesisSelfTest.runJob

    def run_and_lengthen(self: Any, panel: Any, prefix: str) -> None:
        real(self, panel, prefix)
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
            legend.SetTitleText("Synthetic FDG-PET\nSUVR")

    monkeypatch.setattr(self_test.SynthesisSelfTest, "runJob", run_and_lengthen)
    with pytest.raises(AssertionError, match="Synthetic FDG-PET"):
        opened()


@pytest.mark.long
def test_self_test_sees_views_without_a_plot(opened: Any, views: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(views), "plotViewCount", 0)
    with pytest.raises(AssertionError, match="0 not greater than 0"):
        opened()


class Abreast:
    """A layout node that says that all views stand in one row."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def GetCurrentLayoutDescription(self) -> str:
        views = ElementTree.fromstring(self._node.GetCurrentLayoutDescription()).iter("view")
        items = "".join(f"<item>{ElementTree.tostring(view, encoding='unicode')}</item>" for view in views)
        return f'<layout type="horizontal">{items}</layout>'


@pytest.mark.long
def test_self_test_sees_views_all_abreast(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from slicer_host import views as stand_ins

    real = stand_ins.LayoutLogic.GetLayoutNode
    monkeypatch.setattr(stand_ins.LayoutLogic, "GetLayoutNode", lambda self: Abreast(real(self)))
    with pytest.raises(AssertionError, match=r"\[4\] != \[4, 2, 2\]"):
        opened()


@pytest.mark.long
def test_self_test_sees_a_result_on_another_grid(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer import exchange

    real = exchange.readVolume

    def shifted(path: str) -> Any:
        array, matrix = real(path)
        matrix[0, 3] += 5
        return array, matrix

    monkeypatch.setattr(exchange, "readVolume", shifted)
    with pytest.raises(AssertionError):
        opened("CTtoMRSynthesis")
