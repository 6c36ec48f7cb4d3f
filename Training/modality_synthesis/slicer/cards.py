"""The installed model cards as the panel shows them: plain JSON, so that they can be read before anything is installed.

The worker validates a package before it runs it; here a card only has to have what the panel needs.
"""

from __future__ import annotations

import html
import json
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from modality_synthesis.json_files import LARGEST_BYTES
from modality_synthesis.names import reference_region_name, shortened
from modality_synthesis.resources import model_folders

DEMONSTRATION = "demonstration"
LONGEST_NAME = 26  # characters of a model's name that the selector has room for in the narrowest panel


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


def short_names(found: list[Card]) -> list[str]:
    """The models' names for the selector: no two alike, without what all of them, or the card's line, say.

    Args:
        found: the models of a panel.
    """
    said = ["demonstration"]
    if len({card.source for card in found}) == 1:
        said.append(f"from {found[0].source}(?: MRI| scan)?")
    shown = [shortened(_without(card.name, said), LONGEST_NAME) for card in found]
    return [
        text
        if shown.count(text) == 1
        else f"{shortened(text, LONGEST_NAME // 2)} · {shortened(card.id, LONGEST_NAME // 2)}"
        for text, card in zip(shown, found)  # noqa: B905 - Python 3.9
    ]


def _without(name: str, said: list[str]) -> str:
    """A name without some words; brackets and commas that are left with nothing go too."""
    text = re.sub(rf"\b(?:{'|'.join(said)})\b", "", name)
    text = re.sub(r"[\s,]*\)", ")", re.sub(r"\([\s,]*", "(", text)).replace("()", "")
    return " ".join(text.split()).strip(" ,") or name


def card_line(card: Card) -> str:
    """The card in one line below the model's name: the quantity it makes, learned from whom, how far to trust it."""
    training = card.facts["training"]
    people = f"{training['subjects']['train']} {'simulated ' if training['simulated'] else ''}people"
    trust = DEMONSTRATION if card.is_demonstration else "research only"
    return f"{card.quantity} · {people} · <b>{trust}</b>"


def card_html(card: Card) -> str:
    """The card as rich text: what was learned from what, how good it is, what it is for."""
    facts = card.facts
    training = facts["training"]
    subjects = training["subjects"]
    rows = [
        ("Model", card.name),
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
    badge = f"<p>{badge_text(card)}</p>"
    return f"{badge}<table width='100%'>{text}{_metrics_rows(facts.get('metrics') or [])}</table>"


def badge_text(card: Card) -> str:
    """What kind of model this is."""
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
    reference = f" (reference region: {reference_region_name(card.reference_region)})" if card.reference_region else ""
    return f"{card.quantity}{reference}" if card.quantity == card.units else f"{card.quantity}, {card.units}{reference}"


def _metrics_rows(metrics: list) -> str:
    """A row for each figure: the value with its interval, simple predictors, and in whom it was measured."""
    rows = []
    for metric in metrics:
        interval = f" [{metric['low']:.3g}, {metric['high']:.3g}]" if metric.get("low") is not None else ""
        lines = [f"{metric['value']:.3g}{interval} {metric.get('unit') or ''}".strip()]
        others = ", ".join(f"{name} {value:.3g}" for name, value in (metric.get("compared_with") or {}).items())
        lines += [f"Simple predictors: {others}"] if others else []
        lines.append(f"{metric['region']}, {metric['subjects']} people of {metric['dataset']}")
        tip = html.escape(metric["definition"], quote=True)
        name = html.escape(metric["name"])
        rows.append(f"<tr><td title='{tip}'><b>{name}&nbsp;</b></td><td>{_escape(chr(10).join(lines))}</td></tr>")
    return "".join(rows) or "<tr><td></td><td>No figures were measured for this model.</td></tr>"


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
        card_line(card)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        logging.warning("Model package %s is left out: its card cannot be read (%r).", path.parent, error)
        return None
    return card
