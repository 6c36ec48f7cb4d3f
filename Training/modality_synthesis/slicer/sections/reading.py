"""Reading: source, synthetic, both fused, and what is known about the error, side by side; one click there, one back."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import display, linked_views, results
from modality_synthesis.slicer.linked_views import Cell
from modality_synthesis.slicer.sections.base import Section

FUSED_OPACITY = 0.5


class ReadingSection(Section):
    """The button beside Synthesize; it has no part of the panel of its own."""

    def setup(self) -> None:
        self._shown = None
        self._layoutManager = slicer.app.layoutManager()
        self.ui.readingButton.connect("clicked(bool)", self.onClicked)
        if self._layoutManager is not None:
            self._layoutManager.connect("layoutChanged(int)", self.onLayoutChanged)

    def cleanup(self) -> None:
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self.onLayoutChanged)

    def update(self) -> None:
        button = self.ui.readingButton
        reading = linked_views.views().kind == linked_views.READING
        button.enabled = self.parameters.outputVolume is not None or reading
        button.checked = reading
        if reading and self.parameters.outputVolume is not None and self._state() != self._shown:
            self.show()

    def onClicked(self, checked: bool) -> None:
        """To the reading, or back to the layout before."""
        if checked:
            self.show()
        else:
            linked_views.views().leave()
        self.update()

    def onLayoutChanged(self, layout: int) -> None:
        """Somebody chose another layout."""
        if self.parameters is not None:
            self.ui.readingButton.checked = linked_views.views().kind == linked_views.READING

    def show(self) -> None:
        """Switch to the linked views of the synthetic volume."""
        if self.parameters.outputVolume is None:
            return
        source = results.sourceOf(self.parameters.outputVolume) or self.parameters.inputVolume
        if results.cardSource(self.parameters.outputVolume) == "CT":
            display.showBrainWindow(source)
        self._shown = self._state()
        linked_views.views().show(linked_views.READING, self.parameters.comparisonOrientation, self._cells(source))
        self.panel.marks.attach()

    def onSceneClose(self) -> None:
        self._shown = None

    def _cells(self, source: object) -> list:
        synthetic = self.parameters.outputVolume
        title, error = self._error()
        opacity = self.parameters.differenceOpacity / 100
        return [
            Cell(_("Source"), source),
            Cell(_("Synthetic"), synthetic),
            Cell(_("Fused"), source, synthetic, FUSED_OPACITY),
            Cell(title, source, error, opacity) if error is not None else Cell(title, None),
        ]

    def _error(self) -> tuple:
        """What is known about the error, with its title: the difference, else z-scores, else the uncertainty."""
        synthetic = self.parameters.outputVolume
        difference = self.logic.differenceVolume(synthetic, self.parameters.differenceKind)
        # Only the PET panel measures z-scores.
        scores = getattr(self.parameters, "zVolume", None)
        if scores is not None and results.sourceOf(scores) is not results.sourceOf(synthetic):
            scores = None  # of another person
        known = ((_("Difference"), difference), (_("z-scores"), scores))
        uncertainty = (_("Uncertainty"), results.uncertaintyOf(synthetic))
        return next((pair for pair in (*known, uncertainty) if pair[1] is not None), (_("Error not known"), None))

    def _state(self) -> tuple:
        """What the views depend on."""
        parameters = self.parameters
        error = self._error()[1]
        return (
            parameters.outputVolume.GetID(),
            error.GetID() if error is not None else "",
            parameters.comparisonOrientation,
            parameters.differenceOpacity,
        )
