"""SUVR: PET over the MRI, its means in atlas regions and meta-ROIs, and where it differs from healthy people."""

from __future__ import annotations

import html

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis import names
from modality_synthesis.slicer import display, exchange, linked_views, plots, regions, results, suvr, tables
from modality_synthesis.slicer.parameters import CENTILOID_REGION, CUSTOM_MASK, NO_TRACER, PET, UNCERTAINTY, Z_SCORES
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable, isRemote, regionTips, setText, tableContent

# What the panel shows of the table; tool tips have more, the node holds all columns. SUVR has no unit.
COLUMNS = {
    "region": _("Region"),
    "hemisphere": _("Side"),
    "suvr": _("SUVR"),
    "z": _("z-score\n(SD)"),
    "asymmetry_percent": _("Asymmetry\n(%)"),
}


class SuvrSection(JobSection):
    """Regional uptake of the synthetic PET."""

    uiName = "SuvrSection.ui"
    prefix = "suvr"

    def setup(self) -> None:
        super().setup()
        self._overlay = self._outlines = None
        self._shownTable = None
        self.ui.normalCohortPathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.normalCohortPathLineEdit.nameFilters = [_("Table (*.csv)")]
        self.ui.showSuvrButton.connect("clicked(bool)", self.show)
        self.ui.showSuvrPlotButton.connect("clicked(bool)", self.onPlot)
        self.ui.exportSuvrTableButton.connect("clicked(bool)", self.onExport)
        self.ui.suvrTableWidget.connect("cellClicked(int,int)", self.onRegion)
        self.ui.suvrTableWidget.connect("cellActivated(int,int)", self.onRegion)

    def update(self) -> None:
        super().update()
        self.ui.referenceMaskSelector.enabled = self.parameters.referenceRegion == CUSTOM_MASK
        self.ui.showSuvrButton.enabled = self._shownVolume() is not None
        self.ui.showSuvrPlotButton.enabled = tables.chartOf(self.parameters.suvrTable) is not None
        self.ui.zThresholdSlider.enabled = self.parameters.zVolume is not None
        if self.parameters.zVolume is not None:
            display.setZThreshold(self.parameters.zThreshold)
        overlay = (self.parameters.suvrOpacity, self.parameters.suvrOverlay)
        if self._overlay not in (None, overlay):
            self.show()
        setText(self.ui.suvrFactsLabel, factsHtml(self.parameters.suvrVolume))
        table = self.parameters.suvrTable
        self.ui.exportSuvrTableButton.enabled = table is not None
        self._showOutlines(regions.of(table))
        if table is not self._shownTable:
            self._shownTable = table
            fillTable(self.ui.suvrTableWidget, *tableContent(table, COLUMNS), regionTips(table))

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.suvrTableWidget.visible = self.ui.suvrTableWidget.rowCount > 0
            self.ui.suvrFactsLabel.visible = bool(self.ui.suvrFactsLabel.text)

    def obstacle(self) -> str:
        pet = self.parameters.outputVolume
        if pet is None:
            return _("Synthesize a PET first, or pick one under Synthesis.")
        if self._mri() is None:
            return _("The MRI that the PET was made from is not in the scene.")
        cohort = self._cohort()
        if cohort and not isRemote(cohort) and not self.parameters.normalCohort.is_file():
            return _("The table of the normal cohort is not there.")
        if self._tracer() and self.parameters.referenceRegion != CENTILOID_REGION:
            return _("Centiloids need the reference region {region}.").format(
                region=names.reference_region_name(CENTILOID_REGION)
            )
        if self.parameters.referenceRegion == CUSTOM_MASK:
            return suvr.maskObstacle(self.parameters.referenceMask, pet)
        return ""

    def startJob(self) -> bool:
        request = suvr.Request(
            self.parameters.outputVolume,
            self._mri(),
            self.parameters.referenceRegion,
            mask=self.parameters.referenceMask,
            cohort=self._cohort(),
            tracer=self._tracer(),
            pvc_fwhm=self.parameters.pvcFwhm,
        )
        return self.logic.startSuvr(request, self.onMessage, self.onFinished)

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        self._shownTable = None
        self.parameters.suvrTable = made["table"]
        self.parameters.suvrVolume = made["image"]
        self.parameters.zVolume = made["z"]
        self._outlines = None
        if made["z"] is not None:
            self.parameters.suvrOverlay = Z_SCORES
        elif self.parameters.suvrOverlay == Z_SCORES:
            self.parameters.suvrOverlay = PET
        self.show()
        if made["z"] is not None:
            return _("The SUVR image, the map of z-scores and the regions are in the scene.")
        return _("The SUVR image and its regions are in the scene.")

    def show(self) -> None:
        """Draw the SUVR image (or the PET, its z-scores, or its uncertainty) over the MRI."""
        volume = self._shownVolume()
        if volume is None:
            return
        self._overlay = (self.parameters.suvrOpacity, self.parameters.suvrOverlay)
        linked_views.showOverlay(self._mri(), volume, self.parameters.suvrOpacity / 100)
        self.panel.marks.attach()

    def onPlot(self) -> None:
        """Show the regions as bars."""
        chart = tables.chartOf(self.parameters.suvrTable)
        if chart is not None:
            plots.show(chart)

    def onRegion(self, row: int, column: int) -> None:
        """A click on a region: slices and crosshair go there, and its outline is shown alone."""
        table = self.parameters.suvrTable
        outlines = regions.of(table)
        if outlines is None:
            return
        cells = table.GetTable()
        name, hemisphere = (cells.GetColumnByName(title).GetValue(row) for title in ("region", "hemisphere"))
        if not regions.showOnly(outlines, name, hemisphere):
            self._show(_("{region} lies outside the image.").format(region=html.escape(name)))

    def onExport(self) -> None:
        """Write the table, and its record beside it, to a file that the user picks."""
        table = self.parameters.suvrTable
        suggested = exchange.fileName(table.GetName()) + ".csv"
        path = qt.QFileDialog.getSaveFileName(None, _("Table of regions"), suggested, _("Tables (*.csv *.tsv)"))
        if not path:
            return
        if not path.lower().endswith((".csv", ".tsv")):
            path += ".csv"
        with slicer.util.tryWithErrorDisplay(_("The table could not be written.")):
            tables.export(table, path)
            self._show(_("Wrote {path}.").format(path=html.escape(path)))

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._overlay = self._shownTable = self._outlines = None

    def _showOutlines(self, outlines: object) -> None:
        """Follow the check box; a single region that was clicked stays alone until then."""
        self.ui.suvrOutlinesCheckBox.enabled = outlines is not None
        wanted = (outlines, self.parameters.suvrOutlines)
        if outlines is not None and wanted != self._outlines:
            self._outlines = wanted
            regions.showAll(outlines, self.parameters.suvrOutlines)

    def _mri(self) -> object:
        return results.sourceOf(self.parameters.outputVolume) or self.parameters.inputVolume

    def _cohort(self) -> str:
        return str(self.parameters.normalCohort or "")

    def _tracer(self) -> str:
        return "" if self.parameters.tracer == NO_TRACER else self.parameters.tracer

    def _shownVolume(self) -> object:
        chosen = {Z_SCORES: self.parameters.zVolume, UNCERTAINTY: self.parameters.uncertaintyVolume}
        return chosen.get(self.parameters.suvrOverlay) or self.parameters.suvrVolume or self.parameters.outputVolume


def factsHtml(image: object) -> str:
    """What a SUVR volume is relative to, how it was corrected, and its Centiloids."""
    facts = results.measurementOf(image)
    if not facts:
        return ""
    region = _("SUVR, reference region {region}")
    parts = [region.format(region=names.reference_region_name(facts.get("ReferenceRegion", "")))]
    if facts.get("PartialVolumeCorrection"):
        parts.append(_("corrected for {fwhm} mm").format(fwhm=f"{facts['PartialVolumeCorrection']['fwhm_mm']:g}"))
    if facts.get("NormalCohort"):
        parts.append(_("z-scores against {table}").format(table=facts["NormalCohort"]))
    text = html.escape("; ".join(parts) + ".")
    centiloid = facts.get("Centiloid")
    if centiloid and centiloid.get("value") is not None:
        value = _("{value} Centiloid ({tracer})").format(
            value=f"{centiloid['value']:.0f}", tracer=names.TRACERS.get(centiloid["tracer"], centiloid["tracer"])
        )
        text += f"<br><b>{html.escape(value)}</b>"
    return text
