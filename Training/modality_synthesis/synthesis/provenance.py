"""What a synthetic file says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from modality_synthesis._version import __version__
from modality_synthesis.findings import Finding
from modality_synthesis.models.card import Card
from modality_synthesis.preprocessing import TargetScaling


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
    scaling: TargetScaling
    manufacturer: str | None = None
    samples: int = 1
    cost: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    fingerprint: str = ""


def description(card: Card) -> str:
    """At most 79 characters for the NIfTI header."""
    return f"SYNTHETIC {card.route.target} {card.output.units}, {card.id} {card.version}, research use only"[:79]


def sidecar(card: Card, run: Run) -> dict[str, object]:
    """The JSON beside a synthetic volume (BIDS-style keys).

    It names the source file and its hash, never its folder, and only those clinical variables the user gave.
    """
    what = f"Synthetic {card.route.target} computed from {card.route.source}"
    mean = f", mean of {run.samples} samples" if run.samples > 1 else ""
    return {
        "SyntheticData": True,
        "Description": f"{what}{mean}; not measured.",
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
            "samples": run.samples,
            "space": run.space,
            "clinical": dict(run.clinical),
            "manufacturer": run.manufacturer,
        },
        "Standardization": _standardization(card, run.scaling),
        "Quality": dict(run.quality),
        "Warnings": list(run.warnings),
        "Findings": [finding.as_dict() for finding in run.findings],
        "Cost": dict(run.cost),
        "Fingerprint": run.fingerprint,
        "Date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def uncertainty_description(card: Card) -> str:
    """At most 79 characters for the NIfTI header of a standard deviation."""
    return f"SYNTHETIC {card.route.target} SD, {card.output.units}, {card.id} {card.version}, research use only"[:79]


def uncertainty_sidecar(record: Mapping[str, object], card: Card, samples: int) -> dict[str, object]:
    """The JSON beside a standard deviation, from that of the mean it belongs to."""
    changed = {
        "Description": f"Standard deviation over {samples} samples of a synthetic {card.route.target} computed from "
        f"{card.route.source}. It shows how far the model's samples differ, not how far they are from the truth.",
        "Statistic": "standard deviation",
    }
    return {name: value for name, value in {**record, **changed}.items() if name != "DisplayWindow"}


def _standardization(card: Card, scaling: TargetScaling) -> dict[str, object] | None:
    """Whose statistics turned network values into the target's units; None without a standardization."""
    standardization = card.preprocessing.target.standardization
    if standardization is None:
        return None
    return {
        "by": standardization.by,
        "method": standardization.method,
        "statistics": scaling.statistics,
        "scale": scaling.scale,
        "offset": scaling.offset,
    }
