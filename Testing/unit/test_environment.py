"""The program where containers, services and pipes run it: no user, no home, no UTF-8, nobody who reads on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.environment import user_folder
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.volumes import read_image, sniff, write_image, write_json, write_rows

PYTHON = Path(sys.executable)
PACKAGE = str(Path(__file__).resolve().parents[2] / "Training")
NAMELESS = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]


def run(*arguments: str, before=(), environment=None, **options) -> subprocess.CompletedProcess:
    """The command line in a process of its own, with nothing but a PATH in its environment unless said."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGE, **(environment or {})}
    command = [*before, str(PYTHON), "-m", "modality_synthesis", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, **options)


def shell(script: str, **environment: str) -> subprocess.CompletedProcess:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGE, "HOME": "/tmp", **environment}
    script = script.replace("modality-synthesis", f"{PYTHON} -m modality_synthesis")
    return subprocess.run(["bash", "-c", script], env=variables, capture_output=True)


@pytest.mark.parametrize("home", [None, "/", "/nonexistent", "relative"])
def test_a_user_without_name_or_home_sees_the_shipped_models(home):
    environment = {} if home is None else {"HOME": home}
    result = run("models", "list", before=NAMELESS, environment=environment)
    assert result.returncode == 0, result.stderr
    assert b"demo-t1w-fdg" in result.stdout
    assert result.stderr == b""


def test_installing_without_a_home_names_the_variable(tmp_path):
    result = run("models", "install", str(tmp_path), before=NAMELESS)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    (tmp_path / "m").mkdir()
    zipped = run("models", "export", "demo-pasta", "-o", str(tmp_path / "m.zip"))
    assert zipped.returncode == 0, zipped.stderr
    result = run("models", "install", str(tmp_path / "m.zip"), before=NAMELESS)
    assert result.returncode == 1
    assert b"MODALITY_SYNTHESIS_MODELS" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_user_without_an_entry_has_a_name():
    code = "from modality_synthesis import environment; environment.prepare(); import getpass; print(getpass.getuser())"
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGE, "HOME": "/"}
    result = subprocess.run([*NAMELESS, str(PYTHON), "-c", code], env=variables, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "user-54321\n"), result.stderr


@pytest.mark.long
def test_libraries_that_ask_for_the_user_get_an_answer():
    """MONAI asks when it is imported; torch and Matplotlib place their caches by it."""
    code = (
        "from modality_synthesis import environment; environment.prepare(); "
        "import getpass, matplotlib, monai.config, torch._inductor.runtime.cache_dir_utils as inductor; "
        "print(getpass.getuser(), matplotlib.get_cachedir(), inductor.cache_dir())"
    )
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGE, "HOME": "/"}
    result = subprocess.run([*NAMELESS, str(PYTHON), "-c", code], env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("user-54321 ")


def test_the_users_folders_are_those_of_platformdirs(monkeypatch, tmp_path):
    platformdirs = pytest.importorskip("platformdirs", reason="the convention's reference implementation")
    for variables in ({}, {"XDG_DATA_HOME": str(tmp_path / "d"), "XDG_CACHE_HOME": str(tmp_path / "c")}):
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert user_folder("data") == Path(platformdirs.user_data_dir("modality-synthesis", appauthor=False))
        assert user_folder("cache") == Path(platformdirs.user_cache_dir("modality-synthesis", appauthor=False))


def test_no_folder_is_made_up_where_there_is_no_home(monkeypatch):
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    with pytest.raises(ModalitySynthesisError, match="HOME"):
        user_folder("data")


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "models list",
        "models show demo-pasta",
        "models list --json",
        pytest.param("doctor --json", marks=pytest.mark.long),
    ],
)
def test_a_reader_that_went_away_is_no_failure(command):
    result = shell(f"modality-synthesis {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (result.returncode, result.stderr) == (0, b"")
    result = shell(f"modality-synthesis {command} | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}")
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_matter(closed, tmp_path):
    result = shell(f"cd {tmp_path}; modality-synthesis models export demo-pasta -o m.zip {closed}")
    assert (result.returncode, result.stderr) == (0, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["m.zip"]
    # A stream's number taken by a file would have put messages into it.
    assert (tmp_path / "m.zip").read_bytes()[:2] == b"PK"


def test_a_full_disk_behind_standard_output_is_told_in_one_line():
    result = shell("modality-synthesis models list > /dev/full")
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: standard output")
    assert result.stderr.count(b"\n") == 1


LOCALES = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LANG": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("environment", LOCALES, ids=[" ".join(item) for item in LOCALES])
@pytest.mark.parametrize("progress", ["none", "json"])
def test_messages_pass_any_code_page(environment, progress, tmp_path):
    missing = os.fsencode(tmp_path) + b"/" + "患者_M".encode() + b"\xfcller.nii.gz"
    result = run(
        "synthesize", missing, "--to", "FDG-PET", "-o", str(tmp_path / "o.nii"), "--progress", progress,
        environment=environment,
    )  # fmt: skip
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    if progress == "json":
        assert result.stdout.isascii()
        message = json.loads(result.stdout.splitlines()[-1])["message"]
        if "LC_ALL" not in environment:
            assert missing.decode(errors="surrogateescape") in message
    else:
        assert b"does not exist" in result.stderr


def head() -> sitk.Image:
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 10, (12, 14, 10)).astype(np.float32))
    image.SetSpacing((2.0, 3.0, 4.0))
    image.SetOrigin((5.0, -6.0, 7.0))
    return image


