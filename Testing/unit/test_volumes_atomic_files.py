"""All files of a result appear together or none does, at whatever step a run fails, is cancelled or killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_states import failing_at, killed_at, numbers_until_done, state

from modality_synthesis.errors import BadInputError, CancelledError
from modality_synthesis.volumes import atomic_files, atomic_folder, atomic_output, clean_stale, written

pytestmark = pytest.mark.usefixtures("handlers_as_before")


def write_result(folder: Path, text: str) -> None:
    """A volume and its sidecar, a picture in another folder and a folder of files."""
    with atomic_files(final=True):
        for name in ("pet.nii.gz", "pet.json", "pictures/deep/pet.png"):
            with atomic_output(folder / name) as temporary:
                temporary.write_text(f"{text} {name}")
        with atomic_folder(folder / "dicom") as temporary:
            (temporary / f"{text}.dcm").write_text(text)


def earlier(folder: Path) -> Path:
    (folder / "dicom").mkdir(parents=True)
    (folder / "dicom" / "slice.dcm").write_text("old")
    (folder / "pet.nii.gz").write_text("old")
    (folder / "pet.json").write_text("old")
    (folder / "notes.txt").write_text("the user's")
    (folder / "link").symlink_to("notes.txt")
    return folder


def prepared(folder: Path, *, empty: bool) -> Path:
    folder.mkdir()
    return folder if empty else earlier(folder / "results").parent


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    with atomic_files():
        with atomic_output(tmp_path / "a") as temporary:
            temporary.write_text("1")
        assert written(tmp_path / "a").read_text() == "1"
        assert state(tmp_path) == {}
        with atomic_output(tmp_path / "a") as temporary:
            temporary.write_text("2")
    assert (tmp_path / "a").read_text() == "2"
    assert written(tmp_path / "a") == tmp_path / "a"
    assert list(state(tmp_path, own=True)) == ["a"]


def test_an_inner_block_that_fails_takes_only_its_own_files(tmp_path: Path) -> None:
    def inner() -> None:
        with atomic_files(), atomic_output(tmp_path / "b") as temporary:
            temporary.write_text("b")
            raise ValueError

    with atomic_files():
        with atomic_output(tmp_path / "a") as temporary:
            temporary.write_text("a")
        with pytest.raises(ValueError):
            inner()
    assert list(state(tmp_path, own=True)) == ["a"]


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("failure", ["full", "signal"])
def test_a_failure_at_any_step_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str, empty: bool
) -> None:
    def fail(name: str) -> None:
        if failure == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        signal.raise_signal(signal.SIGTERM)

    def on_signal(number: int, frame: object) -> None:
        raise CancelledError

    def run(number: int) -> bool:
        folder = prepared(tmp_path / str(number), empty=empty)
        before = state(folder)
        with failing_at(monkeypatch, number, fail, folder) as steps:
            signal.signal(signal.SIGTERM, on_signal)
            try:
                write_result(folder / "results", "new")
            except (BadInputError, OSError, CancelledError):
                assert state(folder) == before
            else:
                check_complete(folder)
        assert not any(".ms-" in name for name in state(folder, own=True)) or failure == "full"
        return len(steps) >= number

    assert numbers_until_done(run) > 20


def check_complete(folder: Path) -> None:
    results = folder / "results"
    for name in ("pet.nii.gz", "pet.json", "pictures/deep/pet.png"):
        assert (results / name).read_text() == f"new {name}"
    assert [file.name for file in (results / "dicom").iterdir()] == ["new.dcm"]


@pytest.mark.parametrize("empty", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("links", [True, pytest.param(False, marks=pytest.mark.long)])
def test_killed_at_any_step_the_next_start_finishes_or_undoes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, empty: bool
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    outcomes = set()

    def run(number: int) -> bool:
        folder = prepared(tmp_path / str(number), empty=empty)
        before = state(folder)
        killed = killed_at(monkeypatch, number, folder, lambda: write_result(folder / "results", "new"))
        # Whichever folder is written to next.
        clean_stale(folder / "results" / ("pictures/deep" if number % 2 else "."))
        clean_stale(folder / "results")
        clean_stale(folder / "results" / "pictures/deep")
        found = state(folder, own=True)
        if without_empty_folders(found) != without_empty_folders(before):
            check_complete(folder)
            assert not any(".ms-" in name for name in found)
        outcomes.add(without_empty_folders(found) == without_empty_folders(before))
        return killed

    assert numbers_until_done(run) > 20
    assert outcomes == {True, False}


def without_empty_folders(found: dict[str, str]) -> dict[str, str]:
    """A process that is killed right after it made a folder leaves it."""
    return {name: what for name, what in found.items() if what != "folder"}


@pytest.mark.long
def test_killed_while_taking_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second move fails, and the process is killed at any step of undoing the first."""
    real = os.replace

    def run(number: int) -> bool:
        folder = prepared(tmp_path / str(number), empty=False)
        before = state(folder)
        count = [0]

        def replace(source: object, target: object) -> None:
            if str(target).endswith("pet.json") and count[0] == 0:
                count[0] = 1
                raise OSError(errno.EIO, "broken", str(source))
            real(source, target)  # type: ignore[arg-type]

        def work() -> None:
            with pytest.raises(OSError):
                write_result(folder / "results", "new")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            killed = killed_at(monkeypatch, number, folder, work)
        clean_stale(folder / "results")
        clean_stale(folder / "results" / "pictures/deep")
        if without_empty_folders(state(folder, own=True)) != without_empty_folders(before):
            check_complete(folder)
        return killed

    assert numbers_until_done(run) > 20


