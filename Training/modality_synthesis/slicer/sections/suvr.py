"""SUVR: PET over the MRI, and its means in atlas regions and meta-ROIs."""

from __future__ import annotations

from slicer.i18n import tr as _

from modality_synthesis.slicer import display, results, tables
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable
from modality_synthesis.slicer.sections.compare import tableContent


class SuvrSection(JobSection):
    """Regional uptake of the synthetic PET."""

    uiName = "SuvrSection.ui"
    prefix = "suvr"

    def setup(self) -> None:
        super().setup()
        self._chart = None
        self._overlay = None
        self._shownTable = None
        self.ui.showSuvrButton.connect("clicked(bool)", self.show)
        self.ui.showSuvrPlotButton.connect("clicked(bool)", self.onPlot)

    def update(self) -> None:
        super().update()
        self.ui.showSuvrButton.enabled = self._shownVolume() is not None
        self.ui.showSuvrPlotButton.enabled = self._chart is not None
        self.ui.uncertaintyCheckBox.enabled = self.parameters.uncertaintyVolume is not None
        overlay = (self.parameters.suvrOpacity, self.parameters.showUncertainty)
        if self._overlay not in (None, overlay):
            self.show()
        table = self.parameters.suvrTable
        if table is not self._shownTable:
            self._shownTable = table
            fillTable(self.ui.suvrTableWidget, *tableContent(table))

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.suvrTableWidget.visible = self.ui.suvrTableWidget.rowCount > 0

    def obstacle(self) -> str:
        pet = self.parameters.outputVolume
        if pet is None:
            return _("Synthesize a PET first, or pick one under Synthesis.")
        if self._mri() is None:
            return _("The MRI that the PET was made from is not in the scene.")
        return ""

    def startJob(self) -> bool:
        return self.logic.startSuvr(
            self.parameters.outputVolume, self._mri(), self.parameters.referenceRegion, self.onMessage, self.onFinished
        )

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        self._shownTable = None
        self._chart = made.get("chart")
        self.parameters.suvrTable = made["table"]
        self.parameters.suvrVolume = made["image"]
        self.show()
        return _("The SUVR image and its regions are in the scene.")

    def show(self) -> None:
        """Draw the SUVR image (or the PET, or its uncertainty) over the MRI."""
        volume = self._shownVolume()
        if volume is None:
            return
        self._overlay = (self.parameters.suvrOpacity, self.parameters.showUncertainty)
        display.showOverlay(self._mri(), volume, self.parameters.suvrOpacity / 100)
        self.panel.marks.attach()

    def onPlot(self) -> None:
        """Show the regions as bars."""
        if self._chart is not None:
            tables.showPlot(self._chart)

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._chart = self._overlay = self._shownTable = None

    def _mri(self) -> object:
        return results.sourceOf(self.parameters.outputVolume) or self.parameters.inputVolume

    def _shownVolume(self) -> object:
        if self.parameters.showUncertainty and self.parameters.uncertaintyVolume is not None:
            return self.parameters.uncertaintyVolume
        return self.parameters.suvrVolume or self.parameters.outputVolume
