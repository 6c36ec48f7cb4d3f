"""The installed model cards as the panel shows them: plain JSON, so that they can be read before anything is installed.

The worker validates a package before it runs it; here a card only has to have what the panel needs.
"""

from __future__ import annotations

import html
import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from modality_synthesis.json_files import LARGEST_BYTES
from modality_synthesis.resources import model_folders

DEMONSTRATION = "demonstration"


@dataclass(frozen=True)
class Card:
    """One installed model. `facts` is its `model.json`."""

    folder: Path
    facts: dict = field(repr=False)
    # Versions of other installed models of the same id, the shipped one usually, which cannot be chosen.
    hides: tuple = ()

    @property
    def id(self) -> str:
        return self.facts["id"]

    @property
    def name(self) -> str:
        return self.facts["name"]

    @property
    def version(self) -> str:
        return self.facts["version"]

    @property
    def source(self) -> str:
        return self.facts["route"]["source"]

    @property
    def target(self) -> str:
        return self.facts["route"]["target"]

    @property
    def is_demonstration(self) -> bool:
        return self.facts["badge"] == DEMONSTRATION

    @property
    def is_stochastic(self) -> bool:
        return bool((self.facts.get("inference") or {}).get("stochastic"))

    @property
    def quantity(self) -> str:
        return self.facts["output"]["quantity"]

    @property
    def units(self) -> str:
        return self.facts["output"]["units"]

    @property
    def reference_region(self) -> str:
        return self.facts["output"].get("reference_region") or ""

    @property
    def display_window(self) -> tuple[float, float]:
        low, high = self.facts["output"]["display_window"]
        return float(low), float(high)

    @property
    def colormap(self) -> str:
        output = self.facts["output"]
        return output.get("colormap") or ("Inferno" if output["quantity"] == "SUVR" else "Grey")

    @property
    def clinical_variables(self) -> list:
        return list(self.facts.get("clinical_variables") or [])

    @property
    def stochastic(self) -> bool:
        """Whether another seed gives another result."""
        return bool((self.facts.get("inference") or {}).get("stochastic"))

    @property
    def input_ranges(self) -> dict:
        return dict(self.facts.get("input_ranges") or {})

    @property
    def weights_sha256(self) -> str:
        return self.facts["weights"]["sha256"]


def installed_cards(sources: tuple[str, ...] = (), targets: tuple[str, ...] = ()) -> list[Card]:
    """The models for these modalities (all when empty), by name; a user's package hides a shipped one of the same id."""
    found: dict[str, Card] = {}
    for root in model_folders():
        for path in sorted(root.glob("*/model.json")):
            card = _read(path)
            if card is None:
                continue
            first = found.setdefault(card.id, card)
            if first is not card:
                found[card.id] = replace(first, hides=(*first.hides, card.version))
    fitting = [
        c for c in found.values() if (not sources or c.source in sources) and (not targets or c.target in targets)
    ]
    return sorted(fitting, key=lambda card: (card.is_demonstration, card.target, card.is_stochastic, card.name))


def card_html(card: Card) -> str:
    """The card as rich text: what was learned from what, how good it is, what it is for."""
    facts = card.facts
    training = facts["training"]
    subjects = training["subjects"]
    rows = [
        ("Route", f"{card.source} → {card.target}, {_units(card)}"),
        ("Generator", f"{facts['generator']['name']}, version {card.version}"),
        (
            "Training data",
            f"{training['data']} ({subjects['train']} people{', simulated images' if training['simulated'] else ''})",
        ),
        ("Intended use", facts["intended_use"]),
        ("Limits", "\n".join(facts.get("limits") or ["none stated"])),
        *([("Also measured", "\n".join(facts["findings"]))] if facts.get("findings") else []),
        ("License", facts["licence"]),
        ("Citation", facts["citation"]),
    ]
    text = "".join(f"<tr><td><b>{label}&nbsp;</b></td><td>{_escape(value)}</td></tr>" for label, value in rows)
    return f"<table>{text}</table>{_metrics_html(facts.get('metrics') or [])}"


def badge_text(card: Card) -> str:
    """What kind of model this is, for the line above the card."""
    return _badge(card) + (
        f" <b>Hides {_escape(card.id)} {_escape(', '.join(card.hides))}</b>, installed too." if card.hides else ""
    )


def _badge(card: Card) -> str:
    if card.is_demonstration:
        return "<b>Demonstration</b> – shows what the software does; learned from too little for any other use."
    return "<b>Research only</b> – not for diagnosis or treatment."


def _escape(text: str) -> str:
    return html.escape(str(text)).replace("\n", "<br>")


def _units(card: Card) -> str:
    reference = f" (reference region: {card.reference_region})" if card.reference_region else ""
    return f"{card.quantity}{reference}" if card.quantity == card.units else f"{card.quantity}, {card.units}{reference}"


def _metrics_html(metrics: list) -> str:
    rows = []
    for metric in metrics:
        interval = f" [{metric['low']:.3g}, {metric['high']:.3g}]" if metric.get("low") is not None else ""
        others = ", ".join(f"{name} {value:.3g}" for name, value in (metric.get("compared_with") or {}).items())
        where = f"{metric['region']}, {metric['subjects']} people of {metric['dataset']}"
        rows.append(
            f"<tr><td title='{html.escape(metric['definition'], quote=True)}'>{html.escape(metric['name'])}&nbsp;</td>"
            f"<td>{metric['value']:.3g}{interval} {html.escape(metric.get('unit') or '')}&nbsp;</td>"
            f"<td>{html.escape(others)}&nbsp;</td><td>{html.escape(where)}</td></tr>"
        )
    if not rows:
        return "<p>No figures were measured for this model.</p>"
    head = "<tr><th align='left'>Metric</th><th align='left'>Value [95 %]</th>"
    return f"<table>{head}<th align='left'>Simple predictors</th><th align='left'>Measured in</th></tr>{''.join(rows)}</table>"


def _read(path: Path) -> Card | None:
    try:
        # A pipe would keep the panel waiting; a card has a few kilobytes.
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is no file, or too large")
        facts = json.loads(path.read_bytes())  # whatever Unicode encoding an editor chose
        card = Card(path.parent, facts)
        for name in ("id", "name", "version", "source", "target", "quantity", "units", "reference_region", "colormap",
                     "weights_sha256"):  # fmt: skip
            if not isinstance(getattr(card, name), str):
                raise TypeError(f"{name} is no text")
        for name in ("is_demonstration", "is_stochastic", "display_window", "clinical_variables", "input_ranges"):
            getattr(card, name)
        card_html(card)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        logging.warning("Model package %s is left out: its card cannot be read (%r).", path.parent, error)
        return None
    return card
