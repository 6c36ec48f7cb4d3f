"""SUVR: PET over the MRI, its means in atlas regions and meta-ROIs, and where it differs from healthy people."""

from __future__ import annotations

import html

import ctk
from slicer.i18n import tr as _

from modality_synthesis.slicer import display, results, suvr, tables
from modality_synthesis.slicer.parameters import CENTILOID_REGION, CUSTOM_MASK, NO_TRACER, UNCERTAINTY, Z_SCORES
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable, isRemote, setText, tableContent

# What the panel shows of the table; the node holds all columns.
COLUMNS = {
    "region": _("Region"),
    "hemisphere": _("Side"),
    "suvr": _("SUVR"),
    "z": _("z-score"),
    "asymmetry_percent": _("Asymmetry, %"),
    "sd": _("SD"),
    "median": _("Median"),
    "volume_ml": _("ml"),
}


class SuvrSection(JobSection):
    """Regional uptake of the synthetic PET."""

    uiName = "SuvrSection.ui"
    prefix = "suvr"

    def setup(self) -> None:
        super().setup()
        self._overlay = None
        self._shownTable = None
        self.ui.normalCohortPathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.normalCohortPathLineEdit.nameFilters = [_("Table (*.csv)")]
        self.ui.showSuvrButton.connect("clicked(bool)", self.show)
        self.ui.showSuvrPlotButton.connect("clicked(bool)", self.onPlot)

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
        if table is not self._shownTable:
            self._shownTable = table
            fillTable(self.ui.suvrTableWidget, *tableContent(table, COLUMNS))

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
            return _("Centiloids need the reference region {region}.").format(region=CENTILOID_REGION)
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
        display.showOverlay(self._mri(), volume, self.parameters.suvrOpacity / 100)
        self.panel.marks.attach()

    def onPlot(self) -> None:
        """Show the regions as bars."""
        chart = tables.chartOf(self.parameters.suvrTable)
        if chart is not None:
            tables.showPlot(chart)

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._overlay = self._shownTable = None

    def _mri(self) -> object:
        return results.sourceOf(self.parameters.outputVolume) or self.parameters.inputVolume

    def _cohort(self) -> str:
        path = str(self.parameters.normalCohort)
        return "" if path == "." else path

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
    parts = [_("SUVR, reference region {region}").format(region=facts.get("ReferenceRegion", ""))]
    if facts.get("PartialVolumeCorrection"):
        parts.append(_("corrected for {fwhm} mm").format(fwhm=f"{facts['PartialVolumeCorrection']['fwhm_mm']:g}"))
    if facts.get("NormalCohort"):
        parts.append(_("z-scores against {table}").format(table=facts["NormalCohort"]))
    text = html.escape("; ".join(parts) + ".")
    centiloid = facts.get("Centiloid")
    if centiloid and centiloid.get("value") is not None:
        value = _("{value} Centiloid ({tracer})").format(value=f"{centiloid['value']:.0f}", tracer=centiloid["tracer"])
        text += f"<br><b>{html.escape(value)}</b>"
    return text
