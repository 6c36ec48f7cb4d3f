"""Advanced: device, seed, samples, the Python of the worker, installation and log."""

from __future__ import annotations

import html
import json

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import dependencies
from modality_synthesis.slicer.command import PYTHON_SETTING
from modality_synthesis.slicer.protocol import Outcome, parse_line
from modality_synthesis.slicer.sections.base import Section, setText
from modality_synthesis.slicer.warm import KEEP_SETTING, keptReady, warm


class AdvancedSection(Section):
    """What most people leave as it is."""

    uiName = "AdvancedSection.ui"

    def setup(self) -> None:
        self.ui.pythonPathLineEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.pythonPathLineEdit.currentPath = slicer.util.settingsValue(PYTHON_SETTING, "", converter=str)
        self.ui.pythonPathLineEdit.connect("currentPathChanged(QString)", self.onPythonChosen)
        # An emptied field says so by this signal only.
        self.ui.pythonPathLineEdit.connect("validInputChanged(bool)", self.onPythonValid)
        self.ui.keepWorkerCheckBox.checked = keptReady()
        self.ui.keepWorkerCheckBox.connect("toggled(bool)", self.onKeepWorker)
        self.ui.checkInstallationButton.connect("clicked(bool)", self.onCheck)
        self.ui.installRequirementsButton.connect("clicked(bool)", self.onInstall)

    def update(self) -> None:
        card = self.panel.card()
        self.ui.samplesSpinBox.enabled = card is not None and card.stochastic
        self.ui.checkInstallationButton.enabled = not self.logic.running

    def onPythonChosen(self, path: str) -> None:
        """The user picks another Python; it is remembered for this machine."""
        qt.QSettings().setValue(PYTHON_SETTING, path.strip())

    def onPythonValid(self, valid: bool) -> None:
        self.onPythonChosen(self.ui.pythonPathLineEdit.currentPath)

    def onKeepWorker(self, keep: bool) -> None:
        """The user wants a worker to be kept ready, or none."""
        qt.QSettings().setValue(KEEP_SETTING, keep)
        if not keep:
            warm.end()

    def onInstall(self) -> None:
        """Install what is missing, after asking."""
        missing = dependencies.missing()
        if not missing:
            self._say(_("All requirements are installed."))
        elif self.panel.ready():
            self._say(_("The requirements were installed."))
        else:
            names = ", ".join(map(dependencies.packageName, missing))
            self._say(_("Not installed: {names}.").format(names=names))
        self.panel.update()

    def onCheck(self) -> None:
        """Show versions and devices of the worker's Python below the button; the whole report goes into the log."""

        def finished(outcome: Outcome) -> None:
            text = next((line for line in outcome.log if line.startswith("{") and parse_line(line) is None), "")
            try:
                report = json.loads(text)
            except ValueError:
                self._say(outcome.message or _("The check gave no report."))
                for line in outcome.log:
                    self.panel.log(line)
            else:
                self.panel.log(json.dumps(report, indent=2))
                self._say(summary(report))
            self.panel.update()

        self._say(_("Checking…"))
        self.logic.start(["doctor", "--json"], lambda message: None, finished, needsResult=False)
        self.panel.update()

    def _say(self, text: str) -> None:
        """Below the buttons, where it can be seen."""
        self.panel.log(text)
        setText(self.ui.installationLabel, html.escape(text).replace("\n", "<br>"))
        self.panel.later(self._bringIntoView)

    def _bringIntoView(self) -> None:
        """Scroll to the answer: it may lie below the visible part."""
        area = self.ui.installationLabel.parentWidget()
        while area is not None and not area.inherits("QScrollArea"):
            area = area.parentWidget()
        if area is not None:
            area.ensureWidgetVisible(self.ui.installationLabel)


def summary(report: dict) -> str:
    """What of the check's report most people want to know, in a few lines."""
    packages = report.get("packages") or {}
    without = sorted(name for name, version in packages.items() if not version)
    lines = [
        _("Python {python}, PyTorch {torch}").format(
            python=report.get("python", "?"), torch=packages.get("torch") or _("not installed")
        ),
        _("Devices: {devices}").format(
            devices="; ".join(f"{name} ({what})" for name, what in (report.get("devices") or {}).items()) or _("none")
        ),
    ]
    if without:
        lines.append(_("Not installed: {names}").format(names=", ".join(without)))
    return "\n".join(lines)
