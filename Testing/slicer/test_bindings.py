"""What is bound to the parameter node: path fields that can be emptied, choices that are shown in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import MODULES

PATHS = {"batchTable": "batchTablePathLineEdit", "batchFolder": "batchFolderPathLineEdit",
         "exportFolder": "exportFolderPathLineEdit", "normalCohort": "normalCohortPathLineEdit"}  # fmt: skip


@pytest.fixture(params=sorted(PATHS))
def field(request: Any, open_panel: Any) -> tuple:
    """The panel, the name of a path parameter, its field."""
    panel = open_panel()
    return panel, request.param, getattr(panel.ui, PATHS[request.param])


def test_a_path_field_can_be_cleared(field: tuple) -> None:
    """The application's path field sends no `currentPathChanged` when its text becomes empty."""
    panel, name, edit = field
    assert edit.currentPath == ""
    assert getattr(panel.parameters, name) is None
    edit.currentPath = "/data/Ärzte/cohort.csv"
    assert getattr(panel.parameters, name) == Path("/data/Ärzte/cohort.csv")
    edit.currentPath = ""  # as typing does
    assert getattr(panel.parameters, name) is None
    setattr(panel.parameters, name, Path("/other"))
    assert edit.currentPath == "/other"
    setattr(panel.parameters, name, None)
    assert edit.currentPath == ""
    panel.exit()
    panel.enter()
    edit.currentPath = "/again"
    assert getattr(panel.parameters, name) == Path("/again")


def test_paths_are_in_the_saved_scene(open_panel: Any, tmp_path: Path) -> None:
    import slicer

    panel = open_panel()
    panel.parameters.exportFolder = tmp_path
    scene = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(False)
    panel.initializeParameterNode()
    assert panel.ui.exportFolderPathLineEdit.currentPath == ""
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Import()
    panel.initializeParameterNode()
    assert panel.parameters.exportFolder == tmp_path
    assert panel.ui.exportFolderPathLineEdit.currentPath == str(tmp_path)
    assert panel.parameters.batchFolder is None


@pytest.mark.parametrize(("stored", "read"), [("/old/folder", Path("/old/folder")), (".", None), ("", None)])
def test_paths_of_older_scenes_are_read(open_panel: Any, stored: str, read: Path | None) -> None:
    """Older versions stored a path under the parameter's own name, and "." for none."""
    panel = open_panel()
    node = panel.parameters.parameterNode
    panel.setParameterNode(None)
    for parameter in PATHS:
        node.UnsetParameter(f"{parameter}.1")
        node.SetParameter(parameter, stored)
    panel.initializeParameterNode()
    assert {getattr(panel.parameters, name) for name in PATHS} == {read}
    assert panel.ui.exportFolderPathLineEdit.currentPath == ("" if read is None else str(read))
    panel.parameters.exportFolder = None
    panel.initializeParameterNode()
    assert panel.parameters.exportFolder is None  # the old value does not come back


@pytest.mark.parametrize("name", MODULES)
def test_choices_are_words_and_stored_as_before(open_panel: Any, name: str) -> None:
    import qt

    from modality_synthesis.slicer.parameters import choiceOf

    panel = open_panel(name)
    panel.exit()
    panel.enter()  # binding fills the boxes with the values again
    seen = 0
    for box in panel._uiWidget.findChildren(qt.QComboBox):
        parameter = box.property("SlicerParameterName")
        if not parameter:
            continue
        seen += 1
        choices = choiceOf(panel.parameters.allParameters[parameter]).choices
        for index, value in enumerate(choices):
            text = box.itemText(index)
            assert "-" not in text.replace(" - ", "").replace("z-scores", "")
            assert text[0].isupper() or text == "z-scores"
            box.currentIndex = index
            assert getattr(panel.parameters, parameter) == value
        setattr(panel.parameters, parameter, choices[0])
        assert box.currentIndex == 0
    assert seen > 4


def test_the_reference_region_is_named(open_panel: Any) -> None:
    panel = open_panel()
    assert panel.ui.referenceRegionComboBox.currentText == "Cerebellar gray matter"
    assert panel.parameters.referenceRegion == "cerebellar-gray"
    assert panel.parameters.parameterNode.GetParameter("referenceRegion") == "cerebellar-gray"


@pytest.mark.parametrize("name", MODULES)
def test_tips_call_choices_as_the_forms_do_and_numbers_have_units(open_panel: Any, name: str) -> None:
    import ctk
    import qt

    from modality_synthesis.names import REFERENCE_REGIONS

    panel = open_panel(name)
    fields = [w for kind in (qt.QComboBox, qt.QDoubleSpinBox, ctk.ctkSliderWidget)
              for w in panel._uiWidget.findChildren(kind) if w.property("SlicerParameterName")]  # fmt: skip
    assert len(fields) > 6
    for field in fields:
        assert not [one for one in REFERENCE_REGIONS if "-" in one and one in field.toolTip], field.objectName
        unit = getattr(field, "suffix", "").strip()
        assert unit in field.toolTip, field.objectName
