"""The modules' self test: the panel opens and is bound, the logic works on a small made-up volume, and the main job, done by
a worker that needs no model and no package, shows its result, the comparison, a legend, a plot and tables.

It runs inside Slicer and on the project's test bench.
"""

from __future__ import annotations

import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import slicer
import vtk

from modality_synthesis.slicer import exchange, results, tables
from modality_synthesis.slicer.cards import Card
from modality_synthesis.slicer.command import PYTHON_VARIABLE, WorkerCommand, slicer_python
from modality_synthesis.slicer.logic import SynthesisLogic
from modality_synthesis.slicer.preflight import refusal

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "self_test_worker.py")
LONGEST_SECONDS = 120.0
# What a legend may take of a view, and the longest word that fits its box.
LARGEST_LEGEND = (0.15, 0.55)
LONGEST_TITLE = 8


class SynthesisSelfTest:
    """Mixed into each module's Test class, which names its logic."""

    logicClass = SynthesisLogic

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (
            self.test_panel_opens_and_is_bound,
            self.test_panel_opens_a_scene_of_another_version,
            self.test_parameters_keep_their_values,
            self.test_result_lies_on_its_source,
            self.test_bad_input,
            self.test_main_job_and_what_it_shows,
        ):
            self.setUp()
            with raisedInSlots() as raised:
                test()
            self.assertEqual(raised, [])
        self.delayDisplay("Test passed")

    def openPanel(self) -> object:
        """The module's panel, as a user opens it (without a main window it is built only)."""
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule(self.moduleName())
        slicer.app.processEvents()
        return slicer.util.getModuleWidget(self.moduleName())

    def moduleName(self) -> str:
        return type(self).__name__.removesuffix("Test")

    def test_panel_opens_and_is_bound(self) -> None:
        """Widgets follow the parameter node, and the node follows the widgets."""
        panel = self.openPanel()
        panel.initializeParameterNode()
        panel.parameters.samples = 3
        self.assertEqual(panel.ui.samplesSpinBox.value, 3)
        panel.ui.samplesSpinBox.value = 2
        self.assertEqual(panel.parameters.samples, 2)

    def test_panel_opens_a_scene_of_another_version(self) -> None:
        """A stored choice that is offered no more becomes the default; the panel stays bound."""
        panel = self.openPanel()
        panel.initializeParameterNode()
        panel.setParameterNode(None)
        self.logicClass().getParameterNode().parameterNode.SetParameter("device", "abacus")
        panel.initializeParameterNode()
        self.assertEqual(panel.parameters.device, "auto")
        panel.parameters.samples = 3
        self.assertEqual(panel.ui.samplesSpinBox.value, 3)

    def test_parameters_keep_their_values(self) -> None:
        """What is set is read back from the scene's node."""
        volume = makeVolume()
        parameters = self.logicClass().getParameterNode()
        parameters.inputVolume = volume
        parameters.seed = 7
        again = self.logicClass().getParameterNode()
        self.assertEqual(again.seed, 7)
        self.assertEqual(again.inputVolume.GetID(), volume.GetID())

    def test_result_lies_on_its_source(self) -> None:
        """A result has its source's grid and says that it is synthetic."""
        volume = makeVolume()
        array = slicer.util.arrayFromVolume(volume).astype(np.float32) / 100
        result = results.makeResult(array, volume, makeCard(self.logicClass), {"SyntheticData": True})
        self.assertTrue(results.isSynthetic(result))
        self.assertTrue(np.array_equal(exchange.ijkToRas(result), exchange.ijkToRas(volume)))
        self.assertEqual(results.sourceOf(result).GetID(), volume.GetID())
        self.assertTrue(result.GetName().endswith("(synthetic)"))

    def test_bad_input(self) -> None:
        """A volume without an image in it is refused with the reason."""
        volume = makeVolume()
        slicer.util.updateVolumeFromArray(volume, np.zeros((16, 16, 16), np.float32))
        findings = self.logicClass().preflight(volume, makeCard(self.logicClass))
        self.assertIn("same value everywhere", refusal(findings))

    def test_main_job_and_what_it_shows(self) -> None:
        """Synthesize, compare, and for PET measure SUVR: pictures, legends, tables and plots are there."""
        panel = self.openPanel()
        panel.initializeParameterNode()
        before = panel.logic.workerCommand
        with withoutPackages():
            panel.logic.workerCommand = WorkerCommand(slicer_python(), [WORKER])
            try:
                self.checkSynthesis(panel)
                self.checkComparison(panel)
                if "SuvrSection" in panel.sections:
                    self.checkSuvr(panel)
            finally:
                panel.logic.workerCommand = before

    def checkSynthesis(self, panel: object) -> None:
        panel.parameters.inputVolume = makeHead("CT" in self.logicClass.sources)
        models = [
            card for card in panel.logic.models() if not any(one.get("required") for one in card.clinical_variables)
        ]
        self.assertTrue(models, "no model of this route")
        panel.parameters.model = models[0].id
        panel.update()
        self.runJob(panel, "synthesize")
        made = panel.parameters.outputVolume
        self.assertTrue(results.isSynthetic(made))
        self.assertTrue(np.array_equal(exchange.ijkToRas(made), exchange.ijkToRas(panel.parameters.inputVolume)))
        self.checkLegends()

    def checkComparison(self, panel: object) -> None:
        made = panel.parameters.outputVolume
        measured = slicer.util.arrayFromVolume(made) * 0.7
        panel.parameters.referenceVolume = slicer.util.addVolumeFromArray(
            measured.astype(np.float32), exchange.ijkToRas(made), "Measured"
        )
        panel.update()
        self.runJob(panel, "compare")
        difference = panel.parameters.differenceVolume
        self.assertTrue(
            np.allclose(slicer.util.arrayFromVolume(difference), slicer.util.arrayFromVolume(made) * 0.3, atol=1e-4)
        )
        self.checkLegends()
        table = panel.ui.metricsTableWidget
        self.assertGreater(table.rowCount, 1)
        self.assertTrue(all(table.item(row, 0).text() for row in range(table.rowCount)))
        if panel.parameters.regionsTable is not None:
            panel.parameters.comparisonTable = "Regions"
            self.checkPlot(panel.ui.comparisonPlotButton, tables.chartOf(panel.parameters.regionsTable), named=True)
        panel.parameters.comparisonTable = "Metrics"
        self.checkPlot(panel.ui.comparisonPlotButton, tables.chartOf(panel.parameters.metricsTable), named=False)
        panel.ui.showComparisonButton.click()
        self.turn()
        self.checkLayout(difference)

    def checkSuvr(self, panel: object) -> None:
        self.runJob(panel, "suvr")
        self.assertGreater(panel.ui.suvrTableWidget.rowCount, 1)
        self.checkPlot(panel.ui.showSuvrPlotButton, tables.chartOf(panel.parameters.suvrTable), named=True)
        self.checkLegends()

    def runJob(self, panel: object, prefix: str) -> None:
        """Press a job's button and wait for the end of the job."""
        button = getattr(panel.ui, prefix + "Button")
        self.assertTrue(button.enabled, button.toolTip)
        button.click()
        self.assertTrue(panel.logic.running)
        end = time.monotonic() + LONGEST_SECONDS
        while panel.logic.running and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)
        self.turn()
        status = getattr(panel.ui, prefix + "StatusLabel").text
        self.assertFalse(panel.logic.running, status)
        self.assertNotIn("<b>", status)  # a failure says so in bold

    def turn(self) -> None:
        """Some turns of the event loop: views have their sizes, and legends are drawn, only then."""
        for _turn in range(5):
            slicer.app.processEvents()

    def checkLegends(self) -> None:
        """Small, with one short word: letters fill the legend's box, and the box must not reach the brain."""
        legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
        self.assertTrue(legends)
        for legend in legends:
            title = legend.GetTitleText()
            self.assertTrue(0 < len(title) <= LONGEST_TITLE and "\n" not in title, title)
            self.assertLessEqual(legend.GetSize()[0], LARGEST_LEGEND[0])
            self.assertLessEqual(legend.GetSize()[1], LARGEST_LEGEND[1])

    def checkLayout(self, difference: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Two by two views, and the difference in one of them."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:  # without a main window
            return
        description = ElementTree.fromstring(layoutManager.layoutLogic().GetLayoutNode().GetCurrentLayoutDescription())
        rows = [[view.get("singletontag") for view in row.iter("view")] for row in description.iter("layout")]
        names = rows[0]
        self.assertEqual([len(row) for row in rows], [4, 2, 2])
        shown = {}
        for name in names:
            widget = layoutManager.sliceWidget(name)
            composite = widget.sliceLogic().GetSliceCompositeNode()
            shown[name] = [composite.GetBackgroundVolumeID()]
            if composite.GetForegroundOpacity() > 0:
                shown[name].append(composite.GetForegroundVolumeID())
            self.assertTrue(widget.mrmlSliceNode().IsMappedInLayout())
        self.assertEqual(len([name for name in names if difference.GetID() in shown[name]]), 1)
        self.assertTrue(all(any(shown[name]) for name in names), shown)
        offsets = [layoutManager.sliceWidget(name).mrmlSliceNode().GetSliceOffset() for name in names]
        self.assertLess(max(offsets) - min(offsets), 1e-3)

    def checkPlot(self, button: object, chart: slicer.vtkMRMLPlotChartNode, named: bool) -> None:
        """The button shows the chart, with names under bars."""
        self.turn()
        self.assertTrue(button.enabled)
        button.click()
        self.turn()
        self.assertEqual(slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID(), chart.GetID())
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            return
        self.assertGreater(layoutManager.plotViewCount, 0)
        labels = layoutManager.plotWidget(0).plotView().chart().GetAxis(vtk.vtkAxis.BOTTOM).GetTickLabels()
        texts = [labels.GetValue(index) for index in range(labels.GetNumberOfValues())]
        self.assertTrue(texts)
        self.assertEqual(any(text.strip("-.0123456789e+") for text in texts), named, texts)


@contextmanager
def withoutPackages() -> Iterator[None]:
    """The panel does not ask for packages: a Python that the user chose answers for itself."""
    before = os.environ.get(PYTHON_VARIABLE)
    os.environ[PYTHON_VARIABLE] = slicer_python()
    try:
        yield
    finally:
        if before is None:
            del os.environ[PYTHON_VARIABLE]
        else:
            os.environ[PYTHON_VARIABLE] = before


@contextmanager
def raisedInSlots() -> Iterator[list]:
    """Collects what slots, timers and observers raise: Slicer only prints it, and the test would pass."""
    raised, before = [], sys.excepthook

    def hook(kind: type, error: BaseException, trace: object) -> None:
        raised.append(error)
        before(kind, error, trace)

    sys.excepthook = hook
    try:
        yield raised
        slicer.app.processEvents()
    finally:
        sys.excepthook = before


def makeVolume() -> slicer.vtkMRMLScalarVolumeNode:
    """A small oblique volume."""
    angle = np.deg2rad(12)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) * 8.0
    matrix[:3, 3] = (-90.0, -100.0, -70.0)
    array = np.random.default_rng(1).integers(0, 200, (18, 20, 22)).astype(np.int16)
    return slicer.util.addVolumeFromArray(array, matrix, "Head")


