"""The extension as a whole: nothing at import, dependencies only after asking, build files, headless script, sample data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fakes import FAKE_WORKER, HEAVY, MODULES, REPOSITORY
from gui_files import ROOM

SCRIPT = REPOSITORY / "Resources" / "Scripts" / "synthesize_batch.py"


@pytest.mark.parametrize("name", MODULES)
def test_module_folder_holds_one_module_file(name: str) -> None:
    assert [path.name for path in (REPOSITORY / name).glob("*.py")] == [f"{name}.py"]


def test_opening_the_panel_imports_nothing_heavy(tmp_path: Path) -> None:
    """In a fresh Python: both modules loaded, a panel open, and the heavy libraries still not there."""
    code = f"""
import sys
sys.path[:0] = [{str(REPOSITORY / "Testing")!r}]
sys.modules["torch"] = None  # importing it would raise
from slicer_host import application
app = application.start()
for name in {MODULES!r}:
    application.load_module({str(REPOSITORY)!r} + "/" + name + "/" + name + ".py")
application.open_module("MRItoPETSynthesis")
assert app.errors == []
print(sorted(set(sys.modules) & {set(HEAVY)!r} - {{"torch"}}))
"""
    environment = {**os.environ, "MODALITY_SYNTHESIS_MODELS": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


# Dependencies


def test_requirements_are_the_package_s_own() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 or newer")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOM / "requirements.txt").read_text(encoding="utf-8").split()
    assert sorted(lines) == sorted(project["dependencies"])


# The worker script


def run_worker(command: list, **keywords: Any) -> tuple[int, list, str]:
    """Run a worker with its standard input held open, as the panel does: exit code, messages, errors."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords
    )
    output, errors = process.stdout.read(), process.stderr.read()
    code = process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    return code, [json.loads(line) for line in output.splitlines()], errors


def test_worker_reports_what_is_not_installed() -> None:
    """With no third-party package at all it still speaks the protocol."""
    code, messages, _ = run_worker([sys.executable, "-S", "-I", str(ROOM / "worker.py"), "doctor"])
    assert code == 1
    assert messages[0]["pid"] > 0
    assert messages[1]["code"] == "DEPENDENCIES_MISSING"
    assert "Install the requirements" in messages[1]["message"]


