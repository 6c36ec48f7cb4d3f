"""The panel with the real command line and the shipped demonstration model, on the shipped head at 2 mm."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import REPOSITORY
from test_flow import alive, click_and_wait, node_ids

HEAD = REPOSITORY / "Resources" / "SampleData" / "sub-forrest_T1w.nii.gz"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed"),
    pytest.mark.skipif(
        not (REPOSITORY / "Resources" / "Models" / "demo-t1w-fdg" / "model.json").is_file(),
        reason="no demonstration model",
    ),
]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped head at 2 mm, an eighth of its voxels: what is tested is who says what to whom."""
    from modality_synthesis.preprocessing.resampling import resample_isotropic
    from modality_synthesis.volumes import read_image, write_image

    path = tmp_path_factory.mktemp("head") / "sub-forrest_T1w.nii.gz"
    write_image(resample_isotropic(read_image(HEAD), 2.0), path)
    return path


@pytest.fixture
def panel(open_panel: Any, head: Path) -> Any:
    """A panel with the real worker and a real head."""
    import slicer

    slicer.util.loadVolume(str(head), {"name": "T1w head"})
    opened = open_panel()
    opened.logic.workerCommand = None
    opened.parameters.model = "demo-t1w-fdg"
    opened.parameters.device = "cpu"
    return opened


@pytest.mark.long
def test_synthesize_compare_and_suvr(panel: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    import slicer

    from modality_synthesis.slicer import exchange

    panel.ui.synthesizeButton.click()
    wait(lambda: not panel.logic.running)
    pet = panel.parameters.outputVolume
    assert pet is not None, panel.ui.synthesizeStatusLabel.text
    head = panel.parameters.inputVolume
    assert np.array_equal(exchange.ijkToRas(pet), exchange.ijkToRas(head))
    values = slicer.util.arrayFromVolume(pet)
    assert 0.5 < np.percentile(values[values > 0], 90) < 3

    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "measured PET")
    exchange.setVolume(reference, values * 0.9, pet)
    panel.parameters.referenceVolume = reference
    opened: list = []
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *arguments: str(tmp_path))
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(Path(url.toLocalFile())))
    panel.ui.reportButton.click()
    wait(lambda: not panel.logic.running)
    assert panel.ui.metricsTableWidget.rowCount >= 11, panel.ui.compareStatusLabel.text
    assert panel.parameters.regionsTable.GetNumberOfRows() > 100
    (page,) = opened
    text = page.read_text(encoding="utf-8")
    assert page.parent.parent == tmp_path
    assert "demo-t1w-fdg" in text  # the report knows the model
    assert "Tenengrad" in text
    difference = slicer.util.arrayFromVolume(panel.logic.differenceVolume(pet, "signed"))
    compared = np.isfinite(difference)  # elsewhere nothing was synthesized, or measured
    assert np.allclose(difference[compared], values[compared] * 0.1, atol=1e-3)
    assert np.count_nonzero(compared) > 0.9 * np.count_nonzero(values)

    norm = tmp_path / "normal.csv"
    norm.write_text("region,mean,sd\nctx-precuneus,5,0.5\nfdg_ad_signature,1,0.5\n", encoding="utf-8")
    panel.parameters.normalCohort = norm
    panel.ui.suvrButton.click()
    wait(lambda: not panel.logic.running)
    assert panel.parameters.suvrVolume is not None, panel.ui.suvrStatusLabel.text
    assert panel.ui.suvrTableWidget.item(0, 0).text() == "FDG AD signature"  # the tracer's regions stand first
    assert "reference region Cerebellar gray matter" in panel.ui.suvrFactsLabel.text
    scores = slicer.util.arrayFromVolume(panel.parameters.zVolume)
    assert scores.min() < -2  # nobody's precuneus takes up five times as much as the cerebellum
    assert 0 < np.count_nonzero(scores) < 0.05 * scores.size


def test_cancel_ends_the_real_worker(panel: Any, wait: Any) -> None:
    before = node_ids()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value > 0)
    pid = panel.logic._worker.pid
    assert alive(pid)
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running)
    assert "Cancelled" in panel.ui.synthesizeStatusLabel.text
    assert not alive(pid)
    assert node_ids() == before


def test_the_worker_refuses_what_the_panel_cannot_see(panel: Any, wait: Any) -> None:
    """A volume that passes the quick checks but is no head: the worker says so, the scene stays as it is."""
    import slicer

    values = slicer.util.arrayFromVolume(panel.parameters.inputVolume)
    noise = np.random.default_rng(0).normal(500, 90, values.shape).astype(np.float32)
    slicer.util.updateVolumeFromArray(panel.parameters.inputVolume, noise)
    panel.update()
    before = node_ids()
    click_and_wait(panel, wait)
    assert "Failed" in panel.ui.synthesizeStatusLabel.text
    assert "BAD_INPUT" in panel.ui.synthesizeStatusLabel.text
    assert node_ids() == before


def test_headless_batch(head: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "cohort.csv", tmp_path / "out"
    table.write_text(f"subject,T1w\nforrest,{head}\nnobody,{tmp_path / 'none.nii.gz'}\n", encoding="utf-8")
    script = REPOSITORY / "Resources" / "Scripts" / "synthesize_batch.py"
    command = [sys.executable, str(script), "--cohort", str(table), "--model", "demo-t1w-fdg", "-o", str(output)]
    ran = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stdout + ran.stderr
    facts = json.loads((output / "batch.json").read_text(encoding="utf-8"))
    assert facts["code"] == "PARTLY"
    assert [row["state"] for row in facts["rows"]] == ["done", "failed"]
    assert (output / "forrest" / "forrest_FDG-PET.nii.gz").is_file()
