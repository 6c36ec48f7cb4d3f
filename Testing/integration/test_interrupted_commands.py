"""The commands themselves, on a real disk that is full and stopped by real signals, with an older result in place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from folder_states import state

from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.simulation.pet import simulate_pet
from modality_synthesis.volumes import clean_stale, read_sidecar, write_image

pytestmark = pytest.mark.long
MODEL = "demo-t1w-fdg"
OLD = {"GeneratedBy": [{"Name": "modality-synthesis", "Version": "0.1.0"}]}
Commands = dict[str, list[str]]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Command lines without their outputs, on a head of 4 mm voxels."""
    folder = tmp_path_factory.mktemp("inputs")
    labels = load_head("16")
    grid = resample_isotropic(labels, 4.0, is_mask=True)
    labels = sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)
    write_image(simulate_mri(labels, "T1w", np.random.default_rng(0), Acquisition((4.0,) * 3)), folder / "t1.nii.gz")
    pet = simulate_pet(labels, "FDG", 0.5, np.random.default_rng(1), spacing=(4.0,) * 3)
    write_image(pet, folder / "pet.nii.gz")
    return {
        "synthesize": ["synthesize", str(folder / "t1.nii.gz"), "--model", MODEL, "--device", "cpu"],
        "suvr": ["suvr", str(folder / "pet.nii.gz"), "--mri", str(folder / "t1.nii.gz")],
    }


def outputs(name: str, folder: Path) -> list[str]:
    if name == "synthesize":
        return ["-o", str(folder / "pet.nii.gz"), "--preview", str(folder / "pet.png")]
    return ["-o", str(folder / "suvr.csv"), "--image", str(folder / "suvr.nii.gz")]


def older_result(name: str, folder: Path) -> None:
    names = ("pet.nii.gz", "pet.json", "pet.png") if name == "synthesize" else ("suvr.csv", "suvr.csv.json")
    for file in names:
        (folder / file).write_text(json.dumps(OLD) if file.endswith(".json") else "old " * 500)
    (folder / "notes.txt").write_text("the user's")


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "modality_synthesis.cli", *arguments, "--progress", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("name", ["synthesize", "suvr"])
def test_stopped_while_it_writes(
    commands: Commands, tmp_path: Path, name: str, delay_s: float, number: signal.Signals
) -> None:
    older_result(name, tmp_path)
    before = state(tmp_path)
    process = start([*commands[name], *outputs(name, tmp_path)])
    assert process.stdout is not None
    stages = {"synthesize": "Writing", "suvr": "Measuring regions"}
    for line in process.stdout:
        if json.loads(line).get("stage") == stages[name]:
            break
    time.sleep(delay_s)
    process.send_signal(number)
    process.communicate()
    clean_stale(tmp_path)
    after = state(tmp_path, own=True)
    if after != before:
        # It was finished already, or by the next start: then with everything that belongs to it.
        assert process.returncode in (0, -signal.SIGKILL)
        assert set(before) - set(after) == set()
        assert all(after[name] != before[name] for name in before if name != "notes.txt")
        volume = tmp_path / ("pet.nii.gz" if name == "synthesize" else "suvr.nii.gz")
        assert read_sidecar(volume)["SHA256"]
    else:
        assert process.returncode in (130, -signal.SIGKILL)


@pytest.mark.parametrize("name", ["synthesize", "suvr"])
def test_a_disk_that_is_full(commands: Commands, tmp_path: Path, name: str) -> None:
    """A good result is there, and no room for the new one. Needs root for the mount; without, this test fails."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], check=True)
    try:
        older_result(name, disk)
        before = state(disk, own=True)
        command = [sys.executable, "-m", "modality_synthesis.cli", *commands[name], *outputs(name, disk)]
        run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "500"})
        assert run.returncode == 1
        assert "cannot be written" in run.stderr
        assert "no space left" in run.stderr
        assert "Traceback" not in run.stderr
        assert state(disk, own=True) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)
