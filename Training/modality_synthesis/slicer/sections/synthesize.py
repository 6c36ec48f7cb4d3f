"""Synthesize: start, cancel, progress, and showing the result."""

from __future__ import annotations

import html

from slicer.i18n import tr as _

from modality_synthesis.slicer import display, results
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.sections.base import JobSection

OVERLAY_OPACITY = 0.5


class SynthesizeSection(JobSection):
    """The main button of the panel."""

    uiName = "SynthesizeSection.ui"
    prefix = "synthesize"

    def setup(self) -> None:
        super().setup()
        if self.panel.synthesizeText:
            self.startButton.text = self.panel.synthesizeText

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
        if self.panel.overlaysResult:
            display.showOverlay(source, volume, OVERLAY_OPACITY)
        else:
            display.showOverlay(volume, source, 0.0)
        self.panel.marks.attach()
        return _("Made {name}.").format(name=html.escape(volume.GetName()))
