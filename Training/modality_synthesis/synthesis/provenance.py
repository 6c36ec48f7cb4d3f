"""What a synthetic file says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from modality_synthesis._version import __version__
from modality_synthesis.models.card import Card


@dataclass(frozen=True)
class Run:
    """The facts of one synthesis that the sidecar records."""

    source_name: str
    source_sha256: str
    device: str
    seed: int
    space: str
    quality: Mapping[str, float]
    warnings: Sequence[str]
    clinical: Mapping[str, object]


def description(card: Card) -> str:
    """At most 79 characters for the NIfTI header."""
    return f"SYNTHETIC {card.route.target} {card.output.units}, {card.id} {card.version}, research use only"[:79]


def sidecar(card: Card, run: Run) -> dict[str, object]:
    """The JSON beside a synthetic volume (BIDS-style keys).

    It names the source file and its hash, never its folder, and only those clinical variables the user gave.
    """
    return {
        "SyntheticData": True,
        "Description": f"Synthetic {card.route.target} computed from {card.route.source}; not measured.",
        "IntendedUse": "Research use only, not for diagnosis.",
        "ModelBadge": card.badge,
        "Model": {
            "id": card.id,
            "version": card.version,
            "generator": card.generator.name,
            "weights_sha256": card.weights.sha256,
            "trained_on_simulated_data": card.training.simulated,
        },
        "Route": {"source": card.route.source, "target": card.route.target},
        "Quantity": card.output.quantity,
        "Units": card.output.units,
        "ReferenceRegion": card.output.reference_region,
        "DisplayWindow": list(card.output.display_window),
        "Sources": [{"file": run.source_name, "sha256": run.source_sha256}],
        "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
        "Parameters": {
            "device": run.device,
            "seed": run.seed,
            "space": run.space,
            "clinical": dict(run.clinical),
        },
        "Quality": dict(run.quality),
        "Warnings": list(run.warnings),
        "Date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
