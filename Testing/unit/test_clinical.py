"""Clinical variables: declared by the model, checked, standardized, unknown allowed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import ClinicalVariable
from modality_synthesis.synthesis.clinical import clinical_values, parse_clinical

CARD = SimpleNamespace(
    id="m",
    clinical_variables=(
        ClinicalVariable(name="age", label="Age", kind="number", unit="years", minimum=40, maximum=100, mean=70, std=5),
        ClinicalVariable(name="sex", label="Sex", kind="choice", choices=("F", "M"), required=True),
    ),
)


def test_values_are_standardized_and_choices_numbered():
    assert clinical_values(CARD, {"age": "75", "sex": "M"}) == [1.0, 1.0]


def test_unknown_is_nan_where_it_is_allowed():
    age, sex = clinical_values(CARD, {"age": "unknown", "sex": "F"})
    assert math.isnan(age)
    assert sex == 0.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": 70}, "needs the clinical variable 'sex'"),
        ({"age": 30, "sex": "F"}, "outside 40"),
        ({"age": "old", "sex": "F"}, "a number is needed"),
        ({"sex": "X"}, "choose one of F, M"),
        ({"sex": "F", "mmse": 20}, "takes no clinical variable 'mmse'"),
        ({"age": "nan", "sex": "?"}, "choose one of"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(BadInputError, match=message):
        clinical_values(CARD, given)


def test_a_model_without_variables_gets_none():
    assert clinical_values(SimpleNamespace(id="m", clinical_variables=()), {}) is None


def test_parsing():
    assert parse_clinical("age=71, sex=F,") == {"age": "71", "sex": "F"}
    assert parse_clinical("") == {}
    with pytest.raises(BadInputError, match="NAME=VALUE"):
        parse_clinical("age:71")
