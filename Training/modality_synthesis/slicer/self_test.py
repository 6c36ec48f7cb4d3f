"""The modules' self test: the panel opens and is bound, and the logic works on a small made-up volume without a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import slicer

from modality_synthesis.slicer import exchange, results
from modality_synthesis.slicer.cards import Card
from modality_synthesis.slicer.logic import SynthesisLogic
from modality_synthesis.slicer.preflight import refusal


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
