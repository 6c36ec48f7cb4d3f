"""Outputs appear complete or not at all, and leftovers of killed processes go away."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, CancelledError
from modality_synthesis.volumes import atomic_folder, atomic_output, clean_stale, write_image
from modality_synthesis.volumes import writing as writing_module


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_temporary_name_and_move(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_text("old")
    with atomic_output(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".x.ms-tmp-")
        assert temporary.name.endswith(f"-{os.getpid()}.nii.gz")
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


def test_stale_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / f".sub-1.ms-tmp-{dead_process()}.nii.gz"
    alive = tmp_path / f".sub-2.ms-tmp-{os.getppid()}.nii.gz"
    other = tmp_path / f".sub-3.ms-tmp-otherhost-{dead_process()}.nii.gz"
    unrelated = tmp_path / ".sub-4.tmp.nii.gz"
    for file in (stale, alive, other, unrelated):
        file.write_text("half")
    assert clean_stale(tmp_path) == [stale]
    assert sorted(tmp_path.iterdir()) == sorted([alive, other, unrelated])
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(other, (long_ago, long_ago))
    assert clean_stale(tmp_path) == [other]
    assert clean_stale(tmp_path / "missing") == []


def test_killed_writer_is_cleaned_by_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom modality_synthesis.volumes import atomic_output\n"
        "with atomic_output(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "x.nii.gz")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(names(tmp_path)) == 1
    with atomic_output(tmp_path / "y.json") as temporary:
        temporary.write_text("{}")
    assert len(names(tmp_path)) == 2  # the other process still runs
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


def test_interrupted_replacement_of_a_folder_is_undone(tmp_path: Path) -> None:
    pid = dead_process()
    old, half = tmp_path / f".model.ms-old-{pid}.v1", tmp_path / f".model.ms-tmp-{pid}.v1"
    for folder in (old, half):
        folder.mkdir()
        (folder / "a").write_text(folder.name)
    clean_stale(tmp_path)
    assert names(tmp_path) == ["model.v1"]
    assert (tmp_path / "model.v1" / "a").read_text() == old.name