def test_worker_stops_when_its_input_closes(tmp_path: Path) -> None:
    """Slicer ends, for whatever reason: the worker does not stay."""
    pytest.importorskip("typer")
    code = "import time, sys; sys.argv = ['x']; time.sleep(3600)"
    package = tmp_path / "modality_synthesis"
    shutil.copytree(ROOM, package / "slicer", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text("")
    for name in ("stopping", "errors", "findings"):  # what the worker needs before anything else
        shutil.copy(ROOM.parent / f"{name}.py", package)
    (package / "cli.py").write_text(f"def main():\n    {code}\n")
    process = subprocess.Popen(
        [sys.executable, str(package / "slicer" / "worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert json.loads(process.stdout.readline())["pid"] == process.pid
    process.stdin.close()
    assert process.wait() != 0
    process.stdout.close()


# Build files

STUB_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/empty.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-5.13/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ./lib/Slicer-5.13/qt-scripted-modules)
"""
STUB_USE = """
function(install)  # newer versions of CMake warn (CMP0177)
  cmake_parse_arguments(MY "" "DESTINATION" "" ${ARGN})
  cmake_path(SET normal NORMALIZE "${MY_DESTINATION}")
  if(NOT "${normal}" STREQUAL "${MY_DESTINATION}")
    message(FATAL_ERROR "not normalized: ${MY_DESTINATION}")
  endif()
  _install(${ARGN})
endfunction()
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "missing: ${file}")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    cmake_path(SET destination NORMALIZE "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
    install(FILES ${file} DESTINATION "${destination}")
  endforeach()
endmacro()
macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "missing test: ${MY_SCRIPT}")
  endif()
endmacro()
"""


def test_extension_configures_builds_and_installs(tmp_path: Path) -> None:
    """Against a stand-in for Slicer's CMake macros; then the installed package is used from where it lies."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("CMake is not installed")
    stub, build, target = tmp_path / "stub", tmp_path / "build", tmp_path / "installed"
    stub.mkdir()
    (stub / "SlicerConfig.cmake").write_text(STUB_CONFIG)
    (stub / "use.cmake").write_text(STUB_USE)
    (stub / "empty.cmake").write_text("")
    for command in (
        ["-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={stub}", "-DBUILD_TESTING=ON", f"-DCMAKE_INSTALL_PREFIX={target}",
         "-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1"],
        ["--build", build],
        ["--install", build],
    ):  # fmt: skip
        ran = subprocess.run([cmake, *map(str, command)], capture_output=True, text=True, check=False)
        if "CMAKE_CXX_COMPILER" in ran.stderr and "not find" in ran.stderr:
            pytest.skip("CMake needs a compiler here")
        assert ran.returncode == 0, ran.stderr
    modules = target / "lib" / "Slicer-5.13" / "qt-scripted-modules"
    assert sorted(path.name for path in modules.glob("*.py")) == [f"{name}.py" for name in sorted(MODULES)]
    assert (modules / "Resources" / "UI" / "MRItoPETSynthesis.ui").is_file()
    assert (modules / "modality_synthesis" / "slicer" / "Resources" / "UI" / "GeneratorSection.ui").is_file()
    assert (build / "lib" / "Slicer-5.13" / "qt-scripted-modules" / "modality_synthesis" / "cli.py").is_file()
    package = modules / "modality_synthesis"
    shipped = {path.parent.name for path in (REPOSITORY / "Resources" / "Models").glob("*/model.json")}
    assert {path.parent.name for path in (package / "_resources" / "Models").glob("*/model.json")} == shipped
    pytest.importorskip("typer")
    for folder in [package, *package.rglob("*")]:  # a read-only installation works
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    environment = {**os.environ, "MODALITY_SYNTHESIS_MODELS": str(tmp_path / "models"), "PYTHONDONTWRITEBYTECODE": "1"}
    worker = [sys.executable, str(package / "slicer" / "worker.py"), "models", "list", "--json"]
    _, messages, errors = run_worker(worker, env=environment)
    for folder in [package, *package.rglob("*")]:
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    assert {card["id"] for card in messages[-1]["models"]} == shipped, errors


# Sample data


def test_sample_data_is_registered_from_the_resources(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer import sample_data

    registered = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**keywords: Any) -> None:
            registered.append(keywords)

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    pair = {"sub-simulated_CT.nii.gz": "CT head", "sub-simulated_T1w.nii.gz": "Reference T1w"}
    assert sample_data.registerSampleData("Pair", pair, "/none.png")
    [sample] = registered
    assert all(uri.startswith("file:///") for uri in sample["uris"])
    assert all(checksum.startswith("SHA256:") for checksum in sample["checksums"])
    assert dict(zip(sample["fileNames"], sample["nodeNames"], strict=True)) == pair
    assert sample["loadFileTypes"] == ["VolumeFile", "VolumeFile"]  # else they may load as segmentations
    assert not sample_data.registerSampleData("None", {"no-such-file.nii.gz": "none"}, "/none.png")


# Headless


@pytest.fixture
def batch(tmp_path: Path) -> Any:
    """Runs the script with a worker that behaves as told."""

    def run(
        *arguments: str, mode: str = "", cohort: str = "subject,T1w\ns1,a.nii.gz\ns2,b.nii.gz\n"
    ) -> tuple[int, dict, str]:
        package = tmp_path / "Ort mit Leerzeichen" / "Training" / "modality_synthesis" / "slicer"
        script = tmp_path / "Ort mit Leerzeichen" / "Resources" / "Scripts" / SCRIPT.name
        if not package.exists():
            package.mkdir(parents=True)
            script.parent.mkdir(parents=True)
            shutil.copy(FAKE_WORKER, package / "worker.py")
            shutil.copy(SCRIPT, script)
        table, output = tmp_path / "cohort.csv", tmp_path / "Ausgabe ü"
        table.write_text(cohort, encoding="utf-8")
        given = list(arguments) or ["--cohort", str(table), "--model", "pet", "-o", str(output)]
        ran = subprocess.run(
            [sys.executable, str(script), *given],
            capture_output=True, text=True, env={**os.environ, "FAKE_WORKER_MODE": mode}, check=False,
        )  # fmt: skip
        summary = output / "batch.json"
        facts = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
        log = (output / "batch.log").read_text(encoding="utf-8") if facts else ran.stderr
        return ran.returncode, facts, log

    return run


def test_headless_success(batch: Any) -> None:
    code, facts, log = batch()
    assert code == 0
    assert facts["code"] == "OK"
    assert [row["state"] for row in facts["rows"]] == ["done", "done"]
    assert "a library prints this" in log


def test_headless_partly_done(batch: Any) -> None:
    code, facts, _ = batch(mode="partly")
    assert code == 3
    assert facts["code"] == "PARTLY"
    assert {row["state"] for row in facts["rows"]} == {"done", "failed"}


def test_headless_failure(batch: Any) -> None:
    code, facts, _ = batch(mode="fail")
    assert code == 1
    assert facts["error"]["code"] == "BAD_INPUT"


def test_headless_wrong_arguments(batch: Any) -> None:
    code, facts, log = batch("--", "--cohort", "x.csv")
    assert code == 2
    assert facts == {}
    assert "--model" in log


def test_headless_in_slicer_ends_the_application(tmp_path: Path) -> None:
    """As Slicer runs it: arguments after `--`, and the application ended with the code in every case."""
    code = f"""
import sys, types
ended = []
slicer = types.ModuleType("slicer")
slicer.app = types.SimpleNamespace(slicerHome="/nowhere")
slicer.util = types.SimpleNamespace(exit=ended.append)
sys.modules["slicer"] = slicer
sys.argv = [{str(SCRIPT)!r}, "--", "--model", "x"]
exec(compile(open({str(SCRIPT)!r}).read(), {str(SCRIPT)!r}, "exec"), {{"__name__": "__main__", "__file__": {str(SCRIPT)!r}}})
print(ended)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[2]", ran.stderr
