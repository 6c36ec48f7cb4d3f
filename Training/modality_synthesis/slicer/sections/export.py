"""Export: a volume with its provenance, as NIfTI, NRRD or DICOM."""

from __future__ import annotations

import html
import os

import ctk
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import results
from modality_synthesis.slicer.logic import DICOM_FORMATS
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection


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
        super().update()

    def onVolumeChosen(self) -> None:
        """The user picks another volume to export."""
        if self.parameters is not None:
            super().update()

    def obstacle(self) -> str:
        volume = self.ui.exportSelector.currentNode()
        if volume is None:
            return _("Select a volume.")
        folder = str(self.parameters.exportFolder)
        if folder == "." or not os.path.isdir(folder):
            return _("Choose a folder that exists.")
        if self.parameters.exportFormat in DICOM_FORMATS and not results.sidecarOf(volume):
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
        )

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        return _("Wrote {path}.").format(path=html.escape(outcome.files["folder"]))

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._offered = None
