"""Synthesize: start, cancel, progress, and showing the result."""

from __future__ import annotations

import html

from slicer.i18n import tr as _

from modality_synthesis.slicer import linked_views, results, trust
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection, setText

OVERLAY_OPACITY = 0.5


class SynthesizeSection(JobSection):
    """The main button of the panel."""

    uiName = "SynthesizeSection.ui"
    prefix = "synthesize"

    def setup(self) -> None:
        super().setup()
        if self.panel.synthesizeText:
            self.startButton.text = self.panel.synthesizeText

    def update(self) -> None:
        super().update()
        found = trust.trustIn(self.parameters.outputVolume)
        lightness = self.ui.trustLabel.palette.window().color().lightness()
        setText(self.ui.trustLabel, found.line(lightness) if found is not None else "")
        self.ui.trustLabel.toolTip = found.details if found is not None else ""

        if self.startButton.enabled:
            self.panel.warmUpSoon()

    def onCollapsed(self, collapsed: bool) -> None:
        super().onCollapsed(collapsed)
        if not collapsed:
            self.ui.trustLabel.visible = bool(self.ui.trustLabel.text)

    def onSceneClose(self) -> None:
        super().onSceneClose()
        setText(self.ui.trustLabel, "")

    def obstacle(self) -> str:
        output = self.parameters.outputVolume
        if output is not None and not results.isSynthetic(output):
            return _("{name} is not a synthetic volume and is not overwritten.").format(name=output.GetName())
        return self.panel.sections["InputsSection"].refusal() or self.panel.sections["GeneratorSection"].obstacle()

    def startJob(self) -> bool:
        parameters = self.parameters
        return self.logic.startSynthesis(
            parameters.inputVolume,
            self.panel.card(),
            self.onMessage,
            self.onFinished,
            outputVolume=parameters.outputVolume,
            clinical=parameters.clinical,
            device=parameters.device,
            seed=parameters.seed,
            samples=parameters.samples,
        )

    def onJobDone(self, outcome: Outcome, made: dict) -> str:
        volume = made["volume"]
        self.parameters.outputVolume = volume
        self.parameters.uncertaintyVolume = made.get("uncertainty")
        source = results.sourceOf(volume)
        if linked_views.views().kind != linked_views.READING:  # the reading follows by itself
            self._showResult(source, volume)
        self.panel.marks.attach()
        return _("Made {name}.").format(name=html.escape(volume.GetName()))

    def _showResult(self, source: object, volume: object) -> None:
        if self.panel.overlaysResult:
            linked_views.showOverlay(source, volume, OVERLAY_OPACITY)
        else:
            linked_views.showOverlay(volume, source, 0.0)
