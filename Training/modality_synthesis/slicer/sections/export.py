"""Export: a volume with its provenance, as NIfTI, NRRD or DICOM."""

from __future__ import annotations

import html
import os

import ctk
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import dicom_source, results
from modality_synthesis.slicer.logic import DICOM_FORMATS
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, isRemote, setText


class ExportSection(JobSection):
    """Writes files that say that they are synthetic."""

    uiName = "ExportSection.ui"
    prefix = "export"

    def setup(self) -> None:
        super().setup()
        self._offered = None
        self.ui.exportFolderPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.exportSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onVolumeChosen)

    def update(self) -> None:
        output = self.parameters.outputVolume
        identifier = output.GetID() if output is not None else None
        if identifier != self._offered:
            self._offered = identifier
            if output is not None:
                self.ui.exportSelector.setCurrentNode(output)
        self._refresh()

    def onVolumeChosen(self) -> None:
        """The user picks another volume to export."""
        if self.parameters is not None:
            self._refresh()

    def _refresh(self) -> None:
        super().update()
        dicom = self.parameters.exportFormat in DICOM_FORMATS
        self.ui.exportSourceDicomCheckBox.enabled = dicom
        setText(self.ui.exportPatientLabel, self._patientText() if dicom else "")

    def _patientText(self) -> str:
        if not self.parameters.exportSourceDicom:
            return _("Patient and study are left neutral.")
        count = len(self._sourceFiles())
        if count:
            return _("Patient and study come from the source's DICOM series ({count} files).").format(count=count)
        return _("Patient and study are left neutral: Slicer's DICOM database does not know the source's series.")

    def _sourceFiles(self) -> list:
        if not self.parameters.exportSourceDicom:
            return []
        return dicom_source.sourceFiles(self.ui.exportSelector.currentNode())

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.exportPatientLabel.visible = bool(self.ui.exportPatientLabel.text)

    def obstacle(self) -> str:
        volume = self.ui.exportSelector.currentNode()
        if volume is None:
            return _("Select a volume.")
        folder = self.parameters.exportFolder
        if folder is None or not (isRemote(str(folder)) or os.path.isdir(folder)):
            return _("Choose a folder that exists.")
        if self.parameters.exportFormat in DICOM_FORMATS and not results.hasModel(volume):
            return _(
                "This volume has no record of its synthesis. Choose NIfTI or NRRD, or export it with the DICOM module."
            )
        return ""

    def onStart(self) -> None:
        if self.parameters.exportFormat in DICOM_FORMATS:
            super().onStart()
        elif not self.obstacle():
            self._exportHere()

    def _exportHere(self) -> None:
        volume, folder = self.ui.exportSelector.currentNode(), str(self.parameters.exportFolder)
        with slicer.util.tryWithErrorDisplay(_("The export failed."), waitCursor=True):
            path = self.logic.exportVolume(volume, folder, self.parameters.exportFormat)
            self._show(_("Wrote {path}.").format(path=html.escape(path)))

    def startJob(self) -> bool:
        return self.logic.startDicomExport(
            self.ui.exportSelector.currentNode(),
            str(self.parameters.exportFolder),
            self.parameters.exportFormat,
            self.onMessage,
            self.onFinished,
            sourceFiles=self._sourceFiles(),
        )

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        return (
            _("Wrote {path}.").format(path=html.escape(outcome.files["folder"])) + f" {self.ui.exportPatientLabel.text}"
        )

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._offered = None
