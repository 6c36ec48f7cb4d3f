"""Which scanner's image a model standardized by manufacturer is asked for."""

from __future__ import annotations

from modality_synthesis.errors import UsageError
from modality_synthesis.models.card import Card
from modality_synthesis.preprocessing import TargetScaling, target_scaling
from modality_synthesis.preprocessing.target import POOLED
from modality_synthesis.progress import Reporter


def manufacturers(card: Card) -> tuple[str, ...]:
    """Those the model has statistics of; empty when it is not standardized by manufacturer."""
    standardization = card.preprocessing.target.standardization
    return tuple(standardization.statistics) if standardization is not None else ()


def choose_scaling(card: Card, manufacturer: str | None, reporter: Reporter) -> TargetScaling:
    """The scaling of the result; warns when the pooled statistics stand in for a manufacturer's.

    Raises:
        UsageError: the model is not standardized by manufacturer, so that naming one would do nothing.
    """
    known = manufacturers(card)
    if manufacturer is not None and not known:
        raise UsageError(f"The model {card.id} is not standardized by manufacturer; leave out --manufacturer.")
    scaling = target_scaling(card.preprocessing.target, manufacturer)
    if known and scaling.statistics == POOLED and (manufacturer or "").lower() != POOLED:
        why = f"has no statistics of {manufacturer!r}" if manufacturer else "was not told the scanner's manufacturer"
        reporter.warning(
            f"The model {card.id} {why}; it takes those of all its training patients. Known: {', '.join(known)} "
            f"(--manufacturer {known[0]}; --manufacturer {POOLED} for all without this warning)."
        )
    return scaling
