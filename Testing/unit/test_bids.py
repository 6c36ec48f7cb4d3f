"""Cohort tables from BIDS folders."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets.bids import bids_cohort, write_bids_cohort
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError


@pytest.fixture
def dataset(tmp_path):
    """Two subjects, one with two sessions; files are empty: only names count."""
    files = [
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.json",
        "sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz",
        "sub-01/ses-a/pet/sub-01_ses-a_trc-FDG_pet.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii",
        "sub-01/ses-b/pet/sub-01_ses-b_trc-AV1451_rec-acdyn_pet.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_FLAIR.nii.gz",
        "sub-02/pet/sub-02_trc-18FFDG_pet.nii.gz",
        "sub-02/pet/sub-02_trc-raclopride_pet.nii.gz",
    ]
    for name in files:
        path = tmp_path / "bids" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    table = "participant_id\tage\tsex\nsub-01\t71\tF\nsub-02\tn/a\tM\n"
    (tmp_path / "bids" / "participants.tsv").write_text(table)
    (tmp_path / "bids" / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tmmse\nses-b\t24\n")
    return tmp_path / "bids"


def test_volumes_and_variables_are_found(dataset, tmp_path):
    found, left = write_bids_cohort(dataset, tmp_path / "tables" / "cohort.tsv")
    assert left == []
    table = read_cohort(tmp_path / "tables" / "cohort.tsv")
    assert [visit.name for visit in table] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02"]
    first, second, third = table
    assert first.volumes["T1w"].resolve() == (dataset / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz").resolve()
    assert set(first.volumes) == {"T1w", "FDG-PET"}
    assert set(second.volumes) == {"T1w", "TAU-PET"}
    assert third.volumes["FDG-PET"].exists()
    assert (first.variable("age"), second.variable("mmse"), third.variable("age")) == ("71", "24", None)
    assert len(found.skipped) == 2
    assert any("raclopride" in line for line in found.skipped)
    assert any("is taken" in line for line in found.skipped)


def test_what_is_required_decides(dataset, tmp_path):
    command = ["cohort", str(dataset), "-o", str(tmp_path / "c.csv"), "--require", "FDG-PET", "--progress", "json"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    last = json.loads(ran.stdout.splitlines()[-1])
    assert (last["visits"], last["left_out"]) == (2, 1)
    with (tmp_path / "c.csv").open() as stream:
        assert [row["subject"] for row in csv.DictReader(stream)] == ["sub-01", "sub-02"]
    with pytest.raises(BadInputError, match="has all of CT"):
        write_bids_cohort(dataset, tmp_path / "none.tsv", require=["CT"])


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no BIDS dataset"):
        bids_cohort(tmp_path)
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(BadInputError, match="no volume of"):
        bids_cohort(tmp_path)
