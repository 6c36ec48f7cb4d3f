"""Damage small inputs of every kind and look what the program does with them.

    python Testing/fuzz/fuzz.py run SECONDS [KIND,KIND] [--seed WORD] [--keep FOLDER]
    python Testing/fuzz/fuzz.py case KIND NUMBER [--seed WORD] [--keep FOLDER]

Each kind runs in a child process with limits on memory and on the CPU time of a case; case N of a kind depends on the
kind, N and the seed alone. What is no `ModalitySynthesisError` is a finding: another exception, a crash, a hang, more
than 1 GiB above the start. Its files are kept (`--keep`); the small ones of findings that were mended belong into
`corpus/KIND/`, which `Testing/unit/test_fuzz_corpus.py` reads.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kinds import KINDS, Files

from modality_synthesis.errors import ModalitySynthesisError

MEMORY_LIMIT, PEAK_LIMIT = 7 << 30, 1 << 30
CASE_SECONDS = 20.0


def write_case(files: Files, folder: Path) -> Path:
    """A case's files in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def make_case(kind: str, number: int, seed: str) -> Files:
    """The files of one case."""
    return KINDS[kind].make(Random(f"{seed}{kind}-{number}"))


@dataclass
class Tally:
    """What came out of a kind's cases."""

    cases: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: dict[str, list[int]] = field(default_factory=dict)
    peak_mib: int = 0
    slowest: float = 0.0

    def find(self, what: str, number: int) -> None:
        self.cases["finding"] += 1
        self.findings.setdefault(what, []).append(number)


def run_kind(kind: str, seconds: float, seed: str, folder: Path) -> Tally:
    """Cases of a kind for so many seconds of CPU time."""
    tally, number, used = Tally(), 0, 0.0
    while used < seconds:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(kind, number, seconds - used, seed, folder, writing)
        os.close(writing)
        number, hung = _watch(child, reading, number, tally)
        os.close(reading)
        _, status, usage = os.wait4(child, 0)
        used += usage.ru_utime + usage.ru_stime
        if hung:
            tally.find(f"hang: more than {CASE_SECONDS:.0f} s of CPU time", number)
        elif status:
            tally.find(f"crash: status {status}", number)
        else:
            break
        number += 1
    return tally


def _child(kind: str, number: int, seconds: float, seed: str, folder: Path, pipe: int) -> None:
    """Run cases one after the other and tell about each; never returns."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)

    def tell(**facts: Any) -> None:
        os.write(pipe, (json.dumps(facts) + "\n").encode())

    baseline = _peak()
    start = time.process_time()
    while time.process_time() - start < seconds:
        begun = time.process_time()
        tell(begun=number)
        outcome, what = "accepted", ""
        try:
            place = write_case(make_case(kind, number, seed), folder)
            KINDS[kind].read(place)
        except ModalitySynthesisError:
            outcome = "refused"
        except BaseException as error:  # what is none of the project's own is what is looked for
            outcome, what = "finding", f"{type(error).__name__} at {_place(error)}: {str(error)[:90]!a}"
        if not what and _peak() - baseline > PEAK_LIMIT:
            outcome, what = "finding", f"memory: {(_peak() - baseline) >> 20} MiB"
            baseline = _peak()
        tell(ended=number, outcome=outcome, what=what, seconds=time.process_time() - begun, peak=_peak() >> 20)
        number += 1
    os._exit(0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "modality_synthesis" in frame.filename]
    frame = own[-1] if own else frames[-1]
    inner = "" if frames[-1] is frame else f" <- {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return f"{frame.filename.split('modality_synthesis/')[-1]}:{frame.lineno}{inner}"


def _watch(child: int, pipe: int, number: int, tally: Tally) -> tuple[int, bool]:
    """Listen to a child until it ends or hangs; the case it was at, and whether it hung."""
    rest, since, wall = b"", 0.0, time.monotonic()
    while True:
        if select.select([pipe], [], [], 1.0)[0]:
            data = os.read(pipe, 1 << 16)
            if not data:
                return number, False
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                facts = json.loads(line)
                if "begun" in facts:
                    number, since, wall = facts["begun"], _cpu(child), time.monotonic()
                else:
                    _count(facts, tally)
        # A case that waits (for a pipe, a lock) uses no time of the CPU.
        elif _cpu(child) - since > CASE_SECONDS or time.monotonic() - wall > 30 * CASE_SECONDS:
            os.kill(child, signal.SIGKILL)
            return number, True


def _count(facts: dict[str, Any], tally: Tally) -> None:
    if facts["what"]:
        tally.find(facts["what"], facts["ended"])
    else:
        tally.cases[facts["outcome"]] += 1
    tally.peak_mib = max(tally.peak_mib, facts["peak"])
    tally.slowest = max(tally.slowest, facts["seconds"])


def _cpu(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _quiet() -> None:
    """Libraries say nothing and use one thread: the children share this process's state."""
    import logging
    import warnings

    import SimpleITK as sitk
    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "case"])
    parser.add_argument("first", help="seconds of CPU time per kind, or the kind of a case")
    parser.add_argument("second", nargs="?", default="", help="kinds, or the number of a case")
    parser.add_argument("--seed", default="", help="another word gives other cases")
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        folder = Path(scratch) / "case"
        os.environ["MODALITY_SYNTHESIS_MODELS"] = str(folder / "store")
        if options.what == "case":
            files = make_case(options.first, int(options.second), options.seed)
            KINDS[options.first].read(write_case(files, options.keep or folder))
            return 0
        _quiet()
        found = 0
        for kind in options.second.split(",") if options.second else KINDS:
            tally = run_kind(kind, float(options.first), options.seed, folder)
            found += len(tally.findings)
            _report(kind, tally, options.seed, options.keep)
    return 1 if found else 0


def _report(kind: str, tally: Tally, seed: str, keep: Path | None) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(tally.cases.items()))
    print(f"{kind}: {counts}; peak {tally.peak_mib} MiB, slowest {tally.slowest:.1f} s", flush=True)
    for what, numbers in tally.findings.items():
        print(f"    {what} ({len(numbers)} times, case {numbers[0]})", flush=True)
        if keep is not None:
            write_case(make_case(kind, numbers[0], seed), keep / kind / f"{seed}{numbers[0]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
