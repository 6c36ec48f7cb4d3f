"""SUVR and the views: outlines of the regions, a click in the table, the table in a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import add_head, head_matrix, install_card
from test_flow import click_and_wait


@pytest.fixture
def measured(views: Any, open_panel: Any, wait: Any, tmp_path: Path) -> Any:
    """A panel whose synthetic PET was measured."""
    install_card(tmp_path / "models", "pet")
    add_head(matrix=head_matrix(angle=0))
    panel = open_panel()
    panel.parameters.model = "pet"
    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "suvr")
    return panel


def outlines(panel: Any) -> Any:
    """The segmentation of the measured regions."""
    from modality_synthesis.slicer import regions

    return regions.of(panel.parameters.suvrTable)


def shown(panel: Any) -> set:
    """The names of the regions that are outlined."""
    node = outlines(panel)
    if not node.GetDisplayNode().GetVisibility():
        return set()
    segments = node.GetSegmentation()
    identifiers = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]
    visible = [name for name in identifiers if node.GetDisplayNode().GetSegmentVisibility(name)]
    return {segments.GetSegment(name).GetName() for name in visible}


def row_of(panel: Any, region: str) -> int:
    """Where a region stands in the table of the scene, and of the panel."""
    column = panel.parameters.suvrTable.GetTable().GetColumnByName("region")
    return [column.GetValue(row) for row in range(column.GetNumberOfValues())].index(region)


def test_regions_are_outlined_and_named(measured: Any, views: Any, app: Any) -> None:
    """Names reach the data probe from the segments; the inside stays free for the PET."""
    assert shown(measured) == {"Precuneus, left", "Precuneus, right"}
    display = outlines(measured).GetDisplayNode()
    assert display.GetVisibility2DOutline()
    assert not display.GetVisibility2DFill()
    assert not display.GetVisibility3D()
    app.processEvents()
    view = views.sliceWidget("Red")
    with_outlines = view.picture().astype(int)
    measured.ui.suvrOutlinesCheckBox.checked = False
    assert shown(measured) == set()
    changed = np.abs(view.picture().astype(int) - with_outlines).max(axis=-1) > 20
    assert 100 < changed.sum() < 0.1 * changed.size  # lines, no areas
    measured.ui.suvrOutlinesCheckBox.checked = True
    assert len(shown(measured)) == 2


def test_measuring_again_adds_no_second_outlines(measured: Any, wait: Any) -> None:
    import slicer

    click_and_wait(measured, wait, "suvr")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 2  # all regions, and the bars' meta-regions
    assert len(shown(measured)) == 2
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")}
    assert names == set()  # what the outlines were made from


def test_a_click_on_a_region_goes_there(measured: Any, views: Any, app: Any) -> None:
    import slicer

    expected = {"precuneus": {"Precuneus, left"}, "tau meta-temporal": {"Precuneus, left", "Precuneus, right"}}
    places = []
    for region, names in expected.items():
        measured.ui.suvrTableWidget.cellClicked.emit(row_of(measured, region), 0)
        assert shown(measured) == names
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        place = np.array(crosshair.GetCrosshairRAS())
        assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
        for name, axis in (("Red", 2), ("Green", 1), ("Yellow", 0)):
            center = views.sliceWidget(name).mrmlSliceNode().GetSliceToRAS().GetElement(axis, 3)
            assert center == pytest.approx(place[axis], abs=0.01)
        places.append(place)
    assert places[0][0] != pytest.approx(places[1][0], abs=5)  # left, and right of the middle
    before = shown(measured)
    measured.ui.suvrTableWidget.cellClicked.emit(row_of(measured, "cerebellar gray"), 0)
    assert "outside the image" in measured.ui.suvrStatusLabel.text
    assert shown(measured) == before
    measured.ui.suvrTableWidget.cellClicked.emit(row_of(measured, "precuneus"), 0)
    measured.ui.suvrOutlinesCheckBox.checked = False
    measured.ui.suvrOutlinesCheckBox.checked = True
    assert len(shown(measured)) == 2  # all of them again


def test_the_place_follows_a_transform_of_the_volumes(views: Any, open_panel: Any, wait: Any, tmp_path: Path) -> None:
    import slicer

    install_card(tmp_path / "models", "pet")
    head = add_head(matrix=head_matrix(angle=0))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = np.eye(4)
    moved[:3, 3] = (0, 0, 40)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    head.SetAndObserveTransformNodeID(transform.GetID())
    panel = open_panel()
    panel.parameters.model = "pet"
    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "suvr")
    panel.ui.suvrTableWidget.cellClicked.emit(row_of(panel, "precuneus"), 0)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    bounds = np.zeros(6)
    head.GetRASBounds(bounds)  # of the moved head
    assert crosshair.GetCrosshairRAS()[2] == pytest.approx((bounds[4] + bounds[5]) / 2, abs=7)


def test_z_scores_are_shown_when_a_normal_cohort_is_set(measured: Any, views: Any, wait: Any, tmp_path: Path) -> None:
    (tmp_path / "normal.csv").write_text("region,mean,sd\n", encoding="utf-8")
    measured.parameters.normalCohort = tmp_path / "normal.csv"
    click_and_wait(measured, wait, "suvr")
    composite = views.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == measured.parameters.zVolume.GetID()


def test_the_table_is_exported_with_its_record(measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    def export(chosen: str) -> None:
        monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *arguments: chosen)
        measured.ui.exportSuvrTableButton.click()

    before = sorted(tmp_path.iterdir())
    export("")  # the dialog was closed
    assert sorted(tmp_path.iterdir()) == before
    for name, written, delimiter in (
        ("SUVR für alle.csv", "SUVR für alle.csv", ","),
        ("suvr.tsv", "suvr.tsv", "\t"),
        ("suvr", "suvr.csv", ","),
    ):
        export(str(tmp_path / name))
        with (tmp_path / written).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        found = {row["region"]: row for row in rows}
        assert found["tau meta-temporal"]["suvr"] == "1.31"
        assert found["precuneus"]["z"] == ""
        record = json.loads((tmp_path / f"{written}.json").read_text(encoding="utf-8"))
        assert record["ReferenceRegion"] == "cerebellar-gray"
    measured.parameters.suvrTable = None
    assert not measured.ui.exportSuvrTableButton.enabled
