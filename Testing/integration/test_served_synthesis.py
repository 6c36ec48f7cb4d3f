"""A synthesis in a process that served other jobs before gives the very file that a process of its own gives."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modality_synthesis import serving

PACKAGE = str(Path(serving.__file__).parents[1])
VARIABLES = {**os.environ, "PYTHONPATH": PACKAGE}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """The process."""
    command = [sys.executable, "-m", "modality_synthesis.serving"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=VARIABLES, cwd=tmp_path, text=True
    ) as process:
        yield process
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def served(process: subprocess.Popen, arguments: list[str], folder: Path) -> int:
    """Run a job; its exit code."""
    process.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder)}) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{") and json.loads(line).get("state") == "finished":
            return json.loads(line)["exit_code"]
    raise AssertionError("the process ended")


@pytest.mark.long
@pytest.mark.parametrize("model", ["demo-t1w-fdg", "demo-pasta"])
def test_every_run_gives_the_same_volume(
    server: subprocess.Popen, sample_head: Path, tmp_path: Path, model: str
) -> None:
    alone = ["synthesize", str(sample_head), "--model", model, "--device", "cpu", "--seed", "3"]
    command = [sys.executable, "-m", "modality_synthesis", *alone, "-o", "alone.nii.gz"]
    subprocess.run(command, cwd=tmp_path, env=VARIABLES, check=True, capture_output=True)
    for index in range(2):
        assert served(server, ["doctor", "--json"], tmp_path) == 0
        assert served(server, [*alone, "-o", f"served-{index}.nii.gz"], tmp_path) == 0
    volumes = [
        gzip.decompress((tmp_path / f"{name}.nii.gz").read_bytes()) for name in ("alone", "served-0", "served-1")
    ]
    assert volumes[0] == volumes[1] == volumes[2]
