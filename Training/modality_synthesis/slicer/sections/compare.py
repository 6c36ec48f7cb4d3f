"""Compare: figures, difference maps and linked views of the synthetic volume against a measured one."""

from __future__ import annotations

import html

import qt
from slicer.i18n import tr as _

from modality_synthesis import names
from modality_synthesis.slicer import comparison, display, linked_views, plots, results, tables
from modality_synthesis.slicer.linked_views import Cell
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable, regionTips, tableContent

DIFFERENCE_CELL = 3
# What the panel shows of each table; the nodes hold all columns.
COLUMNS = {
    "Metrics": {"Metric": _("Metric"), "In mask": _("In mask"), "Whole volume": _("Whole\nvolume"), "Unit": _("Unit")},
    "Regions": {
        "region": _("Region"),
        "hemisphere": _("Side"),
        "synthetic_mean": _("Synthetic"),
        "reference_mean": _("Reference"),
        "bias_percent": _("Bias\n(%)"),
    },
    "Calibration": None,
}


class CompareSection(JobSection):
    """How far the synthetic volume is from the measured one, and where."""

    uiName = "CompareSection.ui"
    prefix = "compare"

    def setup(self) -> None:
        super().setup()
        self._shownKind = None
        self._shownTable = None
        self._reportFolder = ""
        self._reportTip = self.ui.reportButton.toolTip
        self.ui.showComparisonButton.connect("clicked(bool)", self.show)
        self.ui.reportButton.connect("clicked(bool)", self.onReport)
        self.ui.comparisonPlotButton.connect("clicked(bool)", self.onPlot)

    def update(self) -> None:
        super().update()
        self.ui.reportButton.enabled = self.startButton.enabled
        self.ui.reportButton.toolTip = self._reportTip if self.startButton.enabled else self.startButton.toolTip
        synthetic = self.parameters.outputVolume
        self.ui.showComparisonButton.enabled = synthetic is not None
        difference = self.logic.differenceVolume(synthetic, self.parameters.differenceKind)
        if difference is not None and difference != self.parameters.differenceVolume:
            self.parameters.differenceVolume = difference
        kind = (self.parameters.differenceKind, self.parameters.comparisonOrientation)
        if linked_views.views().kind == linked_views.COMPARISON:
            if self._shownKind not in (None, kind):
                self.show()
            else:
                linked_views.views().setOpacity(DIFFERENCE_CELL, self.parameters.differenceOpacity / 100)
        if difference is not None:
            display.setThreshold(display.differenceColorNode(), self.parameters.differenceThreshold / 100)
        self._showTable()

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

    def onReport(self) -> None:
        """Compare, and keep the report in a folder that the user picks."""
        self._reportFolder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the report"))
        if self._reportFolder:
            self.onStart()
        self._reportFolder = ""

    def startJob(self) -> bool:
        request = comparison.Request(
            self.parameters.outputVolume,
            self.parameters.referenceVolume,
            coregister=self.parameters.coregister,
            regions=self.parameters.compareRegions,
            report_folder=self._reportFolder,
        )
        return self.logic.startComparison(request, self.onMessage, self.onFinished)

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        self._shownTable = None
        self.parameters.metricsTable = made["metrics"]
        self.parameters.regionsTable = made["regions"]
        self.parameters.calibrationTable = made["calibration"]
        self.parameters.referenceVolume = made["reference"]
        self._matchReference(made["factor"])
        plots.select(tables.chartOf(self._table()) or made["chart"])
        self.show()
        if "report" in made:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(made["report"]))
            return _("Wrote {path}.").format(path=html.escape(made["report"]))
        return _("Difference maps, figures and plots are in the scene.")

    def show(self) -> None:
        """Switch to the linked views source, synthetic, reference, difference."""
        synthetic = self.parameters.outputVolume
        if synthetic is None:
            return
        self._shownKind = (self.parameters.differenceKind, self.parameters.comparisonOrientation)
        source = results.sourceOf(synthetic) or self.parameters.inputVolume
        if results.cardSource(synthetic) == "CT":
            display.showBrainWindow(source)
        difference = self.logic.differenceVolume(synthetic, self.parameters.differenceKind)
        cells = [
            Cell(_("Source"), source),
            Cell(_("Synthetic"), synthetic),
            Cell(_("Reference"), self.parameters.referenceVolume),
            Cell(_("Difference"), source, difference, self.parameters.differenceOpacity / 100),
        ]
        linked_views.views().show(linked_views.COMPARISON, self._shownKind[1], cells)
        self.panel.marks.attach()

    def onPlot(self) -> None:
        """Show the chart that goes with the table: histogram, bars of regions, or coverage."""
        chart = tables.chartOf(self._table())
        if chart is not None:
            plots.show(chart)

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._shownKind = self._shownTable = None

    def _table(self) -> object:
        nodes = {
            "Metrics": self.parameters.metricsTable,
            "Regions": self.parameters.regionsTable,
            "Calibration": self.parameters.calibrationTable,
        }
        return nodes[self.parameters.comparisonTable]

    def _showTable(self) -> None:
        kind, node = self.parameters.comparisonTable, self._table()
        self.ui.comparisonPlotButton.enabled = tables.chartOf(node) is not None
        if (kind, node) == self._shownTable:
            return
        self._shownTable = (kind, node)
        header, rows = tableContent(node, self._columns(kind))
        tips = None
        if kind == "Metrics":
            header, rows, tips = *unitsBesideNames(header, rows), metricTips(node)
        elif kind == "Regions":
            tips = regionTips(node)
        fillTable(self.ui.metricsTableWidget, header, rows, tips)

    def _columns(self, kind: str) -> dict | None:
        """The columns to show, with their titles; volumes' means carry their unit."""
        columns, synthetic = COLUMNS[kind], self.parameters.outputVolume
        unit = results.unitsOf(synthetic) if synthetic is not None else ""
        if kind != "Regions" or not unit:
            return columns
        withUnit = {name: f"{columns[name]}\n({unit})" for name in ("synthetic_mean", "reference_mean")}
        return {**columns, **withUnit}

    def _matchReference(self, factor: float) -> None:
        """Show the reference in the synthetic volume's colors and range: only then can they be compared by eye.

        :param factor: what the reference was multiplied by to have the synthetic volume's signal; 1 for quantities.
        """
        synthetic, reference = self.parameters.outputVolume, self.parameters.referenceVolume
        low, high = results.displayWindow(synthetic)
        colors = synthetic.GetDisplayNode().GetColorNode().GetName()
        display.showQuantity(reference, colors, (low / factor, high / factor))
        display.addLegend(reference, results.sidecarOf(synthetic).get("Quantity") or _("signal"))


def unitsBesideNames(header: list, rows: list) -> tuple:
    """The table of metrics without its column of units: `MAE (SUVR)`."""
    unit = COLUMNS["Metrics"]["Unit"]
    if unit not in header:
        return header, rows
    place = header.index(unit)
    named = [[f"{row[0]} ({row[place]})" if row[place] else row[0], *row[1:place], *row[place + 1 :]] for row in rows]
    return [title for title in header if title != unit], named


def metricTips(node: object) -> list:
    """What each figure means."""
    header, rows = tableContent(node, {"Metric": "Metric", "Definition": "Definition", "Best": "Best"})
    tips = []
    for row in rows:
        facts = dict(zip(header, row))  # noqa: B905 - Python 3.9
        best = _("Best: {value}").format(value=facts["Best"]) if facts.get("Best") else ""
        tips.append(
            "\n".join(
                part
                for part in (names.METRICS.get(facts["Metric"], facts["Metric"]), facts.get("Definition", ""), best)
                if part
            )
        )
    return tips
