"""Training where SLURM allocated several tasks but started one, and what a signal or a lost process does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import wait_until_asleep

PACKAGE = str(Path(__file__).resolve().parents[2] / "Training")
BATCH = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1",
    "SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost",
}  # fmt: skip
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}


def start(recipe: Path, cohort: Path, folder: Path, *more: str, **variables: str) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "modality_synthesis", "train", str(recipe), "--cohort", str(cohort), "-o", str(folder),
        "--jobs", "2", "--accelerator", "cpu", *more,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": PACKAGE, **variables}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.long
def test_a_batch_script_without_srun_trains_in_one_process(mini_cohort, mini_recipe, tmp_path):
    process = start(mini_recipe, mini_cohort, tmp_path / "run", "training.epochs=1", **BATCH)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "srun" in errors
    assert (tmp_path / "run" / "package" / "mini" / "model.json").exists(), output


@pytest.mark.long
def test_a_process_that_waits_for_others_says_so_and_is_ended_by_a_signal(mini_cohort, mini_recipe, tmp_path):
    """One of the four tasks of a step whose other three never come."""
    process = start(mini_recipe, mini_cohort, tmp_path / "run", "training.epochs=1", **BATCH, **STEP)
    said = ""
    while "Waiting for the 4 processes that srun started" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    wait_until_asleep(process, polls=60)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
