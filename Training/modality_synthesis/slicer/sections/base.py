"""What the sections of the panel have in common."""

from __future__ import annotations

import html

import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis import names
from modality_synthesis.slicer import tables
from modality_synthesis.slicer.protocol import CANCELLED, PARTLY, Outcome

REMEDIES = {
    "OUT_OF_MEMORY": _("Close other programs, or choose the device cpu under Advanced."),
    "MODEL_MISSING": _("Install the model with Manage…"),
    "HASH_MISMATCH": _("The model's file is damaged. Remove the model and install it again."),
    "DEPENDENCIES_MISSING": _("Press Install requirements… under Advanced."),
}
_SECONDS_PER_MINUTE = 60
REGION = "region"  # the column with the id


class Section:
    """One collapsible part of the panel. `uiName` is its `.ui` file; empty when the module's own file holds it."""

    uiName = ""

    def __init__(self, panel: object) -> None:
        self.panel = panel

    @property
    def ui(self) -> object:
        return self.panel.ui

    @property
    def logic(self) -> object:
        return self.panel.logic

    @property
    def parameters(self) -> object:
        return self.panel.parameters

    def setup(self) -> None:
        """Connect the widgets' signals. The parameter node is not there yet."""

    def onBound(self) -> None:
        """The panel shows another parameter node: of a new scene, or the same one again."""

    def update(self) -> None:
        """The parameter node, or whether a job runs, has changed."""

    def onSceneClose(self) -> None:
        """The scene is about to be closed."""

    def cleanup(self) -> None:
        """The panel is about to go away."""


class JobSection(Section):
    """A section with a button that starts a job of the worker, Cancel, a progress bar and a line of status.

    `prefix` begins the names of these widgets. Subclasses give `startJob`, `obstacle` and `onJobDone`.
    """

    prefix = ""

    def setup(self) -> None:
        self._active = False
        self._startTip = self.startButton.toolTip
        self.startButton.connect("clicked(bool)", self.onStart)
        self.cancelButton.connect("clicked(bool)", self.onCancel)
        self._widget("CollapsibleButton").connect("contentsCollapsed(bool)", self.onCollapsed)

    def _widget(self, name: str) -> object:
        return getattr(self.ui, self.prefix + name)

    @property
    def startButton(self) -> object:
        return self._widget("Button")

    @property
    def cancelButton(self) -> object:
        return self._widget("CancelButton")

    @property
    def progressBar(self) -> object:
        return self._widget("ProgressBar")

    @property
    def statusLabel(self) -> object:
        return self._widget("StatusLabel")

    def obstacle(self) -> str:
        """Why the job cannot start now; empty when it can."""
        return ""

    def startJob(self) -> bool:
        """Start the job with `onMessage` and `onFinished`; False when it did not start."""
        raise NotImplementedError

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        """The job succeeded: show its result. Returns the line of status."""
        return _("Done.")

    def onRecord(self, message: dict) -> None:
        """A protocol message that is no progress."""

    def update(self) -> None:
        obstacle = _("Another job is running.") if self.logic.running else self.obstacle()
        self.startButton.enabled = not obstacle
        self.startButton.toolTip = plain(obstacle) or self._startTip
        self.cancelButton.enabled = self._active and self.logic.running

    def onStart(self) -> None:
        """The start button. A second click while a job runs does nothing."""
        if self.logic.running or self.obstacle() or not self.panel.ready():
            return
        self._show(_("Starting…"))
        self.progressBar.value = 0
        self.progressBar.visible = True
        with slicer.util.tryWithErrorDisplay(_("The job could not be started.")):
            try:
                self._active = self.startJob()
            except Exception as error:
                self.progressBar.visible = False
                self._show(html.escape(str(error)))
                raise
        self.panel.update()

    def onCancel(self) -> None:
        """The cancel button."""
        if self._active:
            self._show(_("Stopping…"))
            self.cancelButton.enabled = False
            self.logic.cancel()

    def onCollapsed(self, collapsed: bool) -> None:
        """A section that opens shows everything; what has nothing to say is hidden again."""
        if not collapsed:
            self.progressBar.visible = self._active
            self.statusLabel.visible = bool(self.statusLabel.text)

    def onMessage(self, message: dict) -> None:
        """A protocol message from the worker."""
        if message["type"] == "progress":
            self.progressBar.value = round(100 * float(message.get("fraction", 0)))
            self._show(html.escape(progressText(message)))
        else:
            if message.get("message") and message["type"] != "error":
                self.panel.log(f"{message['type']}: {message['message']}")
            self.onRecord(message)

    def onFinished(self, outcome: Outcome, made: dict) -> None:
        """The worker has ended, one way or another."""
        self._active = False
        self.progressBar.visible = False
        for line in outcome.log:
            self.panel.log(line)
        if outcome.ok:
            text = self.onJobDone(outcome, made)
            if outcome.code == PARTLY:
                text = _("Partly done.") + " " + text
            self._show(text + warningsHtml(outcome.warnings))
        elif outcome.code == CANCELLED:
            self._show(_("Cancelled. Nothing was changed."))
        else:
            remedy = REMEDIES.get(outcome.code, "")
            self._show(f"<b>{_('Failed')}</b> ({html.escape(outcome.code)}): {html.escape(outcome.message)} {remedy}")
            self.panel.log(f"error {outcome.code}: {outcome.message}")
        self.panel.update()

    def onSceneClose(self) -> None:
        self._active = False
        self.progressBar.visible = False
        self._show("")

    def _show(self, text: str) -> None:
        setText(self.statusLabel, text)


