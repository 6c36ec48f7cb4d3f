"""Reporting checklists for studies of medical AI, filled in from provenance as far as it goes.

CLAIM 2024 (Tejani 2024, Radiol Artif Intell 6: e240300) and TRIPOD+AI (Collins 2024, BMJ 385: e078378). Items are named
in short; the published wording binds. What only the authors know stays theirs to fill in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTHORS = "For the authors."

CLAIM = (
    "Title or abstract says AI and which kind", "Structured summary", "Scientific and clinical background",
    "Aims and hypotheses", "Prospective or retrospective", "Study goal", "Data sources",
    "Inclusion and exclusion criteria", "Preprocessing", "Selection of data subsets", "De-identification",
    "Missing data", "Image acquisition", "Definition of the reference standard", "Rationale of the reference standard",
    "Source of reference annotations", "Annotation of the test set", "Variability between and within raters",
    "Assignment to partitions", "Level at which partitions are disjoint", "Intended sample size", "Model description",
    "Software", "Initialization of parameters", "Training", "Selection of the final model", "Ensembling",
    "Metrics of performance", "Significance and uncertainty", "Robustness or sensitivity", "Explainability",
    "Internal test data", "External test data", "Trial registration", "Flow of participants", "Demographics",
    "Performance", "Diagnostic estimates", "Failure analysis", "Limitations", "Implications for practice",
    "Study protocol", "Availability of software, model and data", "Funding",
)  # fmt: skip
TRIPOD_AI = (
    "Title", "Abstract", "Background", "Objectives", "Data", "Participants", "Data preparation", "Outcome",
    "Predictors", "Sample size", "Missing data", "Analytical methods", "Class imbalance", "Fairness", "Model output",
    "Training versus evaluation", "Ethical approval", "Open science", "Patient and public involvement",
    "Participants (results)", "Model development", "Model specification", "Model performance", "Model updating",
    "Interpretation", "Limitations", "Usability in the context of care",
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One line of a checklist; `filled` is False where only the authors can answer."""

    checklist: str
    number: int
    item: str
    answer: str
    filled: bool


def checklist(facts: Mapping[str, Any], *, subgroups: bool, calibrated: bool) -> list[Item]:
    """Both lists for an evaluation.

    Args:
        facts: `Evaluation.facts`.
        subgroups: whether a table by subgroup was made.
        calibrated: whether an uncertainty was judged.
    """
    cards = facts.get("models", [])
    claim, tripod = _claim_answers(facts, cards, subgroups, calibrated), _tripod_answers(facts, cards, subgroups)
    return [
        Item(name, number, item, answers.get(number, AUTHORS), number in answers)
        for name, items, answers in (("CLAIM 2024", CLAIM, claim), ("TRIPOD+AI", TRIPOD_AI, tripod))
        for number, item in enumerate(items, 1)
    ]


def _each(cards: list[Mapping[str, Any]], text: str) -> str:
    """A sentence per model; `text` is a format string over its card."""
    return " ".join(text.format(card=card, training=card["training"], route=card["route"]) for card in cards)


def _claim_answers(
    facts: Mapping[str, Any], cards: list[Mapping[str, Any]], subgroups: bool, calibrated: bool
) -> dict[int, str]:
    cohort, route = facts["cohort"], facts["route"]
    steps = ", ".join(step["step"] for step in facts["preprocessing"]["source"])
    uncertainty = "bootstrap intervals, paired tests with Holm's correction"
    answers = {
        6: f"Synthesis of {route['target']} from {route['source']}, judged against the measured {route['target']}.",
        9: f"Steps: {steps}; the numbers are in metrics.json.",
        12: "Unknown clinical variables are passed to the model as unknown; subgroup tables leave them out.",
        14: f"The measured {route['target']} of the same person.",
        20: "By patient: the program refuses a patient in two partitions.",
        23: f"modality-synthesis; table {cohort['table']}.",
        28: "Defined one by one in this report, with data range and mask.",
        29: f"Patients are the unit: {uncertainty}{'; calibration of the uncertainty' if calibrated else ''}.",
        37: "Tables and figures of this report.",
    }
    if subgroups:
        answers[30] = "Table by subgroup."
    if cards:
        answers |= {
            7: _each(cards, "{card[id]}: {training[data]}."),
            19: _each(cards, "{card[id]}: {training[subjects]} patients, seed {training[seed]}."),
            22: _each(cards, "{card[id]}: generator {card[generator][name]}, {card[weights][parameters]} parameters."),
            25: _each(cards, "{card[id]}: recipe in its card; {training[hardware]}, {training[duration_minutes]} min."),
            40: _each(cards, "{card[id]}: {card[limits]}."),
            43: _each(cards, "{card[id]} {card[version]}, {card[licence]}, weights {card[weights][sha256]:.12}."),
        }
    return answers


def _tripod_answers(facts: Mapping[str, Any], cards: list[Mapping[str, Any]], subgroups: bool) -> dict[int, str]:
    cohort, route = facts["cohort"], facts["route"]
    answers = {
        7: f"Steps: {', '.join(step['step'] for step in facts['preprocessing']['source'])}.",
        8: f"Measured {route['target']}.",
        9: f"{route['source']} and the clinical variables of the model's card.",
        11: "Unknown clinical variables are passed as unknown.",
        12: "Patients are the unit: bootstrap, paired tests with Holm's correction, Bland-Altman, ICC(2,1).",
        15: f"A volume of {route['target']}.",
        16: "Partitions are disjoint by patient; baselines are fitted on training patients.",
        20: f"{cohort['tested']} of {cohort['visits']} visits of {cohort['patients']} patients were evaluated.",
        23: "Tables and figures of this report.",
    }
    if subgroups:
        answers[14] = "Table by subgroup."
    if cards:
        answers |= {
            5: _each(cards, "{card[id]}: {training[data]}; access: {training[access]}."),
            21: _each(cards, "{card[id]}: {training[subjects]} patients."),
            22: _each(cards, "{card[id]} {card[version]}: package with weights {card[weights][sha256]:.12}."),
            26: _each(cards, "{card[id]}: {card[limits]}."),
        }
    return answers
