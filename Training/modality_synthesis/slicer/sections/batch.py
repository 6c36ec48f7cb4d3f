"""Batch: a cohort table, or volumes of the scene, through the chosen model; one line per row, resume, cancel."""

from __future__ import annotations

import html
import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.slicer import results
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable, isRemote
from modality_synthesis.tables import SUBJECT, read_table

WAITING = "waiting"


class BatchSection(JobSection):
    """Many volumes, by the same engine as the command line."""

    uiName = "BatchSection.ui"
    prefix = "batch"

    def setup(self) -> None:
        super().setup()
        self._listed = None
        self._rows = []
        self.ui.batchTablePathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.batchFolderPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.batchVolumesListWidget.connect("itemChanged(QListWidgetItem*)", self.onVolumeChecked)

    def update(self) -> None:
        volumes = [
            node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not results.isSynthetic(node)
        ]
        names = [(node.GetID(), node.GetName()) for node in volumes]
        if names != self._listed:
            self._listed = names
            self._fillVolumes()
        super().update()

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.batchTableWidget.visible = bool(self._rows)

    def obstacle(self) -> str:
        if self.panel.card() is None:
            return _("Select a model.")
        if not _chosen(self.parameters.batchFolder):
            return _("Choose an output folder.")
        table = _chosen(self.parameters.batchTable)
        if table and not isRemote(table) and not os.path.isfile(table):
            return _("There is no cohort table {path}.").format(path=table)
        if not table and not self.checkedVolumes():
            return _("Choose a cohort table, or check volumes of the scene.")
        return ""

    def checkedVolumes(self) -> list:
        """The checked volumes of the scene."""
        widget = self.ui.batchVolumesListWidget
        checked = [
            identifier
            for index, (identifier, _name) in enumerate(self._listed or [])
            if widget.item(index) is not None and widget.item(index).checkState() == qt.Qt.Checked
        ]
        return [slicer.mrmlScene.GetNodeByID(identifier) for identifier in checked]

    def onVolumeChecked(self) -> None:
        """The user checks or unchecks a volume."""
        if self.parameters is not None:
            super().update()

    def startJob(self) -> bool:
        card = self.panel.card()
        folder = str(self.parameters.batchFolder)
        table = _chosen(self.parameters.batchTable)
        if not table:
            table = self.logic.writeSceneCohort(self.checkedVolumes(), card.source, folder)
        self._fillQueue(table)
        return self.logic.startBatch(
            table,
            card,
            folder,
            self.onMessage,
            self.onFinished,
            resume=self.parameters.batchResume,
            device=self.parameters.device,
            seed=self.parameters.seed,
        )

    def onRecord(self, message: dict) -> None:
        row = message.get("row")
        if isinstance(row, int) and 0 <= row < len(self._rows):
            self._rows[row][1] = str(message.get("state", ""))
            self._rows[row][2] = str(message.get("message", ""))
            self._showQueue()

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        return _("The results are in {folder}.").format(folder=html.escape(str(self.parameters.batchFolder)))

    def onFinished(self, outcome: Outcome, made: dict) -> None:
        super().onFinished(outcome, made)
        for row in self._rows:
            if row[1] in (WAITING, "running"):
                row[1] = "done" if outcome.code == "OK" else "stopped"
        self._showQueue()

    def onSceneClose(self) -> None:
        super().onSceneClose()
        self._listed, self._rows = None, []

    def _fillVolumes(self) -> None:
        widget = self.ui.batchVolumesListWidget
        widget.clear()
        for _identifier, name in self._listed:
            item = qt.QListWidgetItem(name)
            item.setCheckState(qt.Qt.Unchecked)
            widget.addItem(item)

    def _fillQueue(self, table: str) -> None:
        try:
            cohort = read_table(table, "cohort table", SUBJECT)
            column = cohort.column(*SUBJECT)
        except ModalitySynthesisError:  # the worker says what is wrong with it
            cohort, column = None, None
        self._rows = [] if column is None else [[row.cells[column], WAITING, ""] for row in cohort.rows]
        self._showQueue()

    def _showQueue(self) -> None:
        fillTable(self.ui.batchTableWidget, [_("Subject"), _("State"), _("Message")], self._rows)


def _chosen(path: object) -> str:
    """A path parameter as text; an empty Path reads as the current folder and means nothing was chosen."""
    text = str(path)
    return "" if text == "." else text
