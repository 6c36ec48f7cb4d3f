"""What the Compare and SUVR sections measure and show, with the fake worker."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import add_head, install_card
from test_flow import click_and_wait, compared, node_ids


@pytest.fixture
def ready(open_panel: Any, tmp_path: Path) -> Any:
    """A panel with a head and a model."""
    install_card(tmp_path / "models", "pet", inference={"mode": "whole", "stochastic": True})
    install_card(tmp_path / "models", "mr", "CT", "T1w")

    def ready_(module: str = "MRItoPETSynthesis") -> Any:
        add_head(ct=module == "CTtoMRSynthesis")
        panel = open_panel(module)
        panel.parameters.model = "mr" if module == "CTtoMRSynthesis" else "pet"
        return panel

    return ready_


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list:
    """The command lines that the worker gets."""
    from modality_synthesis.slicer.job import Job

    lines: list = []
    start = Job.start

    def recorded(self: Any, arguments: list, needsResult: bool = True) -> None:
        lines.append(arguments)
        start(self, arguments, needsResult)

    monkeypatch.setattr(Job, "start", recorded)
    return lines


@pytest.fixture
def picked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Answers the question for a folder with `folder`, and keeps in `opened` what is opened."""
    import qt

    answers: dict = {"folder": "", "opened": []}
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *arguments: answers["folder"])
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: answers["opened"].append(url.toLocalFile()))
    return answers


def shown_table(widget: Any) -> list:
    """The rows that a QTableWidget shows, with the titles first."""
    columns = range(widget.columnCount)
    titles = [widget.horizontalHeaderItem(column).text() for column in columns]
    return [titles, *([widget.item(row, column).text() for column in columns] for row in range(widget.rowCount))]


def active_chart() -> Any:
    """The chart in the plot views."""
    import slicer

    return slicer.util.getNode(slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID())


def test_metrics_show_mask_and_whole_volume_with_definitions(ready: Any, wait: Any) -> None:
    panel = ready()
    compared(panel, wait)
    titles, *rows = shown_table(panel.ui.metricsTableWidget)
    assert titles == ["Metric", "In mask", "Whole\nvolume"]
    mae = next(row for row in rows if row[0] == "MAE (SUVR)")
    assert float(mae[1]) == pytest.approx(2 * float(mae[2]), rel=1e-2)
    assert next(row for row in rows if row[0] == "PSNR")[1] == ""  # infinite: JSON holds null
    tip = panel.ui.metricsTableWidget.item(0, 1).toolTip()
    assert tip == "Mean absolute error\nmean absolute error\nBest: 0"
    table = panel.parameters.metricsTable.GetTable()
    assert table.GetColumnName(5) == "Definition"


def test_regions_are_compared_where_the_mri_is_known(ready: Any, wait: Any, asked: list) -> None:
    panel = ready()
    compared(panel, wait)
    assert "--mri" in asked[-1]
    assert "--uncertainty" not in asked[-1]
    panel.ui.comparisonTableComboBox.currentText = "Regions"
    titles, first, second = shown_table(panel.ui.metricsTableWidget)
    assert titles == ["Region", "Side", "Synthetic\n(SUVR)", "Reference\n(SUVR)", "Bias\n(%)"]
    assert first[:5] == ["FDG AD signature", "both", "1.2", "1.25", "-4"]  # meta-regions first
    assert second[:2] == ["Precuneus", "left"]
    assert "Volume: 10 ml" in panel.ui.metricsTableWidget.item(1, 0).toolTip()
    panel.ui.comparisonPlotButton.click()
    bars = active_chart()
    series = [bars.GetNthPlotSeriesNode(index) for index in range(bars.GetNumberOfPlotSeriesNodes())]
    assert [node.GetYColumnName() for node in series] == ["synthetic_mean", "reference_mean"]
    assert {node.GetPlotType() for node in series} == {series[0].PlotTypeBar}
    assert series[0].GetTableNode().GetNumberOfRows() == 1
    panel.ui.compareRegionsCheckBox.checked = False
    click_and_wait(panel, wait, "compare")
    assert "--mri" not in asked[-1]
    assert panel.parameters.regionsTable is None
    assert panel.ui.metricsTableWidget.rowCount == 0
    assert not panel.ui.comparisonPlotButton.enabled


