"""Generator: the models for this route, the chosen one's card, its clinical form, and managing models."""

from __future__ import annotations

import html
import os

import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import cards, remembered
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import Section, plain, setText

UNKNOWN = "unknown"
NOT_YET = ("", "")  # the card shown before the first one
CARD_OPEN = "cardOpen"
FORM_COLUMNS = 2  # fields side by side: the button below stays visible on a small screen
NARROWEST_FIELD = 70
FORM_SPACING = 2


class GeneratorSection(Section):
    """Picks a model package. The clinical form follows the model's own declaration."""

    uiName = "GeneratorSection.ui"

    def setup(self) -> None:
        self._shown = NOT_YET
        self._tip = self.ui.modelComboBox.toolTip
        self._listed = None
        self._filling = False
        self._fields = {}
        self._actions = []
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.cardMoreButton.checked = remembered.remembered(CARD_OPEN, False)
        self.ui.cardMoreButton.connect("toggled(bool)", self.onMore)
        self.ui.generatorCollapsibleButton.connect("contentsCollapsed(bool)", self.onCollapsed)
        menu = qt.QMenu(self.ui.manageModelsButton)
        for text, slot in (
            (_("Install from a folder…"), self.onInstallFolder),
            (_("Install from a zip file…"), self.onInstallFile),
            (_("Install from a web address…"), self.onInstallUrl),
            (_("Verify the chosen model"), self.onVerify),
            (_("Remove the chosen model…"), self.onRemove),
            (_("Open the models folder"), self.onOpenFolder),
            (_("Read the list again"), self.refresh),
        ):
            action = qt.QAction(text, menu)
            action.connect("triggered()", slot)
            menu.addAction(action)
            self._actions.append(action)
        self.menu = menu
        self.ui.manageModelsButton.setMenu(menu)

    def update(self) -> None:
        if self._listed is None:
            self._fillList()
        self._selectModel()
        card = self.panel.card()
        key = (card.id, card.version) if card is not None else None
        if key != self._shown:
            self._shown = key
            self._showCard(card)
        self._readForm()

    def refresh(self) -> None:
        """Read the installed models again."""
        self._listed, self._shown = None, NOT_YET
        self.logic.readModels()
        self.panel.update()

    def obstacle(self) -> str:
        """Why the chosen model cannot be run; empty when it can."""
        card = self.panel.card()
        if card is None:
            return _("Select a model.") if self._listed else _("Install a model with Manage…")
        given = parseClinical(self.parameters.clinical)
        for variable in card.clinical_variables:
            if variable.get("required") and variable["name"] not in given:
                return _("This model needs {label}.").format(label=variable["label"])
        return ""

    def onModelChosen(self, index: int) -> None:
        """The user picks a model."""
        if not self._filling and self.parameters is not None and index >= 0:
            self.parameters.model = self.ui.modelComboBox.itemData(index) or ""

    def _fillList(self) -> None:
        self._filling = True
        found = self.logic.models()
        self.ui.modelComboBox.clear()
        for index, (card, name) in enumerate(zip(found, cards.short_names(found))):  # noqa: B905 - Python 3.9
            self.ui.modelComboBox.addItem(name, card.id)
            self.ui.modelComboBox.setItemData(index, card.name, qt.Qt.ToolTipRole)
        self.ui.modelComboBox.enabled = bool(found)
        if not found:
            self.ui.modelComboBox.addItem(_("No model for this route is installed"), "")
        self._listed = [card.id for card in found]
        self._filling = False

    def _selectModel(self) -> None:
        chosen = self.parameters.model
        if chosen not in self._listed:
            lost = _("The scene was made with the model {model}, which is not installed.")
            setText(self.ui.modelsStatusLabel, lost.format(model=html.escape(chosen)) if chosen else "")
            chosen = self._listed[0] if self._listed else ""
            self.parameters.model = chosen
        index = self.ui.modelComboBox.findData(chosen)
        if index >= 0 and index != self.ui.modelComboBox.currentIndex:
            self._filling = True
            self.ui.modelComboBox.currentIndex = index
            self._filling = False

    def _showCard(self, card: cards.Card | None) -> None:
        self.ui.badgeLabel.text = cards.card_line(card) if card is not None else ""
        self.ui.badgeLabel.toolTip = cards.badge_text(card) if card is not None else ""
        self.ui.cardTextBrowser.html = cards.card_html(card) if card is not None else ""
        self.ui.modelComboBox.toolTip = self._tip if card is None else f"{card.name} {card.version}\n{self._tip}"
        self._buildForm(card.clinical_variables if card is not None else [])
        self._showParts()

    def _showParts(self) -> None:
        """Show what the chosen model has: its card's line, the whole card when it is asked for, its form."""
        card, more = self.panel.card(), self.ui.cardMoreButton.checked
        self.ui.cardRow.visible = card is not None
        self.ui.cardTextBrowser.visible = card is not None and more
        self.ui.cardMoreButton.text = _("less") if more else _("more…")
        self.ui.clinicalForm.visible = bool(self._fields)
        self.ui.modelsStatusLabel.visible = bool(self.ui.modelsStatusLabel.text)

    def onMore(self, more: bool) -> None:
        """The user opens or folds the card."""
        remembered.remember(CARD_OPEN, more)
        self._showParts()

    def onCollapsed(self, collapsed: bool) -> None:
        """A section that opens shows everything; what has nothing to say is hidden again."""
        if not collapsed:
            self._showParts()

    # The clinical form

    def _buildForm(self, variables: list) -> None:
        form = self.ui.clinicalForm
        for field in self._fields.values():
            for part in ("label", "widget"):
                field[part].setParent(None)
                field[part].deleteLater()
        self._fields = {}
        if form.layout() is None:
            form.setLayout(qt.QGridLayout())
            form.layout().setContentsMargins(0, 0, 0, 0)
            form.layout().setVerticalSpacing(FORM_SPACING)
            for column in range(FORM_COLUMNS):
                form.layout().setColumnStretch(2 * column + 1, 1)
        for index, variable in enumerate(variables):
            field = self._fields[variable["name"]] = self._makeField(variable, form)
            row, column = divmod(index, FORM_COLUMNS)
            form.layout().addWidget(field["label"], row, 2 * column)
            form.layout().addWidget(field["widget"], row, 2 * column + 1)

    def _makeField(self, variable: dict, form: object) -> dict:
        label = qt.QLabel(plain(variable["label"] + (" *" if variable.get("required") else "") + ":"), form)
        if variable["kind"] == "choice":
            widget = qt.QComboBox(form)
            widget.addItem(UNKNOWN, "")
            for choice in variable["choices"]:
                widget.addItem(choice, choice)
            widget.connect("currentIndexChanged(int)", self.onFieldChanged)
        else:
            widget = qt.QDoubleSpinBox(form)
            low = float(variable["minimum"]) if variable.get("minimum") is not None else 0.0
            high = float(variable["maximum"]) if variable.get("maximum") is not None else 1e6
            widget.setDecimals(1)
            widget.setRange(low - 1, high)  # the value below the lowest one means unknown
            widget.setSpecialValueText(UNKNOWN)
            widget.setValue(low - 1)
            widget.setSuffix(f" {variable['unit']}" if variable.get("unit") else "")
            widget.connect("valueChanged(double)", self.onFieldChanged)
        need = _("Required.") if variable.get("required") else _("Default: unknown.")
        unit = _(" In {unit}.").format(unit=variable["unit"]) if variable.get("unit") else ""
        widget.toolTip = plain(f"{variable['label']}.{unit} {need}")
        widget.accessibleName = variable["label"]
        # A spin box asks for the width of its largest number; the columns share what the panel has.
        widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        widget.setMinimumWidth(NARROWEST_FIELD)
        label.setBuddy(widget)
        return {"label": label, "widget": widget, "kind": variable["kind"], "low": variable.get("minimum")}

    def onFieldChanged(self) -> None:
        """The user fills in the clinical form."""
        if self._filling or self.parameters is None:
            return
        values = {name: self._fieldValue(field) for name, field in self._fields.items()}
        self.parameters.clinical = ",".join(f"{name}={value}" for name, value in values.items() if value)

    def _fieldValue(self, field: dict) -> str:
        widget = field["widget"]
        if field["kind"] == "choice":
            return widget.itemData(widget.currentIndex) or ""
        lowest = float(field["low"]) if field["low"] is not None else 0.0
        return f"{widget.value:g}" if widget.value >= lowest else ""

    def _readForm(self) -> None:
        given = parseClinical(self.parameters.clinical)
        self._filling = True
        for name, field in self._fields.items():
            widget, value = field["widget"], given.get(name, "")
            if field["kind"] == "choice":
                widget.currentIndex = max(widget.findData(value), 0)
            elif self._fieldValue(field) != value:
                widget.value = float(value) if value else widget.minimum
        self._filling = False

    # Managing models

    def onInstallFolder(self) -> None:
        """Install a package from a folder."""
        self.install(qt.QFileDialog.getExistingDirectory(None, _("Model package folder")))

    def onInstallFile(self) -> None:
        """Install a package from a zip file."""
        self.install(qt.QFileDialog.getOpenFileName(None, _("Model package"), "", _("Model package (*.zip)")))

    def onInstallUrl(self) -> None:
        """Install a package from the web."""
        self.install(qt.QInputDialog.getText(None, _("Install a model"), _("Address of the package (https):")))

    def install(self, source: str) -> None:
        """Install a package from a folder, a zip file or a web address; the worker verifies it first."""
        if source:
            self._run(["models", "install", source, "--progress", "json"], _("Installed."), True)

    def onVerify(self) -> None:
        """Check the chosen model's files."""
        card = self.panel.card()
        if card is not None:
            self._run(["models", "verify", card.id], _("Card and weights are intact."), False)

    def onRemove(self) -> None:
        """Remove the chosen model, after asking."""
        card = self.panel.card()
        if card is not None and slicer.util.confirmOkCancelDisplay(plain(_("Remove {name}?").format(name=card.name))):
            self._run(["models", "remove", card.id], _("Removed."), False)

    def onOpenFolder(self) -> None:
        """Show the folder of installed models."""
        folder = str(cards.model_folders()[0])
        os.makedirs(folder, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder))

    def _run(self, arguments: list, done: str, needsResult: bool) -> None:
        def finished(outcome: Outcome) -> None:
            text = done if outcome.ok else html.escape(outcome.message)
            self.refresh()
            setText(self.ui.modelsStatusLabel, text)

        def message(record: dict) -> None:
            if record.get("stage"):
                setText(self.ui.modelsStatusLabel, html.escape(str(record["stage"])))

        if not self.panel.ready():
            return
        setText(self.ui.modelsStatusLabel, _("Working…"))
        if not self.logic.start(arguments, message, finished, needsResult):
            setText(self.ui.modelsStatusLabel, _("Another job is running."))
        self.panel.update()


def parseClinical(text: str) -> dict:
    """NAME=VALUE pairs of the parameter node."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _sign, value in pairs}
