"""The first use: what is missing, for what, how big; pip in view; what failed; a restart where one is needed."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from fakes import add_head, install_card


class Packaging:
    """`slicer.packaging`: pip runs without blocking, and says what it does line by line."""

    def __init__(self) -> None:
        self.calls: list[list] = []
        self.codes: list[int] = []
        self.lines = ["Collecting torch", "Downloading torch-2.9.0-cp312.whl (180.2 MB)"]
        self.running = False
        self.then: Callable[[], None] = lambda: None
        self.blocks = False

    def isPipInstallInProgress(self) -> bool:
        return self.running

    def pip_install(self, requirements: list, blocking: bool, show_progress: bool, requester: str,
                    logCallback: Callable, completedCallback: Callable) -> None:  # fmt: skip
        import qt

        assert (blocking, show_progress, requester) == (False, False, "ModalitySynthesis")
        self.calls.append(requirements)
        if self.blocks:  # as under --testing
            self.then()
            return
        self.running = True
        for line in self.lines:
            logCallback(line)

        def done() -> None:
            self.running = False
            code = self.codes.pop(0) if self.codes else 0
            if not code:
                self.then()
            completedCallback(code)

        qt.QTimer.singleShot(0, done)


@pytest.fixture
def packaging(app: Any, monkeypatch: pytest.MonkeyPatch) -> Packaging:
    """Slicer's pip."""
    import slicer

    made = Packaging()
    module = types.ModuleType("slicer.packaging")
    module.pip_install, module.isPipInstallInProgress = made.pip_install, made.isPipInstallInProgress
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return made


@pytest.fixture
def absent(scene: Any, monkeypatch: pytest.MonkeyPatch) -> list:
    """The requirements that are missing, on a Linux computer without a GPU and without the PyTorch extension."""
    from modality_synthesis.slicer import dependencies

    names = ["torch>=2.2", "monai>=1.5", "einops>=0.7"]
    monkeypatch.setattr(dependencies, "missing", lambda: list(names))
    monkeypatch.setattr(dependencies, "NVIDIA_DRIVER", "/no/such/file")
    monkeypatch.setattr(sys, "platform", "linux")
    return names


@pytest.fixture
def dialog(absent: list, app: Any) -> Any:
    """The dialog; `logged` is what it wrote into the panel's log."""
    import qt

    from modality_synthesis.slicer.install_dialog import InstallDialog

    parent = qt.QWidget()
    logged: list = []
    made = InstallDialog(list(absent), parent, logged.append)
    made.logged = logged
    yield made
    parent.deleteLater()


def test_it_says_what_for_and_how_big(dialog: Any, packaging: Packaging) -> None:
    text = dialog.textLabel.text
    for part in ("torch (PyTorch, runs the networks)", "monai (parts of networks)", "einops"):
        assert part in text
    assert [button.text.partition(":")[0] for button in dialog.buildButtons] == [
        "PyTorch without GPU support", "PyTorch for an NVIDIA GPU",
    ]  # fmt: skip
    assert [button.checked for button in dialog.buildButtons] == [True, False]
    assert "1.6 GB" in dialog.buildButtons[0].text
    assert "5 GB" in dialog.buildButtons[1].text
    dialog.dialog.show()
    label = dialog.textLabel
    assert label.height >= label.heightForWidth(label.width)  # the whole text is there to read
    assert packaging.calls == []  # nothing is installed unasked


CPU = ["--index-url", "https://download.pytorch.org/whl/cpu"]
CUDA = ["--index-url", "https://download.pytorch.org/whl/cu126"]


@pytest.mark.parametrize(
    ("platform", "chosen", "options"),
    [("linux", 0, CPU), ("linux", 1, []), ("win32", 0, []), ("win32", 1, CUDA), ("darwin", 0, [])],
)
def test_pip_gets_the_build_that_was_chosen(
    absent: list,
    packaging: Packaging,
    wait: Any,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    chosen: int,
    options: list,
) -> None:
    import qt

    from modality_synthesis.slicer.install_dialog import InstallDialog

    monkeypatch.setattr(sys, "platform", platform)
    parent = qt.QWidget()
    dialog = InstallDialog(list(absent), parent, print)
    dialog.buildButtons[chosen].checked = True
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 2 else None
    dialog.installButton.click()
    assert not dialog.installButton.enabled
    wait(lambda: dialog.installed)
    assert packaging.calls == [["torch>=2.2", *options], ["monai>=1.5", "einops>=0.7"]]
    parent.deleteLater()


