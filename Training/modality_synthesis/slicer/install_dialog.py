"""The dialog of the first use: what is missing, for what, how big; then pip's progress, and how it went."""

from __future__ import annotations

import html

import qt
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import dependencies
from modality_synthesis.slicer.warm import warm

SHOWN_CHARACTERS = 100
WIDTH = 560


class InstallDialog:
    """Asks, installs, and says how it went. Closing it while pip runs lets pip go on."""

    def __init__(self, names: list, parent: object, log: object) -> None:
        """
        :param names: requirements that are missing.
        :param parent: widget that it opens over.
        :param log: called with each line that is worth keeping.
        """
        self._names, self._log = names, log
        self._steps, self._before, self._tail = [], {}, []
        self.installed = False
        self.dialog = qt.QDialog(parent)
        self.dialog.windowTitle = _("Packages for the generators")
        layout = qt.QVBoxLayout(self.dialog)
        self.textLabel = self._label(dependencies.describe(names))
        layout.addWidget(self.textLabel)
        self._offered = []
        for build in dependencies.builds(names):
            button = qt.QRadioButton(build.text, self.dialog)
            button.checked = not self._offered
            layout.addWidget(button)
            self._offered.append((build, button))
        self.statusLabel = self._label("")
        self.progressBar = qt.QProgressBar(self.dialog)
        self.progressBar.setRange(0, 0)
        self.progressBar.visible = False
        self.logTextEdit = qt.QPlainTextEdit(self.dialog)
        self.logTextEdit.readOnly = True
        self.logTextEdit.maximumBlockCount = 2000
        self.logTextEdit.visible = False
        for widget in (self.statusLabel, self.progressBar, self.logTextEdit):
            layout.addWidget(widget)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.installButton = qt.QPushButton(_("Install"), self.dialog)
        self.restartButton = qt.QPushButton(_("Restart Slicer"), self.dialog)
        self.restartButton.visible = False
        self.closeButton = qt.QPushButton(_("Not now"), self.dialog)
        for button, slot in (
            (self.installButton, self.onInstall),
            (self.restartButton, slicer.util.restart),
            (self.closeButton, self.dialog.reject),
        ):
            button.connect("clicked()", slot)
            row.addWidget(button)
        self.dialog.setMinimumWidth(WIDTH)
        self.dialog.adjustSize()

    @property
    def buildButtons(self) -> list:
        """One for each build of PyTorch that can be chosen."""
        return [button for _build, button in self._offered]

    def run(self) -> bool:
        """Show it and wait; True when everything is installed and can be used at once."""
        if dependencies.installing():
            self._say(_("An installation is still going on. Try again when it has ended."))
            self.installButton.enabled = False
        self.dialog.exec_()
        return self.installed

    def onInstall(self) -> None:
        """The user agrees."""
        build = self._chosenBuild()
        self._before = dependencies.loadedVersions()
        self._steps = dependencies.steps(self._names, build)
        self._tail = []
        for widget in (self.installButton, *self.buildButtons):
            widget.enabled = False
        self.closeButton.text = _("Close")
        self.progressBar.visible = True
        self.logTextEdit.visible = True
        self.logTextEdit.clear()
        self.dialog.adjustSize()
        if build is not None and build.byExtension:
            self._say(_("The PyTorch extension installs PyTorch…"))
            try:
                done = dependencies.installTorchByExtension(self._names)
            except Exception as error:  # the extension's own, of any kind
                self._onLine(str(error))
                done = False
            if not done:
                self._fail(_("The PyTorch extension could not install PyTorch."))
                return
        self._next()

    def _chosenBuild(self) -> dependencies.Build | None:
        return next((build for build, button in self._offered if button.checked), None)

    def _next(self) -> None:
        if not self._steps:
            self._finish()
            return
        arguments = self._steps.pop(0)
        self._onLine("pip install " + " ".join(arguments))
        try:
            dependencies.pipInstall(arguments, self._onLine, self._onStepDone)
        except Exception as error:  # Slicer's own, pip's, the system's
            self._onLine(str(error))
            self._onStepDone(1)

    def _onLine(self, line: str) -> None:
        line = str(line).rstrip()
        if line:
            self._tail = [*self._tail[-200:], line]
            self.logTextEdit.appendPlainText(line)
            self._log(line)
            self._say(html.escape(line[:SHOWN_CHARACTERS]))

    def _onStepDone(self, code: int) -> None:
        if code:
            self._fail(_("pip ended with exit code {code}.").format(code=code))
        else:
            self._next()

    def _finish(self) -> None:
        left = dependencies.missing()
        if left:
            names = ", ".join(map(dependencies.packageName, left))
            self._fail(_("pip reports success, but {names} cannot be found.").format(names=names))
            return
        warm.renew()
        after = dependencies.loadedVersions()
        replaced = sorted(name for name, version in self._before.items() if after.get(name, version) != version)
        if not replaced:
            self._log(_("The packages are installed."))
            self.installed = True
            self.dialog.accept()
            return
        self.progressBar.visible = False
        self.restartButton.visible = True
        text = _("Installed. Slicer itself uses {names}, which was replaced by another version: restart Slicer first.")
        self._say(html.escape(text.format(names=", ".join(replaced))))

    def _fail(self, what: str) -> None:
        self.progressBar.visible = False
        for widget in (self.installButton, *self.buildButtons):
            widget.enabled = True
        self.installButton.text = _("Try again")
        reason = next((line for line in reversed(self._tail) if line.startswith("ERROR")), "")
        advice = _("Check the network and the free disk space; the log below says more, and stays under Advanced.")
        parts = [html.escape(what), html.escape(reason.rstrip(".") + ".") if reason else "", advice]
        self._log(what)
        self._say(f"<b>{_('Not installed')}</b>: {' '.join(parts)}")
        self.dialog.adjustSize()

    def _say(self, text: str) -> None:
        self.statusLabel.text = text

    def _label(self, text: str) -> object:
        label = qt.QLabel(text, self.dialog)
        label.wordWrap = True
        return label
