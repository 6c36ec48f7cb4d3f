"""Where the application behaves otherwise than one would think, the host does too (`behaves_differently`)."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import pytest
from fakes import add_head, head_matrix


def wrapped(scene: Any, **fields: Any) -> Any:
    """A parameter node with the annotations given, and defaults where they come as pairs."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    annotations = {name: given[0] if isinstance(given, tuple) else given for name, given in fields.items()}
    defaults = {name: given[1] for name, given in fields.items() if isinstance(given, tuple)}
    cls = parameterNodeWrapper(type("Parameters", (), {"__annotations__": annotations, **defaults}))
    return cls(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def form(**widgets: Any) -> types.SimpleNamespace:
    """Widgets that are bound to the parameters of their names."""
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
    return types.SimpleNamespace(**widgets)


def test_a_stored_choice_that_is_gone_binds_nothing(scene: Any) -> None:
    import qt
    from slicer.parameterNodeWrapper import Choice

    parameters = wrapped(scene, kind=(Annotated[str, Choice(["a", "b"])], "a"), count=(int, 1))
    parameters.parameterNode.SetParameter("kind", "gone")
    assert parameters.kind == "gone"  # read as it is
    widgets = form(count=qt.QSpinBox(), kind=qt.QComboBox())
    with pytest.raises(ValueError, match="gone"):
        parameters.connectGui(widgets)
    widgets.count.value = 7
    assert parameters.count == 1


def test_a_stored_number_out_of_range_is_read_but_not_set(scene: Any) -> None:
    import qt
    from slicer.parameterNodeWrapper import WithinRange

    parameters = wrapped(scene, count=(Annotated[int, WithinRange(0, 5)], 1))
    parameters.parameterNode.SetParameter("count", "7")
    assert parameters.count == 7
    with pytest.raises(ValueError):
        parameters.count = 99
    widgets = form(count=qt.QSpinBox())
    parameters.connectGui(widgets)
    assert widgets.count.value == 5


def test_a_misspelt_parameter_is_accepted_and_stored_nowhere(scene: Any) -> None:
    parameters = wrapped(scene, count=(int, 1))
    parameters.cuont = 3
    assert list(parameters.parameterNode.GetParameterNames()) in ([], ["count"])


def test_default_is_an_object_with_the_value(scene: Any) -> None:
    assert wrapped(scene, count=(int, 4)).default("count").value == 4


def test_a_range_without_default_starts_at_zero(scene: Any) -> None:
    from slicer.parameterNodeWrapper import WithinRange

    assert wrapped(scene, dose=Annotated[float, WithinRange(2, 3)]).parameterNode is not None
    assert wrapped(scene, dose=Annotated[float, WithinRange(2, 3)]).dose == 0


@pytest.mark.parametrize(
    ("annotation", "widget"),
    [
        (str, "QComboBox"), (int, "QComboBox"), (int, "ctkSliderWidget"), (float, "ctkSliderWidget"),
        (bool, "QRadioButton"), (bool, "QToolButton"), (str, "ctkPathLineEdit"), (int, "QLineEdit"),
        (Optional[str], "QLineEdit"),  # noqa: UP045
        (float, "QSpinBox"), (bool, "ctkCollapsibleButton"),
    ],
)  # fmt: skip
def test_pairs_without_a_connector_are_refused(scene: Any, annotation: Any, widget: str) -> None:
    """Nothing is bound then: the whole panel is dead."""
    import ctk
    import qt

    parameters = wrapped(scene, value=annotation)
    made = (getattr(qt, widget, None) or getattr(ctk, widget))()
    with pytest.raises((RuntimeError, TypeError)):
        parameters.connectGui(form(value=made))


def test_optional_path_has_no_connector_of_its_own(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctk
    from slicer_host import parameter_node

    monkeypatch.setattr(parameter_node, "_connectors", [])  # without those that the panels bring
    with pytest.raises((RuntimeError, TypeError)):
        wrapped(scene, path=Optional[Path]).connectGui(form(path=ctk.ctkPathLineEdit()))  # noqa: UP045


def test_clearing_a_path_field_sends_no_path(app: Any) -> None:
    import ctk

    field, paths, validity = ctk.ctkPathLineEdit(), [], []
    field.connect("currentPathChanged(QString)", paths.append)
    field.connect("validInputChanged(bool)", validity.append)
    field.currentPath = "/somewhere/that/is/not"
    field.currentPath = ""
    assert paths == ["/somewhere/that/is/not"]
    assert validity == [True, False]


def test_a_selector_is_as_wide_as_its_longest_name(scene: Any) -> None:
    """Only the size policy Ignored keeps a panel narrow."""
    import slicer

    add_head("T1w")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    narrow = selector.minimumSizeHint().width()
    add_head("sub-01_ses-02_acq-mprage_T1w FDG-PET (synthetic) SUVR (cerebellar-gray)")
    assert selector.minimumSizeHint().width() > narrow + 150
    selector.setMRMLScene(None)


def test_settings_come_back_as_text_in_the_next_process(app: Any, tmp_path: Path) -> None:
    import qt

    path = str(tmp_path / "settings.ini")
    code = (
        "from PySide6.QtCore import QSettings\n"
        f"s = QSettings({path!r}, QSettings.IniFormat)\n"
        "s.setValue('yes', True); s.setValue('five', 5); s.setValue('half', 1.5); s.sync()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    settings = qt.QSettings(path, qt.QSettings.IniFormat)
    assert [settings.value(key) for key in ("yes", "five", "half", "missing")] == ["true", "5", "1.5", None]


def test_reader_is_a_matter_of_luck_without_a_type(scene: Any, tmp_path: Path) -> None:
    """The readers of volumes and of segmentations both take .nii.gz: what names no type fails here."""
    import slicer

    from modality_synthesis.slicer import exchange

    path = str(tmp_path / "head.nii.gz")
    exchange.writeVolume(add_head(), path)
    assert slicer.app.coreIOManager().fileType(path) != "VolumeFile"
    with pytest.raises(RuntimeError):
        slicer.util.loadNodeFromFile(path)
    assert slicer.util.loadVolume(path).IsA("vtkMRMLScalarVolumeNode")


def test_auto_window_cannot_be_switched_off_on_loading(scene: Any, tmp_path: Path) -> None:
    import slicer

    from modality_synthesis.slicer import exchange

    path = str(tmp_path / "head.nii.gz")
    exchange.writeVolume(add_head(), path)
    loaded = slicer.util.loadVolume(path, {"autoWindowLevel": False})
    assert loaded.GetDisplayNode().GetAutoWindowLevel()


def test_legend_orientation_is_an_enum(scene: Any) -> None:
    import slicer

    legend = slicer.vtkMRMLColorLegendDisplayNode()
    with pytest.raises(TypeError):
        legend.SetOrientation(1)
    legend.SetOrientation(slicer.vtkMRMLColorLegendDisplayNode.Horizontal)


def test_testing_must_be_imported(app: Any) -> None:
    import slicer

    assert not hasattr(slicer, "testing")


def test_loading_a_missing_scene_raises(scene: Any) -> None:
    import slicer

    with pytest.raises(RuntimeError):
        slicer.util.loadScene("/nowhere/scene.mrb")


@pytest.mark.parametrize("where", ["slot", "timer", "observer"])
def test_exceptions_end_at_the_hook(scene: Any, app: Any, where: str, capfd: Any) -> None:
    """Nothing is raised where the signal was sent: only the hook hears of it."""
    import qt
    import slicer
    import vtk

    def broken(*arguments: Any) -> None:
        raise ValueError("in a " + where)

    if where == "slot":
        box = qt.QSpinBox()
        box.connect("valueChanged(int)", broken)
        box.value = 3
    if where == "timer":
        qt.QTimer.singleShot(0, lambda: broken())
    if where == "observer":
        node = slicer.vtkMRMLScalarVolumeNode()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, broken)
        node.Modified()
    app.processEvents()
    assert [text for text in app.errors if "in a " + where in text]
    app.errors.clear()


# Views


def test_font_size_of_a_legend_s_title_is_ignored(views: Any) -> None:
    """The box decides: without a short title and a small box the legend covers the brain."""
    import slicer

    from modality_synthesis.slicer import display

    head = add_head(matrix=head_matrix(angle=0))
    slicer.util.setSliceViewerLayers(background=head, fit=True)
    display.addLegend(head, "SUVR")
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(head)
    display.refreshLegends()
    legend.GetTitleTextProperty().SetFontSize(6)
    small = views.sliceWidget("Red").picture()
    legend.GetTitleTextProperty().SetFontSize(40)
    legend.Modified()
    assert np.array_equal(views.sliceWidget("Red").picture(), small)


def test_layers_set_from_python_leave_legends_as_they_are(views: Any) -> None:
    import slicer

    from modality_synthesis.slicer import display

    head = add_head(matrix=head_matrix(angle=0))
    display.addLegend(head, "SUVR")
    slicer.util.setSliceViewerLayers(background=head, fit=True)
    before = views.sliceWidget("Red").picture()
    display.refreshLegends()
    assert (views.sliceWidget("Red").picture() != before).any()


def test_settings_of_a_view_live_as_long_as_the_view(views: Any) -> None:
    """Also over the closing of the scene: what a layout of ours changes must be changed back."""
    import slicer

    node = views.sliceWidget("Red").mrmlSliceNode()
    views.sliceWidget("Red").sliceController().visible = False
    slicer.mrmlScene.Clear(False)
    assert views.sliceWidget("Red").mrmlSliceNode() is node
    assert not views.sliceWidget("Red").sliceController().visible
    views.sliceWidget("Red").sliceController().visible = True


@pytest.mark.parametrize("group", [0, 7])
def test_views_without_a_group_of_their_own_are_in_that_of_the_standard_views(views: Any, group: int) -> None:
    """Linked ones take the standard views along, though these are not linked themselves."""
    named = f'<property name="viewgroup" action="default">{group}</property>' if group else ""
    view = f'<item><view class="vtkMRMLSliceNode" singletontag="Try-{group}">{named}</view></item>'
    views.layoutLogic().GetLayoutNode().AddLayoutDescription(9800 + group, f'<layout type="horizontal">{view}</layout>')
    views.setLayout(9800 + group)
    made, red = (views.sliceWidget(name).mrmlSliceNode() for name in (f"Try-{group}", "Red"))
    assert (made.GetViewGroup() == red.GetViewGroup()) == (group == 0)


def test_every_entry_is_accounted_for() -> None:
    """A new entry in the file asks for a test here, or for a reason why there is none."""
    from slicer_host import api

    accounted = {
        "slicer.util.setSliceViewerLayers": test_layers_set_from_python_leave_legends_as_they_are,
        "ctkPathLineEdit.currentPathChanged": test_clearing_a_path_field_sends_no_path,
        "parameters.connectGui": test_a_stored_choice_that_is_gone_binds_nothing,
        "qMRMLNodeComboBox minimum width": test_a_selector_is_as_wide_as_its_longest_name,
        "main window resize": "the host has no main window; the widths of layouts are tested in test_views",
        "slicer.util.loadScene": test_loading_a_missing_scene_raises,
        "QSettings values": test_settings_come_back_as_text_in_the_next_process,
        "vtkMRMLColorLegendDisplayNode.SetOrientation": test_legend_orientation_is_an_enum,
        "qt.QMouseEvent": "not used",
        "slicer.app.coreIOManager().fileTypes": "the host has no such method",
        "slicer.app.setStyle": "the host has no such method",
        "setting an unknown attribute": test_a_misspelt_parameter_is_accepted_and_stored_nowhere,
        "slicer.testing": test_testing_must_be_imported,
        "vtkSlicerSegmentationsModuleLogic.ImportLabelmap": "not used",
        "views of a layout without": test_views_without_a_group_of_their_own_are_in_that_of_the_standard_views,
        "loadVolume(path, {'autoWindowLevel'": test_auto_window_cannot_be_switched_off_on_loading,
        "parameters.default(name)": test_default_is_an_object_with_the_value,
    }
    entries = [entry["what"] for entry in api.content()["behaves_differently"]]
    assert len(entries) == len(accounted)
    for entry in entries:
        [reason] = [reason for start, reason in accounted.items() if entry.startswith(start)]
        assert isinstance(reason, (str, Callable))
