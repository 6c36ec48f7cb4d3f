"""Is it really a synthetic volume and the measured one of the same person, in the same unit? What `compare` doubts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from modality_synthesis.findings import Finding, Level
from modality_synthesis.names import reference_region_id
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import Mark

# Correlation where both hold something. Measured, simulated FDG: own PET 0.94 to 0.96; another person's 0.14 to 0.33
# as it lies, 0.46 to 0.63 after a rigid registration.
PERSON_LOOK, PERSON_NOTHING = 0.75, 0.15
# Reference over synthetic volume. Measured: 0.93 to 1.08; another reference region of SUVR makes up to 1.6, SUV about
# 5, Bq/mL thousands.
SCALE_LOOK, SCALE_REFUSE = 1.3, 3.0
_SCALE_CORRELATION = 0.8
# What BIDS and scanners call units that are no ratio.
_UPTAKE_UNITS = ("bq/ml", "kbq/ml", "mbq/ml", "bqml", "suv", "g/ml", "gml", "counts", "cnts", "propcnts")
ROLES, PERSON, UNITS, REGION = "reference-kind", "same-person", "same-unit", "reference-region"
ITSELF = "same-volume"


def check_roles(synthetic: Mark | None, reference: Mark | None, names: tuple[str, str], reporter: Reporter) -> None:
    """Look at the marks of both volumes.

    Args:
        synthetic: mark of the first volume.
        reference: of the second.
        names: of both, for messages.
        reporter: receives the finding `reference-kind`.

    Raises:
        BadInputError: only the reference is marked as synthetic: the volumes were swapped.
    """
    first, second = names
    if reference is None:
        text = f"{second} carries no mark of synthetic data."
        reporter.finding(Finding(ROLES, "ok", text))
    elif synthetic is None:
        text = f"{second} is given as the measured volume but marked as synthetic ({reference.name}); {first} is not."
        reporter.finding(Finding(ROLES, "refuse", text, "Swap them: the synthetic volume comes first."))
    else:
        text = (
            f"{second} is marked as synthetic itself ({reference.name}), so that two synthetic volumes are compared: "
            "the figures say nothing about the person."
        )
        reporter.finding(Finding(ROLES, "look", text, "Give the measured volume second."))


def check_person(
    first: np.ndarray, second: np.ndarray, inside: np.ndarray, registered: bool, reporter: Reporter
) -> None:
    """Whether the two volumes agree like volumes of one person.

    Args:
        first: synthetic volume.
        second: reference on its grid.
        inside: bool, where both hold something.
        registered: the reference was aligned before.
        reporter: receives the finding `same-person`; at most `look`: an untrained model's volume agrees with nobody.
            `same-volume` where the two are one.
    """
    if np.array_equal(first[inside], second[inside]):
        text = "The two volumes are identical: a volume is compared with itself, and the figures say nothing."
        reporter.finding(Finding(ITSELF, "look", text, "Give the measured volume second."))
        return
    value = correlation(first, second, inside)
    if not np.isfinite(value):
        return  # one of them is constant there, which others say
    agrees = value >= PERSON_LOOK
    action = "Are they of the same person and modality? Look at both, one over the other."
    if not registered:
        action = "Are they of the same person and modality, and aligned? --register aligns them."
    words = "agree" if agrees else "agree poorly" if value >= PERSON_NOTHING else "have nothing to do with each other"
    text = f"The synthetic volume and the reference {words} (correlation {value:.2f})."
    reporter.finding(
        Finding(PERSON, "ok" if agrees else "look", text, "" if agrees else action, round(value, 4), PERSON_LOOK)
    )


def check_units(
    first: np.ndarray,
    second: np.ndarray,
    inside: np.ndarray,
    records: tuple[Mapping[str, Any], Mapping[str, Any]],
    reporter: Reporter,
) -> None:
    """Whether both volumes have the same unit: what their sidecars say, and a constant ratio of their values.

    Args:
        first: synthetic volume.
        second: reference on its grid.
        inside: bool, where they are compared.
        records: the sidecars of both; empty without one.
        reporter: receives the findings `same-unit` and `reference-region`.

    Raises:
        BadInputError: another unit.
    """
    factor, fits = _factor(first, second, inside)
    named = [str(record.get("Units") or "") for record in records]
    if "SUVR" in named[0] and named[1].lower() in _UPTAKE_UNITS:
        text = f"The synthetic volume is in SUVR and the reference in {named[1]}, as its sidecar says{_times(factor)}."
        reporter.finding(Finding(UNITS, "refuse", text, _divide(factor), factor, SCALE_REFUSE))
    elif factor is not None and fits and max(factor, 1 / factor) > SCALE_LOOK:
        refused = max(factor, 1 / factor) > SCALE_REFUSE
        level: Level = "refuse" if refused else "look"
        limit = SCALE_REFUSE if refused else SCALE_LOOK
        text = (
            f"The reference is {factor:.4g} times the synthetic volume throughout the mask: "
            + ("it has another unit (Bq/mL or SUV instead of SUVR?)." if refused else "another reference region?")
        )  # fmt: skip
        reporter.finding(Finding(UNITS, level, text, _divide(factor), factor, limit))
    elif factor is not None:
        text = f"The reference's values are {factor:.3g} times the synthetic volume's."
        reporter.finding(Finding(UNITS, "ok", text, value=factor, limit=SCALE_LOOK))
    regions = [str(record.get("ReferenceRegion") or "") for record in records]
    if all(regions) and reference_region_id(regions[0]) != reference_region_id(regions[1]):
        text = f"The synthetic volume's SUVR are relative to {regions[0]}, the reference's to {regions[1]}."
        reporter.finding(
            Finding(REGION, "look", text, "Divide both by the same reference region (modality-synthesis suvr).")
        )


def _times(factor: float | None) -> str:
    return "" if factor is None else f" (about {factor:.4g} times as large)"


def _divide(factor: float | None) -> str:
    by = "" if factor is None else f", or divide it by {factor:.4g}"
    return (
        f"Bring the reference into the synthetic volume's unit first (modality-synthesis suvr --image){by}. MRI, whose "
        "signal has no unit, is scaled by --match-signal."
    )


def _factor(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> tuple[float | None, bool]:
    """The median ratio of reference and synthetic volume, and whether one factor explains most of their difference."""
    made, real = first[inside].astype(np.float64), second[inside].astype(np.float64)
    shown = made > 0.1 * np.percentile(made, 99)
    if shown.sum() < 100:
        return None, False
    factor = float(np.median(real[shown] / made[shown]))
    if not np.isfinite(factor) or factor <= 0:
        return None, False
    left, before = np.abs(real - factor * made).mean() / factor, np.abs(real - made).mean()
    fits = correlation(first, second, inside) > _SCALE_CORRELATION and left < 0.5 * before
    return float(f"{factor:.5g}"), bool(fits)


def correlation(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> float:
    """Pearson's r in a mask; NaN where one of the volumes is constant."""
    made, real = first[inside].astype(np.float64), second[inside].astype(np.float64)
    if made.size < 2 or made.std() == 0 or real.std() == 0:
        return float("nan")
    return float(np.corrcoef(made, real)[0, 1])


def statement(synthetic: Mark | None, reference: Mark | None, findings: Iterable[Finding]) -> str:
    """What was compared, in words that claim no more than was looked at."""
    found = {finding.code: finding for finding in findings}
    made_by = f" made by {synthetic.name}" if synthetic is not None and synthetic.model else ""
    first = f"A synthetic volume{made_by}" if synthetic is not None else "A volume that carries no mark of its origin"
    second = (
        f"another synthetic volume ({reference.name})" if reference is not None
        else "a reference that carries no mark of synthetic data"
    )  # fmt: skip
    person = found.get(PERSON)
    if ITSELF in found:
        agreement = "They are identical: it is one volume."
    elif person is None or person.value is None:
        agreement = "Whether both are of the same person was not looked at."
    elif person.level == "ok":
        agreement = f"Both agree as volumes of one person do (correlation {person.value:.2f})."
    else:
        agreement = f"They agree so poorly (correlation {person.value:.2f}) that they may be of two people."
    return f"{first} was compared with {second}. {agreement}"