@pytest.mark.parametrize("coregister", [False, True])
def test_an_mri_target_shows_the_way_to_the_atlas_itself(ready: Any, wait: Any, asked: list, coregister: bool) -> None:
    """CT to T1w: the measured T1w MRI leads to the atlas; the synthetic one when the measured one is to be moved."""
    from modality_synthesis.slicer import comparison

    panel = ready("CTtoMRSynthesis")
    synthetic = compared(panel, wait, coregister=coregister)
    assert "--mri" in asked[-1]
    reference = add_head("measured")
    request = comparison.Request(synthetic, reference, coregister=coregister, regions=True)
    assert request.mri is (synthetic if coregister else reference)


def test_the_uncertainty_is_judged(ready: Any, wait: Any, asked: list) -> None:
    panel = ready()
    panel.parameters.samples = 4
    compared(panel, wait)
    assert "--uncertainty" in asked[-1]
    names = [row[0] for row in shown_table(panel.ui.metricsTableWidget)]
    assert "AUSE" in names
    panel.parameters.comparisonTable = "Calibration"
    titles, first, _second = shown_table(panel.ui.metricsTableWidget)
    assert titles == ["Nominal level", "Coverage", "Calibrated", "Interval width"]
    assert first == ["0.5", "0.41", "0.5", "0.1"]
    panel.ui.comparisonPlotButton.click()
    assert active_chart().GetNumberOfPlotSeriesNodes() == 2
    panel.parameters.samples = 1
    click_and_wait(panel, wait)
    click_and_wait(panel, wait, "compare")
    assert "--uncertainty" not in asked[-1]  # it was that of the result before
    assert panel.parameters.calibrationTable is None


def test_report_goes_where_the_user_says_and_is_opened(ready: Any, wait: Any, tmp_path: Path, picked: dict) -> None:
    panel = ready()
    assert not panel.ui.reportButton.enabled
    compared(panel, wait)
    assert not list(tmp_path.rglob("report.html"))
    before = node_ids()
    panel.ui.reportButton.click()  # no folder picked
    assert not panel.logic.running
    picked["folder"] = str(tmp_path)
    for suffix in ("", "_2"):
        panel.ui.reportButton.click()
        wait(lambda: not panel.logic.running)
        page = tmp_path / f"sub-01_T1w_FDG-PET_synthetic_comparison{suffix}" / "report.html"
        assert page.read_text(encoding="utf-8") == "<p>Model pet</p>"  # the volume's record came with it
        assert sorted(path.name for path in page.parent.iterdir()) == ["metrics.json", "regions.csv", "report.html"]
        assert picked["opened"][-1] == str(page)
        assert str(page) in panel.ui.compareStatusLabel.text
    assert node_ids() == before
    click_and_wait(panel, wait, "compare")
    assert len(picked["opened"]) == 2


