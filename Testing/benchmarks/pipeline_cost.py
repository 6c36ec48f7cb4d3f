"""What one synthesis costs, stage by stage: CPU seconds, shares, peak memory.

    python Testing/benchmarks/pipeline_cost.py [VOLUME] [--repeats N]

Each run is a process of its own, imports included. The figures are CPU seconds (user + system), which other programs
on the machine disturb less than wall time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"


def measure(volume: Path) -> dict[str, float]:
    """Run one synthesis in this process; CPU seconds per stage and the peak of resident memory in GiB."""
    import tempfile

    from modality_synthesis.progress import Reporter

    class StageClock(Reporter):
        """Books the CPU time between two reports on the stage that the first one named."""

        def __init__(self) -> None:
            super().__init__()
            self.spent: dict[str, float] = {}
            self.stage, self.since = "Imports and start", 0.0

        def emit_progress(self, fraction: float, stage: str) -> None:
            now = time.process_time()
            self.spent[self.stage] = self.spent.get(self.stage, 0.0) + now - self.since
            self.stage, self.since = stage, now

    clock = StageClock()
    from modality_synthesis.synthesis import synthesize

    with tempfile.TemporaryDirectory() as folder:
        synthesize(volume, Path(folder) / "pet.nii.gz", model="demo-t1w-fdg", device="cpu", reporter=clock)
        clock.emit_progress(1.0, "end")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**clock.spent, "Total": time.process_time(), "Peak memory, GiB": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of one synthesis.")
    parser.add_argument("volume", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.volume)))
        return
    command = [sys.executable, "-W", "ignore", __file__, str(arguments.volume), "--one"]
    runs = []
    for _ in range(arguments.repeats):
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(answer.stdout.splitlines()[-1]))
    median = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    print(f"| stage | CPU s (median of {len(runs)}) | share |\n|---|---|---|")
    for stage, seconds in median.items():
        share = "" if "GiB" in stage else f"{seconds / median['Total']:.0%}"
        print(f"| {stage} | {seconds:.2f} | {share} |")


if __name__ == "__main__":
    main()
