"""Outputs appear complete or not at all, and leftovers of killed processes go away."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, CancelledError
from modality_synthesis.volumes import atomic_folder, atomic_output, clean_stale, leases, write_image
from modality_synthesis.volumes import writing as writing_module
from modality_synthesis.volumes.leases import new_token


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_temporary_name_and_move(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_text("old")
    with atomic_output(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".ms-tmp-")
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["x.nii.gz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, CancelledError, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_output(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == ["x.nii.gz"]
    assert path.read_text() == "old"


def test_write_image_fails_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nii.gz"
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((9, 9, 9)).astype(np.float32))
    write_image(image, path)
    before = path.read_bytes()

    def interrupted(image: sitk.Image, temporary: Path, *_: object) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(writing_module, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(image * 2, path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["x.nii.gz"]


def test_full_disk_is_explained(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInputError, match=r"x\.nii cannot be written .* no space"),
        atomic_output(tmp_path / "x.nii"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"), atomic_output(tmp_path / "file" / "x.json"):
        pass
    # A file that the block reads is someone else's business.
    with pytest.raises(PermissionError), atomic_output(tmp_path / "x.nii"):
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/y")


def aged(path: Path) -> Path:
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(path, (long_ago, long_ago))
    return path


def test_what_nobody_holds_is_removed_and_nothing_else(tmp_path: Path) -> None:
    here = new_token()
    elsewhere = "0" * 8 + here[8:]
    mine = [tmp_path / f".ms-{kind}-{here}" for kind in ("lease", "tmp", "old", "probe")]
    others = [tmp_path / f".ms-tmp-{elsewhere}-1.nii.gz", tmp_path / f".ms-lease-{elsewhere}"]
    former = [tmp_path / ".sub-1.ms-tmp-host-4711.nii.gz", tmp_path / ".model.ms-old-4711.v1"]
    unrelated = [tmp_path / name for name in (".sub-4.tmp.nii.gz", ".ms-notes", "x.ms-tmp-1", ".ms-tmp-abc.nii")]
    for file in (*mine, *others, *former, *unrelated):
        file.write_text("half")
    on_a_disk = os.major(os.stat(tmp_path).st_dev) != 0
    clean_stale(tmp_path)
    expected = [*former, *unrelated] if on_a_disk else [*others, *former, *unrelated]
    assert names(tmp_path) == sorted(file.name for file in expected)
    for file in expected:
        aged(file)
    clean_stale(tmp_path)
    assert names(tmp_path) == sorted(file.name for file in unrelated)
    assert clean_stale(tmp_path / "missing") == []


def test_a_lock_that_may_not_be_seen_counts_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system that keeps locks to each machine: another one's file looks free at once."""
    monkeypatch.setattr(leases, "_locks_reach", lambda folder, token: False)
    lease, half = (tmp_path / f".ms-{kind}-{'0' * 8}-{'1' * 12}" for kind in ("lease", "tmp"))
    for file in (lease, half):
        file.write_text("")
    clean_stale(tmp_path)
    assert names(tmp_path) == sorted([lease.name, half.name])
    aged(lease)
    clean_stale(tmp_path)
    assert names(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_lock", lambda handle: None)
    with atomic_output(tmp_path / "a") as first:
        first.write_text("a")
        with ThreadPoolExecutor() as threads:
            threads.submit(write_text, tmp_path / "b", "b").result()
        assert first.exists()
    assert names(tmp_path) == ["a", "b"]


def write_text(path: Path, text: str) -> None:
    with atomic_output(path) as temporary:
        temporary.write_text(text)


def test_threads_have_temporaries_of_their_own(tmp_path: Path) -> None:
    both_write = threading.Barrier(2)

    def write(text: str) -> None:
        with atomic_output(tmp_path / "x.txt") as temporary:
            temporary.write_text(text)
            both_write.wait(10)
            assert temporary.read_text() == text

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, ["one", "two"]))
    assert names(tmp_path) == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() in ("one", "two")


def test_killed_writer_is_cleaned_by_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom modality_synthesis.volumes import atomic_output\n"
        "with atomic_output(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); print('ready', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "x.nii.gz")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    theirs = names(tmp_path)
    assert len(theirs) == 2
    with atomic_output(tmp_path / "y.json") as temporary:
        temporary.write_text("{}")
    assert names(tmp_path) == [*theirs, "y.json"]  # the other process still runs
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    process.stdout.close()
    with atomic_output(tmp_path / "y.json") as temporary:
        temporary.write_text("{}")
    assert names(tmp_path) == ["y.json"]


def test_atomic_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.v1"
    with atomic_folder(path) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("1")
        assert not path.exists()
    assert (path / "sub" / "a").read_text() == "1"

    def interrupted() -> None:
        with atomic_folder(path) as temporary:
            (temporary / "b").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(path) == ["sub"]
    with atomic_folder(path) as temporary:
        (temporary / "b").write_text("2")
    assert names(path) == ["b"]
    assert names(tmp_path) == ["model.v1"]