def test_where_a_gpu_is_its_build_stands_first(absent: list, monkeypatch: pytest.MonkeyPatch) -> None:
    from modality_synthesis.slicer import dependencies

    monkeypatch.setattr(dependencies, "NVIDIA_DRIVER", __file__)
    first, second = dependencies.builds(absent)
    assert ("NVIDIA" in first.text, "NVIDIA" in second.text) == (True, False)


def test_without_torch_there_is_no_build_to_choose(absent: list) -> None:
    from modality_synthesis.slicer import dependencies

    assert dependencies.builds(["monai>=1.5"]) == []
    assert dependencies.steps(["monai>=1.5"], None) == [["monai>=1.5"]]


def test_pip_is_seen_at_work(dialog: Any, absent: list, packaging: Packaging, wait: Any) -> None:
    dialog.dialog.show()
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 2 else None
    dialog.installButton.click()
    assert dialog.progressBar.visible
    assert "180.2 MB" in dialog.statusLabel.text
    assert "Collecting torch" in dialog.logTextEdit.plainText
    wait(lambda: dialog.installed)
    assert not dialog.dialog.visible  # the job goes on
    assert "pip install monai>=1.5 einops>=0.7" in dialog.logged


def test_a_failure_names_the_reason_and_keeps_the_log(
    dialog: Any, absent: list, packaging: Packaging, wait: Any
) -> None:
    dialog.dialog.show()
    packaging.codes = [1]
    packaging.lines = ["Collecting torch", "ERROR: Could not install packages: No space left on <device>"]
    dialog.installButton.click()
    wait(lambda: dialog.installButton.enabled)
    text = dialog.statusLabel.text
    for part in ("Not installed", "exit code 1", "No space left on &lt;device&gt;", "log below"):
        assert part in text
    assert not dialog.progressBar.visible
    assert "No space left" in dialog.logTextEdit.plainText
    assert any("No space left" in line for line in dialog.logged)
    assert len(packaging.calls) == 1  # nothing else is tried without PyTorch
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 3 else None
    dialog.installButton.click()
    wait(lambda: dialog.installed)


def test_pip_may_be_wrong_about_its_success(dialog: Any, packaging: Packaging, wait: Any) -> None:
    dialog.installButton.click()
    wait(lambda: dialog.installButton.enabled)
    assert "torch, monai, einops cannot be found" in dialog.statusLabel.text
    assert not dialog.installed