def makeHead(isCt: bool) -> slicer.vtkMRMLScalarVolumeNode:
    """A ball that passes for a head."""
    k, j, i = np.mgrid[0:28, 0:30, 0:26]
    radius = np.sqrt((k - 14.0) ** 2 + (j - 15.0) ** 2 + (i - 13.0) ** 2)
    noise = np.random.default_rng(3).normal(0, 4, radius.shape)
    head = np.where(radius < 12, 40 + noise, -1000) if isCt else np.where(radius < 12, 300 - 5 * radius + noise, 0)
    matrix = np.diag([6.0, 6.0, 6.0, 1.0])
    matrix[:3, 3] = (-78.0, -90.0, -84.0)
    return slicer.util.addVolumeFromArray(head.astype(np.int16), matrix, "Self test head")


def makeCard(logicClass: type) -> Card:
    """A card for the module's route."""
    quantity = "SUVR" if logicClass.targets[0].endswith("PET") else "signal"
    facts = {
        "id": "self-test",
        "name": "Self test",
        "version": "1.0.0",
        "badge": "demonstration",
        "route": {"source": logicClass.sources[0], "target": logicClass.targets[0]},
        "output": {"quantity": quantity, "units": quantity, "display_window": [0.0, 2.0], "colormap": None},
        "weights": {"sha256": "0" * 64},
    }
    return Card(folder=None, facts=facts)
