"""The worker that is kept ready: what it saves, what it never costs, and that it is gone when it should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import FAKE_WORKER, REPOSITORY, add_head, fake_command, install_card
from test_flow import alive, click_and_wait, node_ids

JOB = ["doctor"]


@pytest.fixture
def warm(app: Any, scene: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application's warm worker, cold before and after the test."""
    from modality_synthesis.slicer import warm as module

    warm = module.warm
    warm.end()
    monkeypatch.setattr(warm, "_refused", None)
    yield warm
    assert not warm._lent
    warm.end()
    assert warm.pid is None


@pytest.fixture
def ready(open_panel: Any, tmp_path: Path) -> Any:
    """Makes a panel with a head and a model."""
    install_card(tmp_path / "models", "pet")

    def ready_() -> Any:
        add_head()
        panel = open_panel()
        panel.parameters.model = "pet"
        return panel

    return ready_


@pytest.fixture
def run(wait: Callable) -> Any:
    """Runs a job to its end: its outcome, and the process that did it."""
    from modality_synthesis.slicer.job import Job

    def run_(command: Any = None, arguments: list = JOB, needsResult: bool = False) -> tuple[Any, int]:
        outcomes: list = []
        job = Job(command or fake_command(), lambda message: None, outcomes.append)
        job.start(arguments, needsResult)
        wait(lambda: outcomes)
        assert not job.running
        return outcomes[0], job.pid

    return run_


def test_jobs_share_one_process_and_keep_their_logs_apart(warm: Any, run: Any) -> None:
    first, pid = run()
    assert first.code == "OK"
    assert warm.ready
    assert warm.pid == pid
    for arguments in (JOB, ["models", "verify", "x"], JOB):
        outcome, again = run(arguments=arguments)
        assert again == pid
        assert outcome.code == "OK"
        assert outcome.log[0] == "a library prints this to stdout"
        assert len(outcome.log) == 2