def test_slicer_itself_refuses(dialog: Any, packaging: Packaging, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("already in progress")

    monkeypatch.setattr(slicer.packaging, "pip_install", refuse)
    dialog.installButton.click()
    assert "already in progress" in dialog.logTextEdit.plainText
    assert "Not installed" in dialog.statusLabel.text


def test_a_package_that_slicer_uses_was_replaced(
    dialog: Any, absent: list, packaging: Packaging, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from modality_synthesis.slicer import dependencies

    restarts: list = []
    monkeypatch.setattr(slicer.util, "restart", lambda: restarts.append(1), raising=False)
    versions = [{"numpy": "2.0", "scipy": "1.1"}, {"numpy": "2.4", "scipy": "1.1", "einops": "0.8"}]
    monkeypatch.setattr(dependencies, "loadedVersions", lambda: versions.pop(0))
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 2 else None
    dialog.dialog.show()
    dialog.installButton.click()
    wait(lambda: dialog.restartButton.visible)
    assert "uses numpy," in dialog.statusLabel.text
    assert not dialog.installed
    dialog.closeButton.click()
    assert not dialog.dialog.visible


def test_the_pytorch_extension_chooses_the_build(
    absent: list, packaging: Packaging, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    from modality_synthesis.slicer.install_dialog import InstallDialog

    calls, answers = [], [None, "torch"]

    class Logic:
        def installTorch(self, **keywords: Any) -> object:
            calls.append(keywords)
            return answers.pop(0)

    real = importlib.util.find_spec
    found = types.SimpleNamespace(origin=__file__)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: found if name == "PyTorchUtils" else real(name, *a)
    )
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    parent = qt.QWidget()
    dialog = InstallDialog(list(absent), parent, print)
    (button,) = dialog.buildButtons
    assert "the PyTorch extension chooses it" in button.text
    dialog.installButton.click()
    assert "could not install PyTorch" in dialog.statusLabel.text
    packaging.then = absent.clear
    dialog.installButton.click()
    wait(lambda: dialog.installed)
    assert calls == 2 * [{"askConfirmation": False, "torchVersionRequirement": ">=2.2"}]
    assert packaging.calls == [["monai>=1.5", "einops>=0.7"]]


def test_where_slicer_waits_for_pip_nobody_is_called(
    dialog: Any, absent: list, packaging: Packaging, wait: Any
) -> None:
    """With --testing `pip_install` blocks and calls nobody."""
    packaging.blocks = True
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 2 else None
    dialog.installButton.click()
    assert dialog.installed


@pytest.mark.parametrize("fails", [False, True])
def test_older_slicer_blocks(dialog: Any, absent: list, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    import slicer

    installed: list = []

    def pip_install(arguments: list) -> None:
        installed.append(arguments)
        if fails:
            raise OSError("pip failed")
        if len(installed) == 2:
            absent.clear()

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    dialog.installButton.click()
    assert dialog.installed is not fails
    assert installed[0] == ["torch>=2.2", *CPU]
    assert ("pip failed" in dialog.logTextEdit.plainText) is fails


def test_the_panel_asks_at_the_first_job_and_goes_on_after_it(
    absent: list, open_panel: Any, packaging: Packaging, wait: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    install_card(tmp_path / "models", "pet")
    add_head()
    answers = ["closeButton", "installButton"]
    asked: list = []

    def answer() -> None:
        opened = qt.QApplication.activeModalWidget()
        asked.append(opened.windowTitle)
        texts = {"closeButton": "Not now", "installButton": "Install"}
        wanted = texts[answers.pop(0)]
        next(button for button in opened.findChildren(qt.QPushButton) if button.text == wanted).click()

    panel = open_panel()
    panel.parameters.model = "pet"
    assert asked == []  # opening the panel asks for nothing
    qt.QTimer.singleShot(0, answer)
    panel.ui.synthesizeButton.click()
    assert asked == ["Packages for the generators"]
    assert not panel.logic.running
    assert packaging.calls == []
    packaging.then = lambda: absent.clear() if len(packaging.calls) == 2 else None
    qt.QTimer.singleShot(0, answer)
    panel.ui.synthesizeButton.click()
    assert panel.logic.running
    wait(lambda: not panel.logic.running)
    assert "Made" in panel.ui.synthesizeStatusLabel.text


def test_while_pip_still_runs_nothing_is_started(dialog: Any, packaging: Packaging, wait: Any) -> None:
    import qt

    packaging.running = True
    qt.QTimer.singleShot(0, dialog.closeButton.click)
    assert not dialog.run()
    assert "still going on" in dialog.statusLabel.text
    assert not dialog.installButton.enabled


def test_what_is_missing_is_found_by_name_and_version(
    scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from modality_synthesis.slicer import dependencies

    monkeypatch.undo()
    assert dependencies.missing() == []
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "monai" else real(name, *a))
    assert [requirement.partition(">")[0] for requirement in dependencies.missing()] == ["monai"]
    monkeypatch.setenv("MODALITY_SYNTHESIS_PYTHON", "/somewhere/python")
    assert dependencies.missing() == []
    assert dependencies.isThere("numpy>=1.2")
    assert not dependencies.isThere("numpy>=99")
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not dependencies.isThere("left_behind>=1")
    (tmp_path / "left_behind" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    assert dependencies.isThere("left_behind>=1")  # built into Slicer, without a version


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13)), ("3.0rc1", (3, 0)), ("1.26", (1, 26)), ("", ())]
)
def test_versions_are_compared_by_their_numbers(app: Any, version: str, numbers: tuple) -> None:
    from modality_synthesis.slicer import dependencies

    expected = numbers[:-1] if numbers and not numbers[-1] else numbers
    assert dependencies.numbersOf(version) == expected


def test_what_slicer_has_loaded_is_known_by_version(app: Any) -> None:
    import numpy

    from modality_synthesis.slicer import dependencies

    assert dependencies.loadedVersions()["numpy"] == numpy.__version__
