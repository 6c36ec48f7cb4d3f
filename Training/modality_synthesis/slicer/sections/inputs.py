"""Inputs: the volume, and what speaks for or against it. Its widgets are in the module's own `.ui` file."""

from __future__ import annotations

import html

import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import linked_views, preflight
from modality_synthesis.slicer.sections.base import Section, setText

_SIGNS = {preflight.WARN: "⚠ ", preflight.REFUSE: "✖ "}


class InputsSection(Section):
    """Picks the input and checks it against the chosen model."""

    def setup(self) -> None:
        self._checked = None
        self._shown = None
        self.findings = []
        self.ui.loadVolumeButton.connect("clicked(bool)", self.onLoad)

    def onBound(self) -> None:
        """A scene's own views stay as they are."""
        volume = self.parameters.inputVolume
        self._shown = volume.GetID() if volume is not None else None

    def update(self) -> None:
        """Show another input; check it again when it, or the model, is another."""
        self._show()
        volume, card = self.parameters.inputVolume, self.panel.card()
        image = volume.GetImageData() if volume is not None else None
        state = (volume.GetID(), volume.GetName(), volume.GetMTime()) if volume is not None else None
        key = (state, image.GetMTime() if image is not None else None, card.id if card is not None else None)
        if key != self._checked:
            self._checked = key
            self.findings = self.logic.preflight(volume, card)
            setText(self.ui.preflightLabel, self._text(volume))

    def _show(self) -> None:
        volume = self.parameters.inputVolume
        identifier = volume.GetID() if volume is not None else None
        if identifier != self._shown:
            self._shown = identifier
            if volume is not None and volume.GetImageData() is not None:
                linked_views.showInput(volume)

    def refusal(self) -> str:
        """Why the input cannot be used; empty when it can."""
        self.update()
        if self.parameters.inputVolume is None:
            return _("Select an input volume.")
        if self.parameters.inputVolume.GetImageData() is None:
            return _("The input volume is empty.")
        return preflight.refusal(self.findings)

    def onLoad(self) -> None:
        """Slicer's own dialog for adding volumes."""
        slicer.util.openAddVolumeDialog()

    def onSceneClose(self) -> None:
        self._checked = self._shown = None

    def _text(self, volume: slicer.vtkMRMLScalarVolumeNode | None) -> str:
        if volume is None:
            return _("Load or drop a volume into Slicer, or take one from the module Sample Data.")
        told = [html.escape(finding.text) for finding in self.findings if finding.level == preflight.INFO]
        lines = [_SIGNS[f.level] + html.escape(f.text) for f in self.findings if f.level != preflight.INFO]
        # One paragraph for what is only told: the button below stays visible on a small screen.
        lines.insert(0, " · ".join(told))
        return "<br>".join(f"<b>{line}</b>" if line.startswith("✖") else line for line in lines if line)
