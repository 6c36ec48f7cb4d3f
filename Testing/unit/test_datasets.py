"""Cohort tables, splits without leakage, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modality_synthesis.datasets import read_cohort, split_cohort
from modality_synthesis.datasets.augmentation import augment
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError


def table(tmp_path, text, name="cohort.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_become_volumes_and_variables(tmp_path):
    path = table(tmp_path, "participant_id,session,T1w,FDG-PET,age,sex\na,1,t1/a.nii,,71,F\na,2,t1/b.nii,p.nii,n/a,F\n")
    first, second = read_cohort(path)
    assert first.name == "a_1"
    assert first.volumes == {"T1w": tmp_path / "t1/a.nii"}
    assert second.volumes["FDG-PET"] == tmp_path / "p.nii"
    assert first.variables == {"age": "71", "sex": "F"}
    assert second.variables["age"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,T1w\na,b\n", "column 'subject'"),
        ("subject,T1w\n", "no rows"),
        ("subject,T1w\na,x\na,y\n", "a occurs twice"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read_cohort(table(tmp_path, text))


def test_missing_volumes_are_named(tmp_path):
    cohort = read_cohort(table(tmp_path, "subject\tT1w\tFDG-PET\nx\tno.nii\t\n", "c.tsv"))
    with pytest.raises(BadInputError, match="x has no FDG-PET"):
        cohort.require("FDG-PET")
    with pytest.raises(BadInputError, match=r"T1w volume of x is missing.*no\.nii"):
        cohort.require("T1w")


def test_a_patient_with_two_visits_is_in_one_split(tmp_path):
    rows = "".join(f"s{index},{visit},v\n" for index in range(20) for visit in (1, 2))
    cohort = read_cohort(table(tmp_path, "subject,session,T1w\n" + rows))
    split = split_cohort(cohort, seed=3)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert set.union(*parts) == {f"s{index}" for index in range(20)}
    assert sum(map(len, parts)) == 20
    assert split == split_cohort(cohort, seed=3)
    assert split != split_cohort(cohort, seed=4)


def test_leaks_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="two splits"):
        Split(train=("a", "b"), validation=("b",))
    path = table(tmp_path, "subject,session,split,T1w\na,1,train,x\na,2,test,y\nb,1,validation,z\n")
    with pytest.raises(BadInputError, match="Subject a is in two splits"):
        split_cohort(read_cohort(path))


def test_augmentation_moves_source_and_target_together_and_repeats_by_seed():
    base = torch.rand((1, 5, 5, 5), generator=torch.Generator().manual_seed(0))
    base = torch.nn.functional.interpolate(base[None], (20, 22, 21), mode="trilinear")[0]
    ones = torch.ones_like(base)
    for seed in range(8):
        source, target, _ = augment(base, base, ones, ones, np.random.default_rng(seed))
        again, _, _ = augment(base, base, ones, ones, np.random.default_rng(seed))
        torch.testing.assert_close(source, again)
        correlation = torch.corrcoef(torch.stack([source.flatten(), target.flatten()]))[0, 1]
        assert correlation > 0.9
        assert not torch.equal(source, base)
