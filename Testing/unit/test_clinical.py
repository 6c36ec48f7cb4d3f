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


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (("F", "M"), {"female": 0, "Male": 1, "woman": 0, "MAN": 1, "f": 0, " m ": 1, "w": 0}),
        (("male", "female"), {"M": 0, "F": 1, "Female": 1}),
        (("0", "1"), {"1": 1, "1.0": 1, "0": 0}),
    ],
)
def test_a_sex_is_understood_in_words(choices, words):
    card = SimpleNamespace(
        id="m", clinical_variables=(ClinicalVariable(name="sex", label="Sex", kind="choice", choices=choices),)
    )
    assert {word: clinical_values(card, {"sex": word}) for word in words} == {
        word: [float(place)] for word, place in words.items()
    }


@pytest.mark.parametrize("code", ["0", "1", "2"])
def test_a_code_for_a_sex_is_refused_because_cohorts_differ(code):
    with pytest.raises(BadInputError, match=r"differs between cohorts; write F or M"):
        clinical_values(CARD, {"sex": code})


def test_names_and_numbers_as_people_write_them():
    assert clinical_values(CARD, {"AGE": "75,0", "Gender": "Male"}) == [1.0, 1.0]
    for unknown in ("n/a", "-", "NA", ".", "#N/A", None):
        assert math.isnan(clinical_values(CARD, {"age": unknown, "sex": "F"})[0])
    with pytest.raises(BadInputError, match="'sex' is given twice"):
        clinical_values(CARD, {"sex": "F", "gender": "M"})
    with pytest.raises(BadInputError, match="a number is needed"):
        clinical_values(CARD, {"age": "inf", "sex": "F"})