@pytest.mark.parametrize("place", ["name", "folder"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_volumes_under_names_that_are_no_utf_8(tmp_path, ending, place):
    strange = os.fsdecode(b"M\xfcller")
    folder = tmp_path / (strange if place == "folder" else "plain")
    path = folder / (f"{strange if place == 'name' else 'plain'}{ending}")
    write_image(head(), path)
    assert [file.name for file in folder.iterdir()] == [path.name]
    again = read_image(path)
    assert again.GetSpacing() == head().GetSpacing()
    np.testing.assert_allclose(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(head()), rtol=1e-6)
    assert sniff(path).size == (10, 14, 12)
    assert [file.name for file in folder.iterdir()] == [path.name]


def test_detached_headers_under_such_names_are_refused_in_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"M\xfcller.mhd")
    sitk.WriteImage(head(), str(tmp_path / "plain.mhd"))
    (tmp_path / "plain.mhd").rename(path)
    with pytest.raises(BadInputError, match="Rename"):
        read_image(path)


def test_records_hold_such_names_and_stay_utf_8(tmp_path):
    name = os.fsdecode(b"M\xfcller.nii.gz")
    write_json({"file": name}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"file": name}
    write_rows(tmp_path / "r.csv", [{"file": name}])
    assert "ller.nii.gz" in (tmp_path / "r.csv").read_text(encoding="utf-8")


def test_names_that_are_too_long_are_refused_at_the_start(tmp_path):
    source = tmp_path / "t1.nii.gz"
    write_image(head(), source)
    for output in (tmp_path / ("x" * 252 + ".nii.gz"), tmp_path / ("y" * 300) / "o.nii.gz"):
        result = run("synthesize", str(source), "--to", "FDG-PET", "-o", str(output), environment={"HOME": "/tmp"})
        assert result.returncode == 1
        assert b"too long" in result.stderr
        assert result.stderr.count(b"\n") <= 2
    result = run("synthesize", "x" * 5000, "--to", "FDG-PET", "-o", str(tmp_path / "o.nii.gz"))
    assert result.returncode == 1
    assert b"too long" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t1.nii.gz"]


def test_a_working_folder_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    result = shell(f"mkdir {gone}; cd {gone}; rmdir {gone}; modality-synthesis models list")
    assert result.returncode == 0, result.stderr
    result = shell(f"mkdir {gone}; cd {gone}; rmdir {gone}; modality-synthesis synthesize t1.nii --to T1w -o o.nii")
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr


def test_too_few_open_files_are_an_error_of_one_line(tmp_path):
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))

    arguments = ("simulate", "-n", "3", "-o", str(tmp_path / "o"), "--modalities", "T1w", "--jobs", "3")
    result = run(*arguments, environment={"HOME": "/tmp"}, preexec_fn=few)
    assert result.returncode in (0, 1, 3)
    assert b"Traceback" not in result.stderr
