"""The panel that both modules share: it loads the sections, ties them to the parameter node, and follows the scene."""

from __future__ import annotations

import os

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from modality_synthesis.slicer import connectors, dependencies, linked_views, marks, plots, remembered, results
from modality_synthesis.slicer.install_dialog import InstallDialog
from modality_synthesis.slicer.parameters import readOldPaths, resetUnknownChoices
from modality_synthesis.slicer.warm import warm

# A section may change the parameter node while it updates (the first model of a list); the others must see it.
MOST_ROUNDS = 4
CALM_MILLISECONDS = 1500
# Slicer's own documentation has no page for an extension's module.
HELP_PAGE = "https://github.com/ModalitySynthesis/SlicerModalitySynthesis#in-3d-slicer"
UI_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", "UI")


class SynthesisPanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Base of both modules' widgets. Subclasses name their logic, and their sections in the order shown.

    Attributes:
        ui: every named widget of the module's own `.ui` file and of the sections'.
        logic: the module's logic.
        parameters: the module's typed parameter node; None while there is no scene.
        sections: the section objects, by class name.
    """

    logicClass = None
    sectionClasses = ()
    synthesizeText = ""
    overlaysResult = False  # True draws the result over its source, False alone

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self.ui = None
        self.sections = {}
        self.marks = marks.marks()
        self._guiTag = None
        self._updating = False
        self._changedMeanwhile = False
        self._uiWidget = None
        self._calmTimer = None

    def setup(self) -> None:
        """Build the panel. Nothing is installed, loaded from the network, or started."""
        ScriptedLoadableModuleWidget.setup(self)
        self._uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(self._uiWidget)
        sectionWidgets = []
        for sectionClass in self.sectionClasses:
            if sectionClass.uiName:
                widget = slicer.util.loadUI(os.path.join(UI_FOLDER, sectionClass.uiName))
                self._uiWidget.layout().addWidget(widget)
                sectionWidgets.append(widget)
        self._uiWidget.layout().addStretch(1)
        self.ui = slicer.util.childWidgetVariables(self._uiWidget)
        for widget in (self._uiWidget, *sectionWidgets):
            widget.setMRMLScene(slicer.mrmlScene)

        self._calmTimer = qt.QTimer()
        self._calmTimer.setSingleShot(True)
        self._calmTimer.connect("timeout()", self._warmUp)

        self.logic = self.logicClass()
        self.sections = {cls.__name__: cls(self) for cls in self.sectionClasses}
        for section in self.sections.values():
            section.setup()
        remembered.rememberSections(self._uiWidget, self.moduleName)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The module is unloaded: end what runs, let everything go."""
        self._calmTimer.stop()
        self.logic.abandon()
        for section in self.sections.values():
            section.cleanup()
        warm.end()
        self.setParameterNode(None)
        self.removeObservers()
        self.marks.detach()
        plots.names().detach()

    def enter(self) -> None:
        """The user opens the module."""
        self.initializeParameterNode()
        self.marks.attach()
        plots.names().attach()

    def exit(self) -> None:
        """The user leaves the module. What runs goes on; the bindings of the widgets rest."""
        if self.parameters is not None and self._guiTag is not None:
            self.parameters.disconnectGui(self._guiTag)
            self._guiTag = None
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """The scene goes away: a running job would have nowhere to put its result."""
        self.logic.abandon()
        for section in self.sections.values():
            section.onSceneClose()
        self.setParameterNode(None)
        self.marks.detach()
        linked_views.views().leave()

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """The scene is empty again."""
        self.marks.attach()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: object, event: str) -> None:
        """A scene was loaded: take over its parameter node."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Make sure that the parameter node exists, and that an input is chosen when there is one."""
        self.setParameterNode(self.logic.getParameterNode())
        if self.parameters.inputVolume is None:
            self.parameters.inputVolume = self._likelyInput()

    def _likelyInput(self) -> object:
        """A measured volume of the scene, the one in the views before others; None when there is none."""
        volumes = [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if type(node) is slicer.vtkMRMLScalarVolumeNode and not results.isSynthetic(node)
        ]
        shown = linked_views.shownVolumes()
        return next((node for node in volumes if node.GetID() in shown), volumes[0] if volumes else None)

    def setParameterNode(self, parameters: object) -> None:
        """Bind the widgets to a parameter node, and release the one before."""
        if self.parameters is not None and self._guiTag is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._guiTag = None
        self.parameters = parameters
        if parameters is not None:
            readOldPaths(parameters)
            resetUnknownChoices(parameters)
            self._guiTag = parameters.connectGui(self.ui)
            connectors.nameChoices(parameters, self._uiWidget)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            for section in self.sections.values():
                section.onBound()
            self.update()

    def update(self) -> None:
        """Bring every section in line with the parameter node."""
        if self._updating:
            self._changedMeanwhile = True
            return
        self._updating = True
        try:
            for _round in range(MOST_ROUNDS):
                self._changedMeanwhile = False
                for section in self.sections.values():
                    if self.parameters is not None:
                        section.update()
                if not self._changedMeanwhile:
                    break
        finally:
            self._updating = False

    def card(self) -> object:
        """The chosen model's card, or None."""
        return self.logic.model(self.parameters.model) if self.parameters is not None else None

    def ready(self) -> bool:
        """True when the worker's packages are there; otherwise asks to install them."""
        missing = dependencies.missing()
        return not missing or InstallDialog(missing, self.parent, self.log).run()

    def warmUpSoon(self) -> None:
        """The main job could be started: have a worker ready for it, once what goes on now is done."""
        if not self._calmTimer.isActive():
            self._calmTimer.start(CALM_MILLISECONDS)

    def _warmUp(self) -> None:
        if self.parent.isEntered and not dependencies.missing():
            self.logic.warmUp()

    def log(self, text: str) -> None:
        """Add a line to the log under Advanced."""
        if hasattr(self.ui, "logTextEdit"):
            self.ui.logTextEdit.appendPlainText(text)

    def later(self, function: object) -> None:
        """Call a function once the event loop is idle."""
        qt.QTimer.singleShot(0, function)

    def _onParametersModified(self, caller: object = None, event: str | None = None) -> None:
        self.update()
