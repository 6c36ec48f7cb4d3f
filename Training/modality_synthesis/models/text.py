"""The model card for people: Markdown made from `model.json`."""

from __future__ import annotations

from collections.abc import Sequence

from modality_synthesis.models.card import Card, ClinicalVariable, Metric


def card_text(card: Card, *, has_preview: bool = False) -> str:
    """Markdown with what the model does, learned from, reaches and must not be used for."""
    parts = [
        f"# {card.name}",
        f"`{card.id}` {card.version}: {card.route.source} → {card.route.target} ({card.output.quantity}), "
        f"**{card.badge} model**. {card.intended_use}",
    ]
    if has_preview:
        parts.append(f"![Example: {card.route.source} and synthetic {card.route.target}](preview.png)")
    if card.verdict:
        parts.append(f"**Verdict**: {card.verdict}")
    parts += [_limits(card), _inputs(card), _training(card), _metrics(card), _findings(card), _facts(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _limits(card: Card) -> str:
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits)


def _findings(card: Card) -> str:
    return "## Also measured\n\n" + "\n".join(f"- {finding}" for finding in card.findings) if card.findings else ""


def _training(card: Card) -> str:
    facts, people = card.training, card.training.subjects
    warning = " **All training images were simulated.**" if facts.simulated else ""
    minutes = (
        ""
        if facts.duration_minutes is None
        else f" Trained for {facts.duration_minutes:.0f} minutes on {facts.hardware}."
    )
    regions = f" Errors weighed more in: {', '.join(facts.meta_roi)}." if facts.meta_roi else ""
    visits = "" if facts.cohort is None else f" ({facts.cohort.visits.total} visits)"
    return (
        f"## Training\n\n{facts.data}.{warning} {people.train} training, {people.validation} validation and "
        f"{people.test} test subjects{visits}.{minutes} Data access: {facts.access or 'not stated'}"
        f"{regions}{_standardization(card)}"
    )


def _standardization(card: Card) -> str:
    found = card.preprocessing.target.standardization
    if found is None or found.pooled is None:
        return ""
    groups = {**found.statistics, "all": found.pooled}
    rows = [["scanner", "mean", "std", "minimum", "maximum", "training subjects"], ["---"] * 6]
    for name, figures in groups.items():
        numbers = (figures.mean, figures.std, figures.minimum, figures.maximum)
        rows.append([name, *(f"{number:.3f}" for number in numbers), str(figures.subjects)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"\n\nTarget values inside the brain, standardized by {found.method}:\n\n{table}"


def _inputs(card: Card) -> str:
    lines = []
    for variable in card.clinical_variables:
        need = "required" if variable.required else "optional"
        lines.append(f"- {variable.label} (`{variable.name}`): {_domain(variable)}, {need}")
    lines += [f"- Seen in training, {name}: {low:g} to {high:g}" for name, (low, high) in card.input_ranges.items()]
    return "## Inputs\n\n" + "\n".join(lines) if lines else ""


def _domain(variable: ClinicalVariable) -> str:
    if variable.choices:
        return " or ".join(variable.choices)
    low, high = ("" if value is None else f"{value:g}" for value in (variable.minimum, variable.maximum))
    limits = f"{low} to {high}".strip() if low and high else (f"from {low}" if low else f"up to {high}" if high else "")
    return f"{limits} {variable.unit or ''}".strip() or "a number"


def _metrics(card: Card) -> str:
    if not card.metrics:
        return ""
    others = list(dict.fromkeys(name for metric in card.metrics for name in metric.compared_with))
    tables = []
    # Figures of different data stand in different tables: side by side they would be read as comparable.
    for about in dict.fromkeys(map(_about, card.metrics)):
        tables.append(about + "\n\n" + _table([m for m in card.metrics if _about(m) == about], others))
    definitions = "\n".join(f"- {metric.name}: {metric.definition}." for metric in card.metrics)
    bold = ["Bold: the best of a row."] if any(metric.better for metric in card.metrics) else []
    return "\n\n".join(["## Measured", *tables, *bold, definitions])


def _about(metric: Metric) -> str:
    return f"{metric.subjects} subjects: {metric.dataset}; {metric.region}. Mean over subjects [95 % interval]."


def _table(metrics: list[Metric], others: list[str]) -> str:
    rows = [["metric", "this model", *others], ["---"] * (2 + len(others))]
    for metric in metrics:
        interval = "" if metric.low is None or metric.high is None else f" [{metric.low:.3f}, {metric.high:.3f}]"
        unit = f" ({metric.unit})" if metric.unit else ""
        # A baseline need not be scored by every metric.
        values = [metric.value, *(metric.compared_with.get(name) for name in others)]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        best = _best(values, metric.better)
        cells = [f"**{cell}**" if place in best else cell for place, cell in enumerate(cells)]
        rows.append([f"{metric.name}{unit}", f"{cells[0]}{interval}", *cells[1:]])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _best(values: Sequence[float | None], better: str | None) -> list[int]:
    """Places of the best figures, whoever reached them; none where the card does not say what is better."""
    known = {place: value for place, value in enumerate(values) if value is not None}
    if better is None or len(known) < 2:
        return []
    rank = {
        place: value if better == "lower" else -value if better == "higher" else abs(value - 1)
        for place, value in known.items()
    }
    return [place for place, value in rank.items() if value == min(rank.values())]


def _facts(card: Card) -> str:
    return (
        f"## Facts\n\nGenerator `{card.generator.name}`, {card.weights.parameters:,} parameters, run in the mode "
        f"'{card.inference.mode}'. Licence {card.licence}. Cite: {card.citation}\n\n"
        f"Weights SHA-256 `{card.weights.sha256}`."
    )