def test_what_came_after_a_killed_run_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user puts another file into the place between the kill and the next start."""

    def kill_at_second_move(name: str) -> None:
        moves.append(name)
        if moves.count("replace") == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    moves: list[str] = []
    folder = earlier(tmp_path / "results")
    child = os.fork()
    if child == 0:
        replace = os.replace

        def replace_or_die(*paths: str) -> None:
            kill_at_second_move("replace")
            replace(*paths)

        os.replace = replace_or_die  # type: ignore[assignment]
        write_result(folder, "new")
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    (folder / "pet.json").write_text("by hand")
    clean_stale(folder)
    assert (folder / "pet.json").read_text() == "by hand"
    assert not any(".ms-" in name for name in state(folder / "pictures", own=True))


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    earlier(tmp_path / "results")
    before = state(tmp_path)

    def write(path: Path, writer: Callable[[Path], object]) -> None:
        with writer(path):  # type: ignore[attr-defined]
            pass

    with pytest.raises(BadInputError):
        write(tmp_path / "results", atomic_output)
    with pytest.raises(BadInputError):
        write(tmp_path / "results" / "notes.txt", atomic_folder)
    assert state(tmp_path, own=True) == before


@pytest.mark.parametrize("limit", ["tmpfs", "file size"])
def test_a_full_disk(tmp_path: Path, limit: str) -> None:
    """A good result is there; the new one finds no room. Needs root for the mount; without, this test fails."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import atomic_files, atomic_output
if {limit!r} == "file size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
try:
    with atomic_files():
        for name, size in (("new/pet.json", 100), ("pet.nii.gz", 90000)):
            with atomic_output(Path(sys.argv[1]) / name) as temporary:
                temporary.write_bytes(b"x" * size)
except BadInputError as error:
    print(error); sys.exit(1)
"""
    folder = tmp_path / "disk"
    folder.mkdir()
    if limit == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "pet.nii.gz").write_bytes(b"good" * 5000)
        before = state(folder, own=True)
        run = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
        assert run.returncode == 1
        assert "pet.nii.gz cannot be written to" in run.stdout
        assert run.stderr == ""
        assert state(folder, own=True) == before
    finally:
        if limit == "tmpfs":
            subprocess.run(["umount", str(folder)], check=True)


def test_two_containers_with_one_host_name(tmp_path: Path) -> None:
    """Same host name, other process numbers: the one does not take the other's file for a leftover. Needs root."""
    script = tmp_path / "write.py"
    script.write_text(
        "import sys, time\n"
        "from modality_synthesis.volumes import atomic_output\n"
        "with atomic_output(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'x' * 1000)\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline() if sys.argv[2] == 'wait' else None\n"
    )
    container = ["unshare", "--pid", "--fork", "--mount-proc"]
    # An entry script is number 1, the program a later one; the other program is number 1 itself.
    inner = f"sleep 0.1; {sys.executable} {script} {tmp_path}/out/a_pet.nii.gz wait; true"
    first = subprocess.Popen(
        [*container, "bash", "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    second = [*container, sys.executable, str(script), f"{tmp_path}/out/b_pet.nii.gz", "go"]
    subprocess.run(second, check=True, capture_output=True)
    assert len([name for name in state(tmp_path / "out", own=True) if ".ms-tmp" in name]) == 1
    first.communicate("\n")
    assert first.returncode == 0
    assert list(state(tmp_path / "out", own=True)) == ["a_pet.nii.gz", "b_pet.nii.gz"]