def test_a_cancelled_report_leaves_nothing(
    ready: Any, wait: Any, tmp_path: Path, picked: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = ready()
    compared(panel, wait)
    picked["folder"] = str(tmp_path / "out")
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel.ui.reportButton.click()
    wait(lambda: panel.ui.compareProgressBar.value > 0)
    panel.ui.compareCancelButton.click()
    wait(lambda: not panel.logic.running)
    assert not list((tmp_path / "out").iterdir())
    assert picked["opened"] == []


def cohort(folder: Path) -> Path:
    """A file that stands for a normal cohort."""
    path = folder / "normal.csv"
    path.write_text("region,mean,sd\nprecuneus,1,0.1\n", encoding="utf-8")
    return path


def test_choices_are_those_of_the_worker(scene: Any) -> None:
    pytest.importorskip("SimpleITK")
    pytest.importorskip("pydantic")
    from modality_synthesis.preprocessing.atlas import REFERENCE_REGIONS
    from modality_synthesis.preprocessing.meta_regions import CENTILOID
    from modality_synthesis.slicer import parameters

    assert [*REFERENCE_REGIONS, parameters.CUSTOM_MASK] == parameters.REFERENCE_REGIONS
    assert [parameters.NO_TRACER, *CENTILOID] == parameters.TRACERS


def test_suvr_options_reach_the_worker_and_the_node(ready: Any, wait: Any, tmp_path: Path, asked: list) -> None:
    from modality_synthesis.slicer import results

    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.normalCohort = cohort(tmp_path)
    panel.ui.tracerComboBox.currentText = "Florbetapir"
    assert "Centiloids need" in panel.ui.suvrButton.toolTip
    panel.parameters.referenceRegion = "whole-cerebellum"
    panel.ui.pvcSpinBox.value = 6.0
    click_and_wait(panel, wait, "suvr")
    options = dict(zip(asked[-1], asked[-1][1:], strict=False))
    assert options["--tracer"] == "florbetapir"
    assert options["--pvc-fwhm"] == "6"
    assert options["--normal-cohort"] == str(tmp_path / "normal.csv")
    text = panel.ui.suvrFactsLabel.text
    assert "reference region Whole cerebellum" in text
    assert "corrected for 6 mm" in text
    assert "34 Centiloid (Florbetapir)" in text
    image = panel.parameters.suvrVolume
    assert image.GetAttribute("ModalitySynthesis.ReferenceRegion") == "whole-cerebellum"
    assert image.GetAttribute("ModalitySynthesis.Units") == "SUVR"
    assert results.sidecarOf(image)["PartialVolumeCorrection"]["fwhm_mm"] == 6
    titles, *rows = shown_table(panel.ui.suvrTableWidget)
    assert titles == ["Region", "Side", "SUVR", "z-score\n(SD)", "Asymmetry\n(%)"]
    assert rows[1][:5] == ["tau meta-temporal", "both", "1.31", "1", "-4"]

    panel.parameters.normalCohort = None
    panel.parameters.tracer = "none"
    panel.parameters.pvcFwhm = 0.0
    click_and_wait(panel, wait, "suvr")
    assert not {"--tracer", "--pvc-fwhm", "--normal-cohort", "--z-map"} & set(asked[-1])
    assert "Centiloid" not in panel.ui.suvrFactsLabel.text
    assert "z-score\n(SD)" not in shown_table(panel.ui.suvrTableWidget)[0]
    assert panel.parameters.zVolume is None


def test_a_lost_cohort_table_is_noticed(ready: Any, wait: Any, tmp_path: Path) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    panel.ui.normalCohortPathLineEdit.currentPath = str(tmp_path / "gone.csv")
    assert not panel.ui.suvrButton.enabled
    assert "normal cohort is not there" in panel.ui.suvrButton.toolTip


def test_z_map_has_diverging_colors_legend_and_threshold(ready: Any, wait: Any, tmp_path: Path) -> None:
    import slicer

    panel = ready()
    click_and_wait(panel, wait)
    assert not panel.ui.zThresholdSlider.enabled
    panel.parameters.normalCohort = cohort(tmp_path)
    click_and_wait(panel, wait, "suvr")
    z = panel.parameters.zVolume
    assert sorted(np.unique(slicer.util.arrayFromVolume(z)).round(3)) == [-3.4, 0.0, 1.0]
    assert z.GetAttribute("SyntheticData") == "YES"
    assert z.GetAttribute("ModalitySynthesis.Quantity") == "z-score"
    assert z.GetAttribute("ModalitySynthesis.NormalCohort") == "normal.csv"
    assert z.GetVoxelValueQuantity().GetCodeValue() == "ZSCORE"
    shown = z.GetDisplayNode()
    assert shown.GetWindowLevelMin() == -shown.GetWindowLevelMax()
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(z).GetTitleText() == "z"

    def opacity(value: float) -> float:
        color = [0.0] * 4
        share = (value - shown.GetWindowLevelMin()) / (shown.GetWindowLevelMax() - shown.GetWindowLevelMin())
        shown.GetColorNode().GetColor(round(share * 254), color)
        return color[3]

    assert [opacity(value) for value in (-3.4, -1.9, 0.0, 1.0, 2.5)] == [1, 0, 0, 0, 1]
    panel.ui.differenceThresholdSlider.value = 7
    panel.ui.zThresholdSlider.value = 0
    assert [opacity(value) for value in (-3.4, -1.9, 0.0, 1.0, 2.5)] == [1, 1, 0, 1, 1]  # 0: no norm
    assert panel.ui.differenceThresholdSlider.value == 7  # another color table


def test_z_map_is_not_offered_as_dicom(ready: Any, wait: Any, tmp_path: Path) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.normalCohort = cohort(tmp_path)
    click_and_wait(panel, wait, "suvr")
    panel.parameters.exportFolder = tmp_path
    panel.ui.exportSelector.setCurrentNode(panel.parameters.zVolume)
    panel.ui.exportButton.click()
    record = json.loads(next(tmp_path.glob("*z-scores*.json")).read_text(encoding="utf-8"))
    assert (record["Quantity"], record["SyntheticData"]) == ("z-score", True)
    panel.parameters.exportFormat = "DICOM series"
    assert "no record of its synthesis" in panel.ui.exportButton.toolTip


@pytest.mark.parametrize("kind", ["label map", "segmentation"])
def test_reference_region_from_a_mask(ready: Any, wait: Any, asked: list, kind: str) -> None:
    import slicer

    from modality_synthesis.slicer import exchange

    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.referenceRegion = "custom-mask"
    assert "Select the segmentation" in panel.ui.suvrButton.toolTip
    pet = panel.parameters.outputVolume
    labels = np.zeros(slicer.util.arrayFromVolume(pet).shape, np.int16)
    labels[5:8, 6:9, 10:14], labels[12:14, 6:9, 10:14] = 3, 7
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "cerebellum")
    exchange.setVolume(mask, labels, pet)
    if kind == "segmentation":
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.ImportLabelmapToSegmentationNode(mask, segmentation)
        segmentation.CreateDefaultDisplayNodes()
        hidden = segmentation.GetSegmentation().GetNthSegmentID(1)
        segmentation.GetDisplayNode().SetSegmentVisibility(hidden, False)
        mask = segmentation
    panel.parameters.referenceMask = mask
    before = node_ids()
    click_and_wait(panel, wait, "suvr")
    assert "--reference-region" not in asked[-1]
    facts = json.loads(panel.parameters.suvrVolume.GetAttribute("ModalitySynthesis.ReferenceMean"))
    assert facts == (36 if kind == "segmentation" else 60)  # what the fake worker counted in the mask
    assert panel.parameters.suvrVolume.GetName().endswith("SUVR (custom-mask)")
    new = [slicer.mrmlScene.GetNodeByID(name).GetName() for name in node_ids() - before]
    assert not any("mask" in name.lower() and "SUVR" not in name for name in new), new

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    mask.SetAndObserveTransformNodeID(transform.GetID())
    panel.update()
    assert "different transforms" in panel.ui.suvrButton.toolTip