def test_a_panel_that_could_start_has_a_worker_ready(
    warm: Any,
    ready: Any,
    wait: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from modality_synthesis.slicer import panel as module

    monkeypatch.setattr(module, "CALM_MILLISECONDS", 0)
    panel = ready()
    wait(lambda: warm.ready)
    pid = warm.pid
    click_and_wait(panel, wait)
    assert panel.logic._worker.pid == pid
    assert "Made" in panel.ui.synthesizeStatusLabel.text


def test_a_panel_without_input_or_packages_starts_nothing(
    warm: Any, open_panel: Any, wait: Any, app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modality_synthesis.slicer import dependencies
    from modality_synthesis.slicer import panel as module

    monkeypatch.setattr(module, "CALM_MILLISECONDS", 0)
    install_card(tmp_path / "models", "pet")
    panel = open_panel()
    app.processEvents()
    assert warm.pid is None
    assert warm._process is None
    monkeypatch.setattr(dependencies, "missing", lambda: ["torch>=2.2"])
    panel.parameters.model = "pet"
    panel.parameters.inputVolume = add_head()
    panel.update()
    assert panel.ui.synthesizeButton.enabled, panel.ui.synthesizeButton.toolTip
    wait(lambda: not panel._calmTimer.isActive())
    assert warm._process is None


def test_who_wants_no_worker_kept_has_none(warm: Any, run: Any, open_panel: Any) -> None:
    panel = open_panel()
    assert panel.ui.keepWorkerCheckBox.checked
    _, pid = run()
    assert warm.ready
    panel.ui.keepWorkerCheckBox.checked = False
    try:
        assert not alive(pid)
        outcome, _ = run()
        assert outcome.code == "OK"
        assert warm._process is None
    finally:
        panel.ui.keepWorkerCheckBox.checked = True


@pytest.mark.parametrize("stored", [False, "false", "0"])
def test_the_wish_is_read_as_the_next_session_gives_it(app: Any, stored: object) -> None:
    """Settings come back as texts."""
    import qt

    from modality_synthesis.slicer.warm import KEEP_SETTING, keptReady

    assert keptReady()
    qt.QSettings().setValue(KEEP_SETTING, stored)
    try:
        assert not keptReady()
    finally:
        qt.QSettings().remove(KEEP_SETTING)


def test_cancel_ends_the_process_and_the_next_job_has_a_new_one(
    warm: Any,
    ready: Any,
    wait: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    idle = warm.pid
    panel.logic.cancel()  # nothing runs: nothing happens
    assert warm.ready
    assert alive(idle)
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    before = node_ids()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    pid = panel.logic._worker.pid
    assert pid == warm.pid != idle  # other variables, another process
    assert not alive(idle)
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running, seconds=10)
    assert not alive(pid)
    assert warm._process is None
    assert node_ids() == before
    monkeypatch.delenv("FAKE_WORKER_MODE")
    click_and_wait(panel, wait)
    assert "Made" in panel.ui.synthesizeStatusLabel.text


def test_it_ends_after_idle_minutes(warm: Any, run: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer import warm as module

    monkeypatch.setattr(module, "IDLE_MILLISECONDS", 50)
    _, pid = run()
    wait(lambda: warm._process is None)
    wait(lambda: not alive(pid))
    assert run()[0].code == "OK"


def test_two_panels_share_it_and_never_wait_for_each_other(
    warm: Any, open_panel: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    install_card(tmp_path / "models", "pet")
    install_card(tmp_path / "models", "mr", "CT", "T1w")
    panels = []
    for name, head in (("MRItoPETSynthesis", add_head()), ("CTtoMRSynthesis", add_head("CT", ct=True))):
        panel = open_panel(name)
        panel.parameters.inputVolume = head
        panels.append(panel)
        panel.ui.synthesizeButton.click()
        wait(lambda panel=panel: panel.ui.synthesizeProgressBar.value >= 10)
    pids = [panel.logic._worker.pid for panel in panels]
    assert warm.pid == pids[0] != pids[1]
    panels[0].logic.cancel()
    wait(lambda: not panels[0].logic.running)
    assert alive(pids[1])
    assert panels[1].logic.running
    panels[1].logic.cancel()
    wait(lambda: not panels[1].logic.running)
    assert not any(map(alive, pids))


def test_a_panel_that_goes_leaves_the_others_job_alone(
    warm: Any, open_panel: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    install_card(tmp_path / "models", "pet")
    add_head()
    other, panel = open_panel("CTtoMRSynthesis"), open_panel()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    other.cleanup()
    assert panel.logic.running
    assert alive(panel.logic._worker.pid)
    panel.logic.cancel()
    wait(lambda: not panel.logic.running)


@pytest.mark.parametrize("way", ["never", "deaf", "dying"])
def test_a_worker_that_takes_no_job_is_replaced_by_one_of_the_jobs_own(
    warm: Any, run: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    from modality_synthesis.slicer import job as module

    monkeypatch.setattr(module, "TAKE_MILLISECONDS", 200)
    monkeypatch.setenv("FAKE_WORKER_SERVES", way)
    for _ in range(2):
        outcome, pid = run()
        assert outcome.code == "OK"
        assert outcome.log[0] == "a library prints this to stdout"
        assert not alive(pid)
        assert warm._process is None


def test_one_that_never_starts_is_not_tried_again(warm: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_SERVES", "never")
    run()
    warm.prepare(fake_command())
    assert warm._process is None
    monkeypatch.delenv("FAKE_WORKER_SERVES")  # but another kind is
    run()
    assert warm.ready


def test_a_missing_program_is_told_once(warm: Any, run: Any) -> None:
    from modality_synthesis.slicer.command import WorkerCommand

    outcome, _ = run(WorkerCommand("/no/such/python"))
    assert outcome.code == "INTERNAL"
    assert outcome.message == "/no/such/python could not be started."


def test_killed_while_idle_the_next_job_has_a_new_one(warm: Any, run: Any, wait: Any) -> None:
    _, pid = run()
    os.kill(pid, signal.SIGKILL)
    outcome, other = run()  # whether the panel knows of it already or not
    assert outcome.code == "OK"
    assert other != pid
    _, pid = run()
    os.kill(pid, signal.SIGKILL)
    wait(lambda: warm._process is None)
    assert run()[0].code == "OK"


@pytest.mark.parametrize("mode", ["crash", "fail", "memory"])
def test_a_job_that_fails_costs_itself(warm: Any, run: Any, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", mode)
    first, pid = run(arguments=["synthesize"])
    assert first.code == {"crash": "INTERNAL", "fail": "BAD_INPUT", "memory": "OUT_OF_MEMORY"}[mode]
    second, other = run(arguments=["synthesize"])
    assert (second.code, second.message) == (first.code, first.message)
    assert (pid == other) == (mode != "crash")


def test_floods_reach_the_panel_in_measure(warm: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer.protocol import MOST_LOG_LINES

    monkeypatch.setenv("FAKE_WORKER_MODE", "flood")
    outcome, pid = run(arguments=["models", "verify", "x"])
    assert outcome.code == "OK"
    assert len(outcome.log) == MOST_LOG_LINES
    assert sum(map(len, outcome.log)) < 100_000
    assert any(line.startswith("xxx") for line in outcome.log)
    assert run(arguments=["models", "verify", "x"])[1] == pid


def test_closing_the_scene_ends_the_job_and_keeps_an_idle_worker(
    warm: Any,
    ready: Any,
    wait: Any,
) -> None:
    import slicer

    panel = ready()
    click_and_wait(panel, wait)
    pid = warm.pid
    slicer.mrmlScene.Clear(False)
    assert warm.ready
    assert alive(pid)
    panel.cleanup()
    assert not alive(pid)


HOST = f"""
import sys, time
sys.path[:0] = [{str(REPOSITORY / "Testing")!r}, {str(REPOSITORY / "Training")!r}]
from slicer_host import application
app = application.start()
from modality_synthesis.slicer.command import WorkerCommand
from modality_synthesis.slicer.job import Job
from modality_synthesis.slicer.warm import WarmWorker, warm
command = WorkerCommand(sys.executable, sys.argv[1:])
idle = WarmWorker()
idle.prepare(command)
said = []
job = Job(command, said.append, print)
job.start(["synthesize"])
while not (idle.ready and len(said) > 3):
    app.processEvents()
    time.sleep(0.01)
print(idle.pid, warm.pid, flush=True)
while True:
    app.processEvents()
    time.sleep(0.01)
"""


def test_slicer_is_killed_and_nothing_stays(wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker is idle, another one is at work."""
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    host = subprocess.Popen([sys.executable, "-c", HOST, str(FAKE_WORKER)], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in host.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(alive, pids))
    host.kill()
    host.wait()
    host.stdout.close()
    wait(lambda: not any(map(alive, pids)))


@pytest.mark.long
def test_the_real_worker_serves_and_ends_with_slicer(warm: Any, run: Any, wait: Any) -> None:
    pytest.importorskip("torch")
    from modality_synthesis.slicer.command import worker_command

    warm.prepare(worker_command())
    wait(lambda: warm.ready, seconds=120)
    pid = warm.pid
    outcome, worked = run(worker_command(), ["doctor", "--json"])
    assert worked == pid
    assert "packages" in json.loads(outcome.log[-1])
    outcome, worked = run(worker_command(), ["models", "show", "no-such-model"])
    assert worked == pid
    assert "no-such-model" in outcome.message
    # What happens when Slicer is gone: nobody holds the other end of its standard input.
    warm._process._process.closeWriteChannel()
    wait(lambda: not alive(pid))
    wait(lambda: warm._process is None)
