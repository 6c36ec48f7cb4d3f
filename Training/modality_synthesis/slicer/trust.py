"""How much a synthetic volume can be trusted, and why: one line, from what its record says."""

from __future__ import annotations

import html
from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from modality_synthesis.names import shortened
from modality_synthesis.slicer import results
from modality_synthesis.slicer.cards import DEMONSTRATION

GOOD, LOOK, BAD = "good", "look", "bad"
# On light and on dark windows; each has a contrast of 4.5 and more there.
COLORS = {GOOD: ("#1b6e2c", "#7bd88f"), LOOK: ("#8a5300", "#f0b454"), BAD: ("#b3261e", "#ff8a80")}
LONGEST_REASON = 100  # characters; the tool tip has the whole
_DARK_BELOW = 128


@dataclass(frozen=True)
class Trust:
    """A verdict in words, and everything that led to it.

    Attributes:
        level: `GOOD`, `LOOK` or `BAD`.
        text: the verdict and its main reason.
        details: all reasons, one a line.
    """

    level: str
    text: str
    details: str

    def line(self, lightness: int) -> str:
        """Rich text in the color of the level.

        :param lightness: of the window it is shown in, 0 to 255.
        """
        light, dark = COLORS[self.level]
        color = dark if lightness < _DARK_BELOW else light
        return f"<span style='color:{color}'>● <b>{html.escape(self.text)}</b></span>"


def trustIn(volume: slicer.vtkMRMLScalarVolumeNode | None) -> Trust | None:
    """What speaks for and against a synthetic volume; None for what is none."""
    if not results.isSynthetic(volume):
        return None
    record = results.sidecarOf(volume)
    badge = record.get("ModelBadge") or volume.GetAttribute("ModalitySynthesis.ModelBadge")
    findings = [one for one in record.get("Findings") or [] if one.get("level") in ("look", "refuse")]
    findings.sort(key=lambda one: one["level"] != "refuse")
    reasons = [f"{one.get('message', '')} {one.get('action', '')}".strip() for one in findings]
    if badge == DEMONSTRATION:
        reasons.append(_("The model is a demonstration: it learned from too little for any other use."))
    refused = any(one["level"] == "refuse" for one in findings)
    if refused or badge == DEMONSTRATION:
        verdict, level = _("Do not rely on it: {reason}"), BAD
    elif reasons:
        verdict, level = _("Look before you use it: {reason}"), LOOK
    elif "Findings" not in record:
        verdict, level = _("Look before you use it: {reason}"), LOOK
        reasons = [_("Its record does not say what was checked.")]
    else:
        verdict, level = _("{reason}"), GOOD
        reasons = [_("Nothing unusual was found in the input. Research use only.")]
    main = _("demonstration model.") if badge == DEMONSTRATION and not refused else reasons[0]
    others = len(reasons) - 1
    more = _(" {count} more.").format(count=others) if others else ""
    return Trust(level, verdict.format(reason=shortened(main, LONGEST_REASON)) + more, "\n".join(reasons))
