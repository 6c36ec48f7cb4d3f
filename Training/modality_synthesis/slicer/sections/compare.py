"""Compare: figures, difference maps and linked views of the synthetic volume against a measured one."""

from __future__ import annotations

from slicer.i18n import tr as _

from modality_synthesis.slicer import display, results, tables
from modality_synthesis.slicer.logic import unitsOf
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable


class CompareSection(JobSection):
    """How far the synthetic volume is from the measured one, and where."""

    uiName = "CompareSection.ui"
    prefix = "compare"

    def setup(self) -> None:
        super().setup()
        self._shownKind = None
        self._shownTable = None
        self.ui.showComparisonButton.connect("clicked(bool)", self.show)

    def update(self) -> None:
        super().update()
        synthetic = self.parameters.outputVolume
        self.ui.showComparisonButton.enabled = synthetic is not None
        difference = self.logic.differenceVolume(synthetic, self.parameters.differenceKind)
        if difference is not None and difference != self.parameters.differenceVolume:
            self.parameters.differenceVolume = difference
        kind = (self.parameters.differenceKind, self.parameters.comparisonOrientation)
        if self._shownKind not in (None, kind):
            self.show()
        elif self._shownKind is not None:
            display.setDifferenceOpacity(kind[1], self.parameters.differenceOpacity / 100)
        if difference is not None:
            self._applyThreshold()
        table = self.parameters.metricsTable
        if table is not self._shownTable:
            self._shownTable = table
            fillTable(self.ui.metricsTableWidget, *tableContent(table))

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.metricsTableWidget.visible = self.ui.metricsTableWidget.rowCount > 0

    def obstacle(self) -> str:
        synthetic, reference = self.parameters.outputVolume, self.parameters.referenceVolume
        if not results.isSynthetic(synthetic):
            return _("Synthesize a volume first, or pick one under Synthesis.")
        if reference is None:
            return _("Select the measured reference volume.")
        if reference == synthetic or results.isSynthetic(reference):
            return _("The reference must be a measured volume, not a synthetic one.")
        return ""

    def startJob(self) -> bool:
        return self.logic.startComparison(
            self.parameters.outputVolume,
            self.parameters.referenceVolume,
            self.onMessage,
            self.onFinished,
            coregister=self.parameters.coregister,
        )

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        self.parameters.metricsTable = made["metrics"]
        self._shownTable = None
        self.parameters.referenceVolume = made["reference"]
        self._matchReference()
        tables.showPlot(made["chart"])
        self.show()
        return _("Difference maps, figures and a histogram are in the scene.")

    def show(self) -> None:
        """Switch to the linked views source, synthetic, reference, difference."""
        synthetic = self.parameters.outputVolume
        if synthetic is None:
            return
        self._shownKind = (self.parameters.differenceKind, self.parameters.comparisonOrientation)
        volumes = {
            "Source": results.sourceOf(synthetic) or self.parameters.inputVolume,
            "Synthetic": synthetic,
            "Reference": self.parameters.referenceVolume,
            "Difference": self.logic.differenceVolume(synthetic, self.parameters.differenceKind),
        }
        display.showComparison(self._shownKind[1], volumes, self.parameters.differenceOpacity / 100)
        self.panel.marks.attach()

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._shownKind = self._shownTable = None

    def _applyThreshold(self) -> None:
        colors = display.differenceColorNode()
        threshold = f"{self.parameters.differenceThreshold / 100:g}"
        if colors.GetAttribute("ModalitySynthesis.Threshold") != threshold:
            display.setDifferenceThreshold(colors, float(threshold))
            colors.SetAttribute("ModalitySynthesis.Threshold", threshold)

    def _matchReference(self) -> None:
        """Show the reference in the synthetic volume's colors and range: only then can they be compared by eye."""
        synthetic, reference = self.parameters.outputVolume, self.parameters.referenceVolume
        reference.CreateDefaultDisplayNodes()
        shown = reference.GetDisplayNode()
        shown.SetAndObserveColorNodeID(synthetic.GetDisplayNode().GetColorNodeID())
        shown.AutoWindowLevelOff()
        shown.SetWindowLevelMinMax(*results.displayWindow(synthetic))
        display.addLegend(reference, _("Measured") + f"\n{results.cardTarget(synthetic)}\n{unitsOf(synthetic)}")


def tableContent(node: object) -> tuple:
    """A table node's header and rows, as text."""
    if node is None:
        return [], []
    table = node.GetTable()
    header = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    rows = [
        [cellText(table.GetValue(row, column)) for column in range(len(header))]
        for row in range(table.GetNumberOfRows())
    ]
    return header, rows


def cellText(variant: object) -> str:
    """A cell for people: four digits of a number, nothing for a missing one."""
    if not variant.IsDouble():
        return variant.ToString()
    value = variant.ToDouble()
    return tables.formatNumber(value) if value == value else ""