def test_the_worker_is_told_what_is_synthetic(ready: Any, wait: Any, tmp_path: Path) -> None:
    """A volume that is handed over as a temporary file has its provenance beside it, with that file's own hash."""
    from modality_synthesis.slicer import results, suvr

    panel = ready()
    click_and_wait(panel, wait)
    synthetic, mri = panel.parameters.outputVolume, panel.parameters.inputVolume
    record = results.sidecarOf(synthetic)
    synthetic.SetAttribute(results.SIDECAR, json.dumps({**record, "SHA256": "0" * 64}))
    suvr.Request(synthetic, mri, "pons").arguments(str(tmp_path))
    written = json.loads((tmp_path / "pet.json").read_text(encoding="utf-8"))
    assert written["SyntheticData"] is True
    assert written["SHA256"] == hashlib.sha256((tmp_path / "pet.nrrd").read_bytes()).hexdigest()
    assert not (tmp_path / "mri.json").exists()
    # A node that only carries the attributes, as a difference map does, says so too.
    results.handOnMark(synthetic, mri)
    results.handOver(mri, str(tmp_path / "derived.nrrd"))
    derived = json.loads((tmp_path / "derived.json").read_text(encoding="utf-8"))
    assert derived["SyntheticData"] is True
    assert derived["Model"]["id"] == synthetic.GetAttribute("ModalitySynthesis.ModelId")


