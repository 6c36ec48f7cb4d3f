"""Work in worker processes: what one item does to its worker costs that item, and no worker outlives the command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from processes import alive, wait_until, wait_until_asleep

from modality_synthesis.errors import BadInputError, ModalitySynthesisError, WorkerLostError
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot be rebuilt from its message")


def act(what: str) -> str:
    if what == "bad":
        raise BadInputError("bad.nii is bad.")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "crashed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exits":
        sys.exit(7)
    if what == "stray exception":
        raise Unpicklable(1, 2)
    if what == "slow":
        threading.Event().wait()  # for good
    return what.upper()


def stand_in(index: int, error: ModalitySynthesisError) -> str:
    return f"{index}: {error}"


def test_whatever_an_item_does_to_its_worker_costs_that_item_alone():
    items = ["one", "killed", "bad", "two", "crashed", "stray exception", "slow", "exits", "three"]
    started, finished = [], []
    results = parallel_map(
        act, items, jobs=2, on_failure=stand_in, limit_s=12, on_start=started.append,
        on_result=lambda index, _: finished.append(index),
    )  # fmt: skip
    assert [results[index] for index in (0, 3, 8)] == ["ONE", "TWO", "THREE"]
    assert "memory" in results[1]
    assert results[2] == "2: bad.nii is bad."
    assert "SIGSEGV" in results[4]
    assert "Unpicklable" in results[5]
    assert "12 seconds" in results[6]
    assert "SystemExit" in results[7]
    assert not any("\n" in result or "Traceback" in result for result in results)
    assert sorted(started) == sorted(finished) == list(range(9))


def test_without_a_stand_in_the_run_ends_with_one_line_and_no_worker_is_left():
    with pytest.raises(WorkerLostError, match="memory"):
        parallel_map(act, ["slow", "killed", "one"], jobs=2)
    assert multiprocessing.active_children() == []


def test_a_single_job_survives_its_worker_when_isolated():
    assert parallel_map(act, ["killed", "one"], jobs=1, isolate=True, on_failure=stand_in)[1] == "ONE"


def test_in_this_process_a_failure_is_handed_over_too():
    results = parallel_map(act, ["bad", "one", "stray exception"], jobs=1, on_failure=stand_in)
    assert results[0] == "0: bad.nii is bad."
    assert results[1] == "ONE"
    assert "Unpicklable" in results[2]
    with pytest.raises(BadInputError):
        parallel_map(act, ["bad"], jobs=1)


def test_where_no_worker_can_be_started_the_work_is_done_here(monkeypatch):
    import modality_synthesis.parallel as parallel

    monkeypatch.setattr(parallel, "_no_workers", lambda: "no space left on device")
    reporter = Reporter()
    assert parallel_map(act, ["one", "two"], jobs=2, reporter=reporter) == ["ONE", "TWO"]
    assert "no space left on device" in reporter.warnings[0]


SCRIPT = """
    import sys, time, os
    from pathlib import Path
    from modality_synthesis.cli_session import command
    from modality_synthesis.parallel import parallel_map

    def work(item):
        place = Path(sys.argv[1])
        with_temporary = place / f"part-{item}"
        try:
            with_temporary.touch()
            (place / f"pid-{item}").write_text(f"{os.getpid()}\\n")
            time.sleep(600)
        finally:
            with_temporary.unlink()

    if __name__ == "__main__":
        from modality_synthesis.program import run

        def main(prog_name):
            with command("none") as reporter:
                parallel_map(work, [0, 1, 2, 3], jobs=2, reporter=reporter)

        import typer

        def load():
            app = typer.Typer()
            app.command()(lambda ignored: main(""))
            return app

        run(load)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command_and_tidy_up_when_they_are_let(tmp_path: Path, number: signal.Signals):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    notes = [tmp_path / f"pid-{item}" for item in (0, 1)]
    wait_until(lambda: all(note.exists() and note.read_text().endswith("\n") for note in notes), process)
    workers = [int(note.read_text()) for note in notes]
    process.send_signal(number)
    _, errors = process.communicate()
    wait_until(lambda: not any(alive(pid) for pid in workers))
    assert "Traceback" not in errors
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert errors.strip() == "Error: Cancelled."
        assert not list(tmp_path.glob("part-*"))
    assert not (tmp_path / "pid-2").exists()


def test_a_signal_ends_a_command_that_waits_inside_a_library(tmp_path: Path):
    """Python's own handlers never run in there; a distributed training waits so for its other processes."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import ctypes, sys
        import typer
        from modality_synthesis.cli_session import command

        try:
            with command("none"):
                libc = ctypes.CDLL(None)
                mutex = ctypes.create_string_buffer(64)
                libc.pthread_mutex_init(mutex, None)
                libc.pthread_mutex_lock(mutex)
                print("ready", flush=True)
                libc.pthread_mutex_lock(mutex)
        except typer.Exit as stop:
            sys.exit(stop.exit_code)
    """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    wait_until_asleep(process)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "Error: Cancelled.\n"