def setText(label: object, text: str) -> None:
    """Show a text; an empty label takes no room."""
    label.text = text
    label.visible = bool(text)


def plain(text: str) -> str:
    """A text from a card, a scene or a file for a label, tool tip or dialog, which would take it for rich text: an
    <img> in a name loads a picture, on Windows from a share of another computer."""
    return f"<qt>{html.escape(text)}</qt>" if "<" in text else text


def isRemote(path: str) -> bool:
    """Whether a path is another computer's (`//server/share`). A scene can name one: it is not looked at before the
    user starts something, or opening the scene would send the user's name there."""
    return path.startswith(("//", "\\\\"))


def progressText(message: dict) -> str:
    """The stage and the time left."""
    stage = str(message.get("stage", ""))
    remaining = message.get("remaining")
    if remaining is None:
        return stage
    minutes, seconds = divmod(round(float(remaining)), _SECONDS_PER_MINUTE)
    left = _("{minutes} min {seconds} s left") if minutes else _("{seconds} s left")
    return f"{stage}, {left.format(minutes=minutes, seconds=seconds)}"


def warningsHtml(warnings: list) -> str:
    """Warnings as lines below a status."""
    return "".join(f"<br>⚠ {html.escape(warning)}" for warning in warnings)


def fillTable(widget: object, header: list, rows: list, tips: list | None = None, wide: int = 0) -> None:
    """Show rows of text in a QTableWidget: no column is cut, the wide one has what is left and loses its middle.

    :param tips: a tool tip for each row.
    :param wide: the column with the long texts.
    """
    widget.clear()
    widget.setRowCount(len(rows))
    widget.setColumnCount(len(header))
    widget.setHorizontalHeaderLabels([str(title) for title in header])
    for rowIndex, row in enumerate(rows):
        for columnIndex, cell in enumerate(row):
            item = qt.QTableWidgetItem(str(cell))
            item.setToolTip(plain(tips[rowIndex] if tips is not None else str(cell)))
            if columnIndex != wide and _isNumber(cell):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            widget.setItem(rowIndex, columnIndex, item)
    widget.wordWrap = False
    widget.textElideMode = qt.Qt.ElideMiddle
    widget.verticalHeader().hide()
    for columnIndex in range(len(header)):
        mode = qt.QHeaderView.Stretch if columnIndex == wide else qt.QHeaderView.ResizeToContents
        widget.horizontalHeader().setSectionResizeMode(columnIndex, mode)
    widget.visible = bool(rows)


def _isNumber(text: str) -> bool:
    try:
        return float(text.replace("∞", "inf")) is not None
    except ValueError:
        return False


def tableContent(node: object, columns: dict | None = None) -> tuple:
    """A table node's header and rows, as text.

    :param columns: the columns to take, in this order, with their titles; all of them when None. Columns without any
        value are left out.
    """
    if node is None:
        return [], []
    table = node.GetTable()
    present = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    titles = columns if columns is not None else {name: name for name in present}
    shown = [name for name in titles if name in present]
    cells = {
        name: [cellText(name, table.GetValue(row, present.index(name))) for row in range(table.GetNumberOfRows())]
        for name in shown
    }
    shown = [name for name in shown if any(cells[name])]
    rows = [[cells[name][row] for name in shown] for row in range(table.GetNumberOfRows())]
    return [titles[name] for name in shown], rows


def cellText(column: str, variant: object) -> str:
    """A cell for people: a region's name, three digits of a number, nothing for a missing one."""
    if column == REGION:
        return names.structure_name(variant.ToString())
    if not variant.IsDouble():
        return variant.ToString()
    value = variant.ToDouble()
    return tables.formatNumber(value) if value == value else ""


# What a region's tool tip says, beside the columns.
_DETAILS = {
    "volume_ml": _("Volume: {value} ml"),
    "covered_percent": _("Measured: {value} % of it"),
    "median": _("Median: {value}"),
    "sd": _("Standard deviation: {value}"),
    "mae": _("Mean absolute error: {value}"),
    "flags": _("Doubtful: {value}"),
}


def regionTips(node: object) -> list:
    """What else is known about each region of a table."""
    columns = {"name": "name", **{name: name for name in _DETAILS}}
    header, rows = tableContent(node, columns)
    tips = []
    for row in rows:
        known = dict(zip(header, row))  # noqa: B905 - Python 3.9
        details = [text.format(value=known[name]) for name, text in _DETAILS.items() if known.get(name)]
        tips.append("\n".join([known.get("name", ""), *details]))
    return tips
