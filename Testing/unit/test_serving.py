"""Many jobs in one process: each has its own messages, exit code and folder; a crash costs one; none is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = str(Path(__file__).resolve().parents[2] / "Training")
# Jobs that do what no job should.
APPLICATION = """
import ctypes, json, os, subprocess, sys, time
import typer
from modality_synthesis.cli_session import command, result
from modality_synthesis.progress import current
from modality_synthesis.serving import serve
from modality_synthesis.volumes import atomic

app = typer.Typer()

@app.command()
def say(text: str, where: str = "stdout"):
    print(text, end="", file=getattr(sys, where))

@app.command()
def write(path: str, progress: str = "json"):
    with command(progress) as reporter:
        reporter.warning("written to " + os.getcwd())
        open(path, "w").write("x")
        result(reporter, {})

@app.command()
def fail(way: str):
    if way == "raise": raise ValueError("unforeseen")
    if way == "refuse":
        with command("json"): raise ValueError("unforeseen")
    if way == "exit": raise typer.Exit(3)
    if way == "crash": os._exit(7)
    if way == "killed": os.kill(os.getpid(), 9)

@app.command()
def below():
    ctypes.CDLL(None).puts(b"from a C library")
    ctypes.CDLL(None).fflush(None)
    os.write(1, b"half a line")
    subprocess.run([sys.executable, "-c", "print('from a child', input() if False else '')"])

@app.command()
def ask():
    print(repr(sys.stdin.read()), os.read(0, 10))

@app.command()
def leave_open():
    from modality_synthesis.progress import Reporter, _CURRENT
    _CURRENT.set(Reporter(warnings=["not yours"]))
    atomic._current.set(atomic._Group())

@app.command()
def look():
    print(json.dumps([list(current().warnings), atomic._current.get() is None]))

@app.command()
def wait(path: str):
    with command("json"):
        try:
            open(path, "w").close()
            for _ in range(600): time.sleep(0.1)
        finally:
            os.remove(path)

serve(app, preloaded=["no_such_library"])
"""


class Server:
    """The process, with its pipes."""

    def __init__(self, folder: Path) -> None:
        script = folder / "server.py"
        script.write_text(APPLICATION, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env={**os.environ, "PYTHONPATH": PACKAGE},
        )  # fmt: skip
        assert self.line() == {"type": "ready"}

    def line(self) -> object:
        """The next line that is not empty; None at the end."""
        while raw := self.process.stdout.readline():
            if raw.strip():
                try:
                    return json.loads(raw)
                except ValueError:
                    return raw.decode().strip()
        return None

    def send(self, text: str) -> None:
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def job(self, *arguments: str, folder: object = None) -> tuple[int, list, list]:
        """Run one job: exit code, what it said, what it wrote beside."""
        self.send(json.dumps({"arguments": arguments, "folder": str(folder or "")}))
        return self.rest()

    def rest(self) -> tuple[int, list, list]:
        assert self.line() == {"type": "job", "state": "started"}
        said, beside = [], []
        while not is_end(line := self.line()):
            assert line is not None, self.process.stderr.read()
            said.append(line)
        while (raw := self.process.stderr.readline()).strip() != json.dumps(line).encode():
            assert raw
            beside.append(raw.decode().strip())
        return line["exit_code"], said, [text for text in beside if text]


def is_end(line: object) -> bool:
    return isinstance(line, dict) and line.get("state") == "finished"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    served = Server(tmp_path)
    yield served
    served.process.kill()
    served.process.wait()
    for stream in (served.process.stdin, served.process.stdout, served.process.stderr):
        stream.close()


def test_every_job_has_its_own_messages_folder_and_exit_code(server: Server, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    for folder in (one, two, one):  # the same warning twice: no job is spared what another one was told
        code, said, _ = server.job("write", "file", folder=folder)
        assert (code, said[0]) == (0, {"type": "warning", "message": f"written to {folder}"})
        assert (folder / "file").is_file()
    assert server.job("fail", "exit")[0] == 3
    code, said, _ = server.job("fail", "refuse")
    assert (code, said[0]["code"]) == (1, "INTERNAL")
    code, said, beside = server.job("fail", "raise")
    assert (code, said, beside[-1]) == (1, [], "ValueError: unforeseen")
    code, _, beside = server.job("no-such-command")
    assert code == 2
    assert any("No such command" in line for line in beside)
    assert server.job("say", "still here") == (0, ["still here"], [])


def test_what_is_printed_never_hides_a_message(server: Server) -> None:
    """Half lines, long lines, C libraries, children, floods of errors: the protocol has its own lines."""
    assert server.job("say", "no end of line") == (0, ["no end of line"], [])
    assert server.job("say", "no end", "--where", "stderr") == (0, [], ["no end"])
    code, said, beside = server.job("below")
    assert (code, said) == (0, [])
    assert beside == ["from a C library", "half a linefrom a child"]
    long = "x" * 100_000
    assert server.job("say", long) == (0, [long], [])
    assert server.job("ask") == (0, ["'' b''"], [])  # a job that reads does not eat the next one
    assert server.job("say", "ä €")[1] == ["ä €"]


def test_a_job_that_cannot_be_understood_costs_itself(server: Server, tmp_path: Path) -> None:
    for line in ("no JSON", "[]", '{"arguments": "say x"}', '{"arguments": [1]}', '{"arguments": [], "folder": 3}'):
        server.send(line)
        code, said, _ = server.rest()
        assert code == 2
        assert said[0]["message"].startswith("This job cannot be run: ")
    code, said, _ = server.job("say", "x", folder=tmp_path / "gone")
    assert code == 2
    assert "gone" in said[0]["message"]
    assert server.job("say", "x")[0] == 0


def test_a_job_sees_neither_reporter_nor_open_files_of_the_one_before(server: Server) -> None:
    assert server.job("look")[1] == [[[], True]]
    assert server.job("leave-open")[0] == 0
    assert server.job("look")[1] == [[[], True]]


def test_jobs_that_come_together_are_done_one_after_another(server: Server) -> None:
    first, second = (json.dumps({"arguments": ["say", text]}) for text in "ab")
    server.process.stdin.write(f"{first}\n\n{second}\n{second[:9]}".encode())
    server.process.stdin.flush()
    assert [server.rest()[1] for _ in range(2)] == [["a"], ["b"]]
    server.send(second[9:])  # a line in two pieces
    assert server.rest()[1] == ["b"]


@pytest.mark.parametrize(("way", "code"), [("crash", 7), ("killed", -9)])
def test_a_crash_ends_the_process(server: Server, way: str, code: int) -> None:
    server.send(json.dumps({"arguments": ["fail", way]}))
    assert server.process.wait(timeout=600) == code


def test_it_ends_when_nobody_can_send_jobs(server: Server) -> None:
    server.process.stdin.close()
    assert server.process.wait(timeout=600) == 0


@pytest.mark.parametrize("way", ["caller gone", "signal"])
def test_what_runs_is_cancelled_with_it(server: Server, tmp_path: Path, way: str) -> None:
    server.send(json.dumps({"arguments": ["wait", str(tmp_path / "unfinished")]}))
    assert server.line() == {"type": "job", "state": "started"}
    while not (tmp_path / "unfinished").exists():
        time.sleep(0.01)
    if way == "signal":
        server.process.terminate()
    else:
        server.process.stdin.close()
    assert server.line() == {"type": "error", "code": "CANCELLED", "message": "Cancelled."}
    assert server.process.wait(timeout=600) == 130
    assert not (tmp_path / "unfinished").exists()
