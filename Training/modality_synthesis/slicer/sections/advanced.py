"""Advanced: device, seed, samples, the Python of the worker, installation and log."""

from __future__ import annotations

import json

import ctk
import qt
from slicer.i18n import tr as _

from modality_synthesis.slicer import dependencies
from modality_synthesis.slicer.command import PYTHON_SETTING
from modality_synthesis.slicer.protocol import Outcome, parse_line
from modality_synthesis.slicer.sections.base import Section


class AdvancedSection(Section):
    """What most people leave as it is."""

    uiName = "AdvancedSection.ui"

    def setup(self) -> None:
        self.ui.pythonPathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.pythonPathLineEdit.currentPath = qt.QSettings().value(PYTHON_SETTING, "") or ""
        self.ui.pythonPathLineEdit.connect("currentPathChanged(QString)", self.onPythonChosen)
        self.ui.checkInstallationButton.connect("clicked(bool)", self.onCheck)
        self.ui.installRequirementsButton.connect("clicked(bool)", self.onInstall)

    def update(self) -> None:
        card = self.panel.card()
        self.ui.samplesSpinBox.enabled = card is not None and card.stochastic
        self.ui.checkInstallationButton.enabled = not self.logic.running

    def onPythonChosen(self, path: str) -> None:
        """The user picks another Python; it is remembered for this machine."""
        qt.QSettings().setValue(PYTHON_SETTING, path)

    def onInstall(self) -> None:
        """Install what is missing, after asking."""
        missing = dependencies.missing()
        if not missing:
            self.panel.log(_("All requirements are installed."))
        elif self.panel.ready():
            self.panel.log(_("The requirements were installed."))
        else:
            self.panel.log(dependencies.describe(missing))

    def onCheck(self) -> None:
        """Write versions, devices and models of the worker's Python into the log."""

        def finished(outcome: Outcome) -> None:
            report = next((line for line in outcome.log if line.startswith("{") and parse_line(line) is None), "")
            try:
                self.panel.log(json.dumps(json.loads(report), indent=2))
            except ValueError:
                self.panel.log(outcome.message or _("The check gave no report."))
            self.panel.update()

        self.panel.log(_("Checking…"))
        self.logic.start(["doctor", "--json"], lambda message: None, finished, needsResult=False)
        self.panel.update()
