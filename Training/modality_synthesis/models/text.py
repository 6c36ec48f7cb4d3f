"""The model card for people: Markdown made from `model.json`."""

from __future__ import annotations

from modality_synthesis.models.card import Card


def card_text(card: Card, *, has_preview: bool = False) -> str:
    """Markdown with what the model does, learned from, reaches and must not be used for."""
    parts = [
        f"# {card.name}",
        f"`{card.id}` {card.version}: {card.route.source} → {card.route.target} ({card.output.quantity}), "
        f"**{card.badge} model**. {card.intended_use}",
    ]
    if has_preview:
        parts.append(f"![Example: {card.route.source} and synthetic {card.route.target}](preview.png)")
    parts += [_limits(card), _training(card), _metrics(card), _facts(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _limits(card: Card) -> str:
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits)


def _training(card: Card) -> str:
    facts, people = card.training, card.training.subjects
    warning = " **All training images were simulated.**" if facts.simulated else ""
    minutes = (
        ""
        if facts.duration_minutes is None
        else f" Trained for {facts.duration_minutes:.0f} minutes on {facts.hardware}."
    )
    return (
        f"## Training\n\n{facts.data}.{warning} {people.train} training, {people.validation} validation and "
        f"{people.test} test subjects.{minutes} Data access: {facts.access or 'not stated'}"
    )


def _metrics(card: Card) -> str:
    if not card.metrics:
        return ""
    others = list(card.metrics[0].compared_with)
    first = card.metrics[0]
    lines = [
        "## Measured",
        "",
        f"{first.subjects} subjects: {first.dataset}; {first.region}. Mean over subjects [95 % interval].",
        "",
        "| metric | this model | " + " | ".join(others) + (" |" if others else ""),
        "|---|---|" + "---|" * len(others),
    ]
    for metric in card.metrics:
        interval = "" if metric.low is None or metric.high is None else f" [{metric.low:.3f}, {metric.high:.3f}]"
        cells = [f"{metric.compared_with[name]:.3f}" for name in others]
        unit = f" ({metric.unit})" if metric.unit else ""
        lines.append(
            f"| {metric.name}{unit} | **{metric.value:.3f}**{interval} | " + " | ".join(cells) + (" |" if cells else "")
        )
    lines += ["", *(f"- {metric.name}: {metric.definition}." for metric in card.metrics)]
    return "\n".join(lines)


def _facts(card: Card) -> str:
    return (
        f"## Facts\n\nGenerator `{card.generator.name}`, {card.weights.parameters:,} parameters, run in the mode "
        f"'{card.inference.mode}'. Licence {card.licence}. Cite: {card.citation}\n\n"
        f"Weights SHA-256 `{card.weights.sha256}`."
    )
