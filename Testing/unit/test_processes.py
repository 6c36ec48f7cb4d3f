"""In how many processes a training runs, as SLURM and torchrun are used and misused."""

from __future__ import annotations

import os

import pytest

from modality_synthesis.errors import UsageError
from modality_synthesis.training.processes import place

BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NNODES": "1"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
LEFT_BEHIND = {"MASTER_ADDR": "10.255.255.1", "MASTER_PORT": "1", "RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4"}


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC")) or name in {*TORCHRUN, *LEFT_BEHIND}:
            monkeypatch.delenv(name)
    monkeypatch.delenv("MODALITY_SYNTHESIS_TRAINING_PARENT", raising=False)

    def given(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return given


def test_a_batch_script_without_srun_trains_in_one_process_and_names_srun(environment):
    environment(BATCH)
    placement = place("cpu")
    assert (placement.processes, placement.distributed, placement.launcher) == (1, False, "self")
    assert "srun" in placement.note
    assert "4" in placement.note


def test_a_batch_script_may_ask_for_devices_instead(environment):
    environment(BATCH)
    placement = place("cpu", devices=2)
    assert (placement.processes, placement.launcher, placement.note) == (2, "self", "")


def test_a_step_of_srun_is_one_process_of_its_tasks(environment):
    environment(STEP)
    placement = place("cpu")
    assert (placement.devices, placement.nodes, placement.launcher) == (4, 1, "srun")
    # `srun --ntasks=4` without --ntasks-per-node, which Lightning alone refuses.
    assert placement.environment().world_size() == 4


def test_tasks_that_do_not_divide_among_machines_name_the_right_option(environment):
    environment({**STEP, "SLURM_NTASKS": "5", "SLURM_NNODES": "2"})
    with pytest.raises(UsageError, match="--ntasks-per-node"):
        place("cpu")


def test_torchrun_and_devices_that_differ_are_refused(environment):
    environment(TORCHRUN)
    assert place("cpu").launcher == "torchrun"
    with pytest.raises(UsageError, match="--devices"):
        place("cpu", devices=3)


def test_several_machines_need_somebody_who_starts_the_processes(environment):
    environment(BATCH)
    with pytest.raises(UsageError, match="srun"):
        place("cpu", num_nodes=2)


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_an_interactive_shell_in_an_allocation_is_one_process(environment, name):
    environment({**STEP, "SLURM_JOB_NAME": name})
    assert place("cpu").processes == 1


def test_what_another_program_left_in_the_environment_is_not_waited_for(environment):
    environment(LEFT_BEHIND)
    found = place("cpu", devices=2).environment()
    assert not found.creates_processes_externally
    assert found.main_address == "127.0.0.1"
    assert found.global_rank() == found.local_rank() == 0