def test_older_tables_of_regions_are_read(scene: Any, tmp_path: Path) -> None:
    from modality_synthesis.slicer import tables

    for column in ("mean", "suvr"):
        path = tmp_path / f"{column}.csv"
        path.write_text(f"region,hemisphere,kind,{column}\nbraak_1,both,meta-region,1.2\n", encoding="utf-8")
        table = tables.makeRegions(column, str(path), ["suvr"], "TAU-PET")
        assert table.GetCellText(0, 4) == "1.2"
        assert table.GetCellText(0, 1) == "Braak I"
        assert table.GetColumnName(4) == "suvr"


@pytest.mark.parametrize(
    ("modality", "first"),
    [("FDG-PET", "FDG AD signature"), ("TAU-PET", "Tau meta-temporal"), ("AMYLOID-PET", "Amyloid cortical summary")],
)
def test_regions_that_matter_for_the_tracer_come_first(scene: Any, tmp_path: Path, modality: str, first: str) -> None:
    from modality_synthesis.preprocessing.atlas import regions
    from modality_synthesis.slicer import tables
    from modality_synthesis.slicer.sections.base import tableContent

    path = tmp_path / "regions.csv"
    lines = [f"{region.name},{region.hemisphere},{region.kind},1.23456" for region in regions()]
    path.write_text("\n".join(["region,hemisphere,kind,suvr", *lines]), encoding="utf-8")
    table = tables.makeRegions("regions", str(path), ["suvr"], modality)
    names = {"region": "Region", "hemisphere": "Side", "suvr": "SUVR", "name": "Name"}
    _, rows = tableContent(table, names)
    assert rows[:3] == [
        [first, "both", "1.23", first], [first, "left", "1.23", f"{first}, left"],
        [first, "right", "1.23", f"{first}, right"],
    ]  # fmt: skip
    assert len(rows) == len(regions())
    assert not any("_" in cell or "ctx" in cell for row in rows for cell in (row[0], row[3]))
    chart = tables.chartOf(table)
    series = chart.GetNthPlotSeriesNode(0)
    labels = series.GetTableNode().GetTable().GetColumnByName(series.GetLabelColumnName())
    assert labels.GetValue(0) == first


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99614, "0.996"), (1.31, "1.31"), (12.345, "12.3"), (123.4, "123"), (12345.6, "12346"), (0.00012345, "0.000123"),
     (-4.0, "-4"), (float("inf"), "∞"), (None, ""), ("left", "left")],
)  # fmt: skip
def test_numbers_have_three_digits(scene: Any, value: object, text: str) -> None:
    from modality_synthesis.slicer.tables import formatNumber

    assert formatNumber(value) == text


def test_tables_fit_the_panel(ready: Any, wait: Any, tmp_path: Path, app: Any) -> None:
    """No column is cut and nothing is to be scrolled sideways in a panel of 404 pixels."""
    panel = ready()
    panel.parameters.normalCohort = cohort(tmp_path)
    compared(panel, wait)
    click_and_wait(panel, wait, "suvr")
    panel.ui.compareCollapsibleButton.collapsed = panel.ui.suvrCollapsibleButton.collapsed = False
    panel.parent.resize(404, 1600)
    panel.parent.show()
    for kind in ("Metrics", "Regions"):
        panel.parameters.comparisonTable = kind
        for _ in range(3):
            app.processEvents()
        for table in (panel.ui.metricsTableWidget, panel.ui.suvrTableWidget):
            assert table.rowCount > 1
            header = table.horizontalHeader()
            assert header.length() <= table.viewport().width
            assert header.sectionSize(0) >= 100
            for column in range(1, table.columnCount):
                assert header.sectionSize(column) >= header.sectionSizeHint(column)
