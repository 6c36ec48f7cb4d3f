"""Progress of sub-tasks adds up."""

from __future__ import annotations

import json

import pytest

from modality_synthesis.console import JsonReporter, LineReporter
from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter, parts


class Recorder(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def emit_progress(self, fraction: float, stage: str) -> None:
        self.seen.append(fraction)


def test_nested_parts_map_into_the_parent_s_range():
    recorder = Recorder()
    first, second = parts(recorder, (1, 3))
    first.progress(0.5, "a")
    second.part(0.5, 1.0).progress(0.5, "b")
    assert recorder.seen == pytest.approx([0.125, 0.25 + 0.75 * 0.75])


def test_warnings_of_a_part_reach_the_parent():
    recorder = Recorder()
    recorder.part(0, 0.5).warning("look")
    assert recorder.warnings == ["look"]


def test_fractions_outside_the_range_are_held():
    recorder = Recorder()
    recorder.progress(1.7, "")
    recorder.progress(-0.2, "")
    assert recorder.seen == [1.0, 0.0]


def test_json_reporter_speaks_the_worker_protocol(capsys):
    reporter = JsonReporter()
    reporter.status("model x")
    reporter.progress(0.5, "Synthesizing")
    reporter.warning("thick slices")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["status", "progress", "warning"]
    assert lines[1]["fraction"] == 0.5
    assert lines[1]["stage"] == "Synthesizing"
    assert lines[1]["remaining"] >= 0


def test_findings_are_kept_and_speak_by_their_level():
    reporter = Reporter()
    part = reporter.part(0.0, 0.5)
    part.finding(Finding("coverage", "ok", "All is there."))
    part.finding(Finding("contrast", "look", "Little contrast.", "Look at it.", 0.04, 0.08))
    with pytest.raises(BadInputError, match=r"No brain\. Give a head\.") as caught:
        part.finding(Finding("brain", "refuse", "No brain.", "Give a head."))
    assert [finding.level for finding in reporter.findings] == ["ok", "look", "refuse"]
    assert reporter.warnings == ["Little contrast. Look at it."]
    assert caught.value.finding is reporter.findings[2]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_log_has_a_line_per_finished_person(capsys, jobs):
    reporter = LineReporter()
    people = ["sub-1", "sub-2", "sub-3"]
    parallel_map(len, people, jobs=jobs, reporter=reporter.part(0.0, 0.5), stage="Scoring", name=str)
    lines = [line for line in capsys.readouterr().err.splitlines() if " of 3" in line]
    assert len(lines) == 3
    for number, line in enumerate(lines, start=1):
        assert f"Scoring, {number} of 3" in line
    assert sorted(person for person in people for line in lines if person in line) == people
    parallel_map(len, people, jobs=1, reporter=LineReporter(quiet=True), stage="Scoring", name=str)
    assert not capsys.readouterr().err
