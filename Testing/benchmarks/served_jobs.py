"""What a process that is kept ready saves: the same synthesis in one that serves, and in processes of their own.

`python Testing/benchmarks/served_jobs.py`; CPU seconds, because wall times depend on what else the machine does.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HEAD = REPOSITORY / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"
WORKER = [sys.executable, str(REPOSITORY / "Training" / "modality_synthesis" / "slicer" / "worker.py")]
RUNS = 3


def arguments(output: Path) -> list[str]:
    """The job."""
    return [
        "synthesize",
        str(HEAD),
        "--model",
        "demo-t1w-fdg",
        "-o",
        str(output),
        "--device",
        "cpu",
        "--progress",
        "json",
    ]


def cpu_seconds(pid: int) -> float:
    """Of a running process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def resident_gib(pid: int) -> float:
    """Memory of a running process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read lines until one says it."""
    assert process.stdout is not None
    while f'"{word}"' not in (line := process.stdout.readline()):
        assert line, "the process ended"


def served(folder: Path) -> None:
    """One process, several jobs."""
    process = subprocess.Popen([*WORKER, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    wait_for(process, "ready")
    print(f"ready: {cpu_seconds(process.pid):.1f} CPU s, {resident_gib(process.pid):.2f} GiB")
    for index in range(RUNS):
        before = cpu_seconds(process.pid)
        process.stdin.write(json.dumps({"arguments": arguments(folder / f"served-{index}.nii.gz")}) + "\n")
        process.stdin.flush()
        wait_for(process, "finished")
        print(f"job {index + 1}: {cpu_seconds(process.pid) - before:.1f} CPU s")
    process.stdin.close()
    process.wait()


def alone(folder: Path) -> None:
    """A process for each."""
    for index in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Its standard input is held open: the worker ends when that closes.
        process = subprocess.Popen(
            [*WORKER, *arguments(folder / f"alone-{index}.nii.gz")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"a process of its own: {spent:.1f} CPU s")


def main() -> None:
    """Measure both ways and compare the volumes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served(folder)
        alone(folder)
        volumes = {hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in folder.glob("*.nii.gz")}
        print("the same volume every time" if len(volumes) == 1 else f"{len(volumes)} DIFFERENT volumes")


if __name__ == "__main__":
    main()
