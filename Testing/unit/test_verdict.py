"""The sentence on top of a report: who wins, by how much, and whether the patients are enough to say so."""

from __future__ import annotations

import numpy as np
import pytest

from modality_synthesis.evaluation.study import Evaluation
from modality_synthesis.evaluation.verdict import verdicts


def evaluation(scores: dict[str, list[float]], patients: list[str] | None = None) -> Evaluation:
    count = len(next(iter(scores.values())))
    people = patients or [f"sub-{number}" for number in range(count)]
    return Evaluation(
        contenders=("ours",), split="test", data_range=2.0, units="SUVR", subjects=people, patients=people,
        scores={name: {"MAE": values} for name, values in scores.items()},
    )  # fmt: skip


def noisy(level: float, count: int = 12) -> list[float]:
    return list(level + 0.01 * np.random.default_rng(round(100 * level)).standard_normal(count))


def test_a_model_that_loses_is_said_to_lose_to_the_best_baseline():
    found = verdicts(evaluation({"ours": noisy(0.20), "population mean": noisy(0.15), "mean x tissue": noisy(0.11)}))[0]
    assert found.outcome == "loses to"
    assert found.baseline == "mean x tissue"
    assert found.text.startswith("ours loses to mean × tissue by 0.0")
    assert "SUVR MAE (95 % interval 0.0" in found.text
    assert "12 patients" in found.text
    assert found.difference.value == pytest.approx(0.09, abs=0.01)


def test_a_model_that_wins_beats():
    found = verdicts(evaluation({"ours": noisy(0.10), "population mean": noisy(0.15)}))[0]
    assert found.outcome == "beats"
    assert "ours beats population mean by 0.0" in found.text
    assert "\N{MINUS SIGN}" not in found.text


def test_what_the_patients_do_not_decide_is_left_open():
    ours = [0.10, 0.14, 0.10, 0.14, 0.10, 0.14]
    found = verdicts(evaluation({"ours": ours, "population mean": [0.12] * 6}))[0]
    assert found.outcome == "undecided"
    assert "cannot be told from population mean" in found.text
    assert "beats" not in found.text


def test_fewer_than_five_patients_have_no_interval_whatever_their_visits():
    patients = ["a", "a", "a", "b", "b", "b"]
    found = verdicts(evaluation({"ours": [0.2] * 6, "population mean": [0.1] * 6}, patients))[0]
    assert found.difference.count == 2
    assert np.isnan(found.difference.low)
    assert "in 2 patients, too few for an interval" in found.text
    assert "95 %" not in found.text


def test_without_a_baseline_nothing_is_claimed():
    found = verdicts(evaluation({"ours": [0.2] * 6}))[0]
    assert found.outcome == "not judged"
    assert "without a baseline" in found.text
    assert found.as_dict()["difference"] is None
