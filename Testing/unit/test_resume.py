"""A training goes on only with what it was begun with, and says what changed."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.baselines import Baselines
from modality_synthesis.training.folder import RunFacts, RunFolder
from modality_synthesis.volumes import write_json

SPLIT = Split(("a", "b"), ("c",), ("d",))
FACTS = RunFacts(None, 1, "CPU", "32-true", (), program="1.0+1", contents={"a": "1", "b": "2", "c": "3"})


@pytest.fixture
def begun(tmp_path):
    """A run folder with what was begun."""
    write_json(SPLIT.as_dict(), tmp_path / "splits.json")
    write_json(asdict(FACTS), tmp_path / "run.json")
    return RunFolder(tmp_path)


def test_the_same_volumes_and_values_go_on(begun):
    begun.check_same_data(SPLIT, FACTS)
    # Who is tested decides nothing about what is learned.
    begun.check_same_data(replace(SPLIT, test=()), FACTS)


@pytest.mark.parametrize(
    ("split", "contents", "message"),
    [
        (SPLIT, {"a": "1", "b": "9", "c": "3"}, "other volumes or clinical values of b"),
        (SPLIT, {"a": "8", "b": "9", "c": "3"}, "of a and 1 more visits"),
        (SPLIT, {"a": "1", "c": "3"}, "of b"),
        (Split(("a",), ("c",)), {"a": "1", "c": "3"}, "other patients.*train: b"),
        (Split(("a", "c"), ("b",)), {"a": "1", "b": "2", "c": "3"}, "other patients"),
    ],
)
def test_other_data_is_named(begun, split, contents, message):
    with pytest.raises(BadInputError, match=message):
        begun.check_same_data(split, replace(FACTS, contents=contents))


def test_patients_that_cannot_be_used_leave_their_side_and_nobody_changes_sides():
    assert SPLIT.only(["a", "c", "x"]) == Split(("a",), ("c",), ())


def test_damaged_baselines_are_fitted_again(tmp_path):
    path = tmp_path / "baselines.safetensors"
    assert not Baselines.is_intact(path)
    names = ("mean", "slope", "intercept", "tissue_weights", "scale")
    save_file({name: np.zeros(100, np.float32) for name in names}, path)
    assert Baselines.is_intact(path)
    path.write_bytes(path.read_bytes()[:-8])
    assert not Baselines.is_intact(path)
    path.write_bytes(b"")
    assert not Baselines.is_intact(path)
