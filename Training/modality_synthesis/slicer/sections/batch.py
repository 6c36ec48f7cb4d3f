"""Batch: a cohort table, or volumes of the scene, through the chosen model; one line per row, resume, cancel."""

from __future__ import annotations

import html
import os

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.slicer import dicom_source, preflight, results
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, fillTable, isRemote, setText
from modality_synthesis.tables import SUBJECT, read_table

WAITING = "waiting"
WIDEST_SUBJECT = 120
MESSAGE = 2  # its column


class BatchSection(JobSection):
    """Many volumes, by the same engine as the command line."""

    uiName = "BatchSection.ui"
    prefix = "batch"

    def setup(self) -> None:
        super().setup()
        self._listed = None
        self._checked = set()  # of the listed volumes, by id
        self._filling = False
        self._verdicts = {}  # why a volume is not offered, by what it was found on
        self._rows = []
        self.ui.batchTablePathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.batchFolderPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.batchVolumesListWidget.connect("itemChanged(QListWidgetItem*)", self.onVolumeChecked)
        self._listTip = self.ui.batchVolumesListWidget.toolTip

    def update(self) -> None:
        offered, left = self._volumes()
        names = [(node.GetID(), node.GetName()) for node in offered]
        if names != self._listed:
            self._listed = names
            self._fillVolumes()
        byTable = bool(self._table())
        self.ui.batchVolumesListWidget.enabled = not byTable
        tip = _("Not offered: {volumes}.").format(volumes=", ".join(left)) if left else ""
        self.ui.batchVolumesListWidget.toolTip = f"{self._listTip} {tip}".strip()
        setText(self.ui.batchVolumesNoteLabel, self._note(byTable, len(left)))
        super().update()

    def _volumes(self) -> tuple:
        """The volumes that the chosen model may start from, and for the others the name with the reason."""
        card = self.panel.card()
        offered, left = [], []
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetImageData() is None or card is None:
                continue
            reason = _("synthetic") if results.isSynthetic(node) else self._mismatch(node, card.source)
            if reason:
                left.append(f"{node.GetName()} ({reason})")
            else:
                offered.append(node)
        return offered, left

    def _mismatch(self, node: slicer.vtkMRMLScalarVolumeNode, source: str) -> str:
        key = (node.GetID(), node.GetName(), node.GetImageData().GetMTime(), source)
        if key not in self._verdicts:
            array = slicer.util.arrayFromVolume(node)
            self._verdicts[key] = preflight.mismatch(array, node.GetName(), dicom_source.modality(node), source)
        return self._verdicts[key]

    def _note(self, byTable: bool, left: int) -> str:
        """Which of the two counts, and that the list is not everything."""
        if byTable:
            checked = len(self.checkedVolumes())
            note = _("The cohort table counts. Empty its field to take volumes of the scene.")
            return _("{count} checked here: not used.").format(count=checked) + " " + note if checked else note
        if left:
            return _("{count} volumes of the scene do not fit the model and are not offered.").format(count=left)
        return ""

    def _table(self) -> str:
        return str(self.parameters.batchTable or "")

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.batchTableWidget.visible = bool(self._rows)

    def obstacle(self) -> str:
        if self.panel.card() is None:
            return _("Select a model.")
        if self.parameters.batchFolder is None:
            return _("Choose an output folder.")
        table = self._table()
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
        if self.parameters is not None and not self._filling:
            self._checked = {node.GetID() for node in self.checkedVolumes()}
            super().update()

    def startJob(self) -> bool:
        card = self.panel.card()
        folder = str(self.parameters.batchFolder)
        table = self._table()
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
        self._checked, self._verdicts = set(), {}

    def _fillVolumes(self) -> None:
        widget = self.ui.batchVolumesListWidget
        self._filling = True
        widget.clear()
        for identifier, name in self._listed:
            item = qt.QListWidgetItem(name)
            item.setToolTip(name)
            item.setCheckState(qt.Qt.Checked if identifier in self._checked else qt.Qt.Unchecked)
            widget.addItem(item)
        self._filling = False

    def _fillQueue(self, table: str) -> None:
        try:
            cohort = read_table(table, "cohort table", SUBJECT)
            column = cohort.column(*SUBJECT)
        except ModalitySynthesisError:  # the worker says what is wrong with it
            cohort, column = None, None
        self._rows = [] if column is None else [[row.cells[column], WAITING, ""] for row in cohort.rows]
        self._showQueue()

    def _showQueue(self) -> None:
        tips = [": ".join(filter(None, row)) for row in self._rows]
        table = self.ui.batchTableWidget
        fillTable(table, [_("Subject"), _("State"), _("Message")], self._rows, tips, wide=MESSAGE)
        if table.columnWidth(0) > WIDEST_SUBJECT:
            table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Interactive)
            table.setColumnWidth(0, WIDEST_SUBJECT)
