"""The whole way through the panel: input, model, synthesize, compare, SUVR, batch, export, with the fake worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import CLINICAL, add_head, head_matrix, install_card

from modality_synthesis.evaluation.figures.style import difference_colors


@pytest.fixture
def ready(open_panel: Any, tmp_path: Path) -> Any:
    """A panel with a head and a model."""
    install_card(tmp_path / "models", "pet")
    install_card(tmp_path / "models", "mr", "CT", "T1w")

    def ready_(module: str = "MRItoPETSynthesis", **head: Any) -> Any:
        add_head(**head)
        panel = open_panel(module)
        panel.parameters.model = "mr" if module == "CTtoMRSynthesis" else "pet"
        return panel

    return ready_


def click_and_wait(panel: Any, wait: Any, prefix: str = "synthesize") -> None:
    """Press a job's button and wait until the job has ended."""
    button = getattr(panel.ui, f"{prefix}Button")
    assert button.enabled, button.toolTip
    button.click()
    assert panel.logic.running
    wait(lambda: not panel.logic.running)


def node_ids() -> set:
    """Every node of the scene."""
    import slicer

    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def test_synthesis_makes_a_marked_volume(ready: Any, wait: Any) -> None:
    import slicer

    from modality_synthesis.slicer import exchange

    panel = ready()
    head = panel.parameters.inputVolume
    click_and_wait(panel, wait)
    pet = panel.parameters.outputVolume
    assert pet.GetName() == "sub-01 T1w FDG-PET (synthetic)"
    assert np.array_equal(exchange.ijkToRas(pet), exchange.ijkToRas(head))
    values = slicer.util.arrayFromVolume(head).astype(np.float32)
    expected = 1.8 * (values - values.min()) / (values.max() - values.min())
    assert np.allclose(slicer.util.arrayFromVolume(pet), expected, atol=1e-5)
    assert pet.GetAttribute("SyntheticData") == "YES"
    assert pet.GetAttribute("ModalitySynthesis.ModelId") == "pet"
    assert pet.GetAttribute("ModalitySynthesis.WeightsSHA256") == "ab" * 32
    assert json.loads(pet.GetAttribute("ModalitySynthesis.Sidecar"))["SyntheticData"] is True
    assert pet.GetVoxelValueQuantity().GetCodeValue() == "SUVR"
    assert pet.GetDisplayNode().GetColorNode().GetName() == "PET-Heat"
    assert pet.GetDisplayNode().GetWindowLevelMax() == 2.0
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(pet)
    assert legend.GetTitleText() == "SUVR"  # one word: the box decides the size of the letters
    assert pet.GetStorageNode() is None  # no temporary file is remembered
    assert "Made" in panel.ui.synthesizeStatusLabel.text
    assert "Slices 6.0 mm apart" in panel.ui.synthesizeStatusLabel.text
    assert not list(Path(slicer.app.temporaryPath).rglob("*.nrrd"))  # the exchange folder is gone


def test_ct_to_mr(ready: Any, wait: Any) -> None:
    panel = ready("CTtoMRSynthesis", ct=True, name="CT")
    assert panel.ui.synthesizeButton.text == "Synthesize MR"
    click_and_wait(panel, wait)
    mr = panel.parameters.outputVolume
    assert mr.GetName() == "CT T1w (synthetic)"
    assert mr.GetVoxelValueQuantity().GetCodeValue() == "110852"
    assert mr.GetDisplayNode().GetColorNode().GetName() == "Grey"


@pytest.mark.parametrize("left_handed", [False, True])
def test_geometry_is_exact_for_both_hands(ready: Any, wait: Any, left_handed: bool) -> None:
    """Another extension's CT models displaced their output; here a landmark stays where it is."""
    import slicer

    from modality_synthesis.slicer import exchange

    panel = ready(matrix=head_matrix(spacing=6.3, angle=17, left_handed=left_handed))
    head = panel.parameters.inputVolume
    voxels = slicer.util.arrayFromVolume(head)
    voxels[20, 9, 14] = 3000
    slicer.util.arrayFromVolumeModified(head)
    click_and_wait(panel, wait)
    pet = panel.parameters.outputVolume
    found = np.unravel_index(slicer.util.arrayFromVolume(pet).argmax(), voxels.shape)
    assert found == (20, 9, 14)
    point = [14, 9, 20, 1]
    assert np.array_equal(exchange.ijkToRas(pet) @ point, exchange.ijkToRas(head) @ point)


def test_result_follows_the_source_transform_and_study(ready: Any, wait: Any) -> None:
    import slicer

    panel = ready()
    head = panel.parameters.inputVolume
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "tilt")
    head.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Visit 1")
    hierarchy.CreateItem(study, head)
    click_and_wait(panel, wait)
    pet = panel.parameters.outputVolume
    assert pet.GetTransformNodeID() == transform.GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(pet)) == study


def test_second_run_overwrites_the_chosen_result(ready: Any, wait: Any) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    first = panel.parameters.outputVolume.GetID()
    before = node_ids()
    click_and_wait(panel, wait)
    assert panel.parameters.outputVolume.GetID() == first
    assert node_ids() == before


def test_a_measured_volume_is_never_overwritten(ready: Any) -> None:
    panel = ready()
    panel.parameters.outputVolume = add_head("measured PET")
    assert not panel.ui.synthesizeButton.enabled
    assert "not a synthetic volume" in panel.ui.synthesizeButton.toolTip


def test_progress_and_time_left_are_shown(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel = ready()
    panel.parent.show()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value > 10)
    assert "Waiting, 3 s left" in panel.ui.synthesizeStatusLabel.text
    assert panel.ui.synthesizeProgressBar.visible
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running)


def test_the_panel_stays_responsive(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel = ready()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    shown = set()
    # The bar follows the worker step by step: the event loop comes back between two of its messages.
    wait(lambda: shown.add(panel.ui.synthesizeProgressBar.value) or len(shown) >= 3)
    assert panel.logic.running
    panel.ui.seedSpinBox.value = 3
    assert panel.parameters.seed == 3
    panel.logic.cancel()
    wait(lambda: not panel.logic.running)


def test_cancel_leaves_the_scene_as_it_was(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel = ready()
    before = node_ids()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    assert panel.ui.synthesizeCancelButton.enabled
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running)
    assert node_ids() == before
    assert panel.parameters.outputVolume is None
    assert "Cancelled" in panel.ui.synthesizeStatusLabel.text
    assert panel.ui.synthesizeButton.enabled
    assert not panel.ui.synthesizeProgressBar.visible


def alive(pid: int) -> bool:
    """True while a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_cancel_ends_the_whole_process_tree(
    ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that does not listen, with a child of its own: nothing is left behind."""
    from modality_synthesis.slicer import process

    pids = tmp_path / "pids"
    monkeypatch.setenv("FAKE_WORKER_MODE", "deaf")
    monkeypatch.setenv("FAKE_WORKER_PIDS", str(pids))
    monkeypatch.setattr(process, "GRACE_MILLISECONDS", 200)
    panel = ready()
    panel.ui.synthesizeButton.click()
    wait(lambda: pids.is_file() and len(pids.read_text().split()) == 2)
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    numbers = [int(part) for part in pids.read_text().split()]
    assert all(alive(number) for number in numbers)
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running)
    wait(lambda: not any(alive(number) for number in numbers))
    assert "Cancelled" in panel.ui.synthesizeStatusLabel.text


def test_second_click_while_running_does_nothing(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel = ready()
    panel.ui.synthesizeButton.click()
    worker = panel.logic._worker
    assert not panel.ui.synthesizeButton.enabled
    panel.sections["SynthesizeSection"].onStart()
    assert panel.logic._worker is worker
    assert not panel.ui.compareButton.enabled
    panel.logic.cancel()
    wait(lambda: not panel.logic.running)


def test_closing_the_scene_ends_the_job(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import slicer

    pids = tmp_path / "pids"
    monkeypatch.setenv("FAKE_WORKER_MODE", "deaf")
    monkeypatch.setenv("FAKE_WORKER_PIDS", str(pids))
    panel = ready()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    numbers = [int(part) for part in pids.read_text().split()]
    slicer.mrmlScene.Clear(False)
    assert not panel.logic.running
    wait(lambda: not any(alive(number) for number in numbers))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert panel.parameters.inputVolume is None
    assert not panel.ui.synthesizeButton.enabled


def test_unloading_the_module_ends_the_job(
    ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setenv("FAKE_WORKER_MODE", "deaf")
    monkeypatch.setenv("FAKE_WORKER_PIDS", str(pids))
    panel = ready()
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    numbers = [int(part) for part in pids.read_text().split()]
    panel.cleanup()
    wait(lambda: not any(alive(number) for number in numbers))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("fail", "this is no head"),
        ("memory", "choose the device cpu"),
        ("crash", "exit code 1"),
        ("silent", "without a result"),
        ("shift", "mm away from its input"),
        ("resize", "voxels"),
    ],
)
def test_failures_say_why_and_change_nothing(
    ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch, mode: str, expected: str
) -> None:
    """Others ignore the exit code, say "completed" after an error, or import a displaced result."""
    monkeypatch.setenv("FAKE_WORKER_MODE", mode)
    panel = ready()
    before = node_ids()
    click_and_wait(panel, wait)
    text = panel.ui.synthesizeStatusLabel.text
    assert "Failed" in text
    assert expected in text
    assert "Made" not in text
    assert node_ids() == before
    assert panel.ui.synthesizeProgressBar.value < 100 or not panel.ui.synthesizeProgressBar.visible
    assert panel.ui.synthesizeButton.enabled


def test_noise_on_standard_output_is_survived(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "garbage")
    panel = ready()
    click_and_wait(panel, wait)
    assert panel.parameters.outputVolume is not None
    assert "a library prints this" in panel.ui.logTextEdit.plainText


def test_a_missing_program_is_reported(ready: Any, wait: Any) -> None:
    from modality_synthesis.slicer.command import WorkerCommand

    panel = ready()
    panel.logic.workerCommand = WorkerCommand("/nowhere/python")
    panel.ui.synthesizeButton.click()
    wait(lambda: not panel.logic.running)
    assert "could not be started" in panel.ui.synthesizeStatusLabel.text


def test_names_with_spaces_and_umlauts(ready: Any, wait: Any) -> None:
    panel = ready(name="Müller, Jörg T1w / Kopf")
    click_and_wait(panel, wait)
    assert panel.parameters.outputVolume.GetName() == "Müller, Jörg T1w / Kopf FDG-PET (synthetic)"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("constant", "same value everywhere"),
        ("nan", "NaN"),
        ("ct", "is a CT"),
        ("flat", "only"),
        ("spacing", "cannot be right"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(ready: Any, change: str, reason: str) -> None:
    import slicer

    panel = ready()
    head = panel.parameters.inputVolume
    array = slicer.util.arrayFromVolume(head).astype(np.float32)
    if change == "constant":
        array[:] = 5
    if change == "nan":
        array[3, 3, 3] = np.nan
    if change == "ct":
        array = np.where(array > 0, 40, -1000).astype(np.int16)
    if change == "flat":
        array = array[:3]
    if change == "spacing":
        head.SetSpacing(600, 600, 600)
    slicer.util.updateVolumeFromArray(head, array)
    panel.update()
    assert reason in panel.ui.preflightLabel.text
    assert not panel.ui.synthesizeButton.enabled
    assert reason in panel.ui.synthesizeButton.toolTip


def test_an_mri_is_refused_as_ct(ready: Any) -> None:
    panel = ready("CTtoMRSynthesis")
    assert "no CT in Hounsfield units" in panel.ui.synthesizeButton.toolTip


def test_a_suspicious_name_is_warned_of(ready: Any) -> None:
    panel = ready(name="sub-01 T2w FLAIR")
    assert "⚠ The name says T2w" in panel.ui.preflightLabel.text
    assert panel.ui.synthesizeButton.enabled


def test_clinical_form_follows_the_declaration(ready: Any, wait: Any, tmp_path: Path) -> None:
    install_card(tmp_path / "models", "clinical", clinical_variables=CLINICAL)
    panel = ready()
    panel.sections["GeneratorSection"].refresh()
    panel.parameters.model = "clinical"
    fields = panel.sections["GeneratorSection"]._fields
    assert list(fields) == ["age", "mmse", "sex"]
    assert "needs Age" in panel.ui.synthesizeButton.toolTip
    assert fields["age"]["widget"].text == "unknown years" or "unknown" in fields["age"]["widget"].text
    fields["age"]["widget"].value = 71
    assert panel.parameters.clinical == "age=71"
    fields["sex"]["widget"].currentIndex = 1
    assert panel.parameters.clinical == "age=71,sex=F"
    fields["mmse"]["widget"].value = 0
    assert "mmse=0" in panel.parameters.clinical  # zero is a value, not unknown
    fields["mmse"]["widget"].value = -1
    assert panel.parameters.clinical == "age=71,sex=F"
    click_and_wait(panel, wait)
    arguments = json.loads(panel.parameters.outputVolume.GetAttribute("ModalitySynthesis.Sidecar"))["Arguments"]
    assert arguments[arguments.index("--clinical") + 1] == "age=71,sex=F"
    panel.parameters.clinical = "sex=M"
    assert fields["sex"]["widget"].currentText == "M"
    panel.parameters.model = "pet"
    assert not panel.sections["GeneratorSection"]._fields


def test_device_and_seed_reach_the_worker(ready: Any, wait: Any) -> None:
    panel = ready()
    panel.ui.deviceComboBox.currentText = "CPU"
    panel.ui.seedSpinBox.value = 42
    click_and_wait(panel, wait)
    arguments = json.loads(panel.parameters.outputVolume.GetAttribute("ModalitySynthesis.Sidecar"))["Arguments"]
    assert arguments[0] == "synthesize"
    assert arguments[arguments.index("--model") + 1] == "pet"
    assert arguments[arguments.index("--device") + 1] == "cpu"
    assert arguments[arguments.index("--seed") + 1] == "42"
    assert arguments[-2:] == ["--progress", "json"]


def test_uncertainty_is_asked_of_models_that_draw_noise_and_imported(ready: Any, wait: Any, tmp_path: Path) -> None:
    install_card(tmp_path / "models", "diffusion", inference={"mode": "whole", "stochastic": True})
    panel = ready()
    panel.sections["GeneratorSection"].refresh()
    panel.parameters.samples = 8
    assert not panel.ui.samplesSpinBox.enabled
    click_and_wait(panel, wait)
    assert panel.parameters.uncertaintyVolume is None  # the deterministic model is not asked for samples
    panel.parameters.model = "diffusion"
    assert panel.ui.samplesSpinBox.enabled
    assert panel.ui.samplesSpinBox.value == 8
    click_and_wait(panel, wait)
    arguments = json.loads(panel.parameters.outputVolume.GetAttribute("ModalitySynthesis.Sidecar"))["Arguments"]
    assert arguments[arguments.index("--samples") + 1] == "8"
    assert panel.parameters.uncertaintyVolume is not None
    panel.parameters.suvrOverlay = "uncertainty"
    uncertainty = panel.parameters.uncertaintyVolume
    assert panel.sections["SuvrSection"]._shownVolume() is uncertainty


def test_models_are_installed_verified_and_removed(
    ready: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    panel = ready()
    section = panel.sections["GeneratorSection"]
    package = install_card(tmp_path / "elsewhere", "fresh").parent
    section.install(str(package))
    wait(lambda: not panel.logic.running)
    assert panel.ui.modelsStatusLabel.text == "Installed."
    assert panel.ui.modelComboBox.findData("fresh") >= 0
    panel.parameters.model = "fresh"
    section.onVerify()
    wait(lambda: not panel.logic.running)
    assert "intact" in panel.ui.modelsStatusLabel.text
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: True)
    section.onRemove()
    wait(lambda: not panel.logic.running)
    assert panel.ui.modelComboBox.findData("fresh") < 0
    assert panel.parameters.model in section._listed


def compared(panel: Any, wait: Any, coregister: bool = False) -> Any:
    """Synthesize, and compare with a made-up measurement."""
    import slicer

    click_and_wait(panel, wait)
    pet = panel.parameters.outputVolume
    measured = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(pet) * 0.9 + 0.05, None, "measured PET")
    from modality_synthesis.slicer import exchange

    exchange.setVolume(measured, slicer.util.arrayFromVolume(pet) * 0.9 + 0.05, pet)
    panel.parameters.referenceVolume = measured
    panel.parameters.coregister = coregister
    click_and_wait(panel, wait, "compare")
    return pet


def test_comparison_gives_maps_figures_and_plot(ready: Any, wait: Any) -> None:
    import slicer

    panel = ready()
    assert "Synthesize a volume first" in panel.ui.compareButton.toolTip
    pet = compared(panel, wait)
    difference = panel.parameters.differenceVolume
    assert difference.GetName().endswith("difference (signed)")
    expected = slicer.util.arrayFromVolume(pet) * 0.1 - 0.05
    drawn, values = slicer.util.arrayFromVolume(pet) > 0.12, slicer.util.arrayFromVolume(difference)
    assert drawn.sum() > 1000
    assert np.allclose(values[drawn], expected[drawn], atol=1e-5)
    assert np.isnan(values[slicer.util.arrayFromVolume(pet) < 0.03]).all()  # air, where nothing was compared
    shown = difference.GetDisplayNode()
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (-0.5, 0.5)
    color = [0.0] * 4
    shown.GetColorNode().GetColor(127, color)
    assert color[:3] == [1.0, 1.0, 1.0]  # zero is neutral
    for index in (0, 60, 190, 254):  # and the map is that of the reports
        shown.GetColorNode().GetColor(index, color)
        assert color[:3] == pytest.approx(difference_colors()(index)[:3], abs=0.01)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(difference)
    assert legend.GetTitleText() == "Diff"
    other = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(pet)
    assert legend.GetPosition()[0] < 0.1 < 0.9 < other.GetPosition()[0]  # two legends in one view do not collide
    assert panel.ui.metricsTableWidget.item(0, 0).text() == "MAE (SUVR)"
    assert panel.parameters.metricsTable.GetNumberOfRows() == 5
    chart = slicer.util.getNode(slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID())
    shares = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable().GetColumn(1)
    assert sum(shares.GetValue(row) for row in range(shares.GetNumberOfTuples())) == pytest.approx(100, abs=1e-3)
    panel.parameters.differenceKind = "absolute"
    assert panel.parameters.differenceVolume.GetName().endswith("(absolute)")
    assert difference.GetAttribute("SyntheticData") == "YES"


def test_comparison_again_adds_no_nodes(ready: Any, wait: Any) -> None:
    panel = ready()
    compared(panel, wait)
    before = node_ids()
    click_and_wait(panel, wait, "compare")
    assert node_ids() == before


def test_coregistration_brings_an_aligned_reference(ready: Any, wait: Any) -> None:
    panel = ready()
    assert not panel.ui.coregisterCheckBox.isHidden()
    compared(panel, wait, coregister=True)
    assert panel.parameters.referenceVolume.GetName() == "measured PET (aligned)"
    table = panel.ui.metricsTableWidget
    assert table.item(table.rowCount - 1, 0).text() == "Correlation after alignment"
    assert "3.2 mm" in table.item(table.rowCount - 1, 0).toolTip()


def test_a_synthetic_reference_is_refused(ready: Any, wait: Any) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.referenceVolume = panel.parameters.outputVolume
    assert "must be a measured volume" in panel.ui.compareButton.toolTip


def test_suvr_gives_image_table_and_bars(ready: Any, wait: Any) -> None:
    import slicer

    panel = ready()
    assert "Synthesize a PET first" in panel.ui.suvrButton.toolTip
    click_and_wait(panel, wait)
    panel.parameters.referenceRegion = "pons"
    click_and_wait(panel, wait, "suvr")
    image = panel.parameters.suvrVolume
    assert image.GetName().endswith("SUVR (pons)")
    assert image.GetAttribute("SyntheticData") == "YES"
    assert image.GetVoxelValueQuantity().GetCodeValue() == "SUVR"
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(image).GetTitleText() == "SUVR"
    table = panel.parameters.suvrTable
    assert table.GetNumberOfRows() == 3
    assert panel.ui.suvrTableWidget.item(1, 0).text() == "tau meta-temporal"
    assert panel.ui.suvrTableWidget.item(1, 2).text() == "1.31"
    panel.ui.showSuvrPlotButton.click()
    chart = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
    assert slicer.mrmlScene.GetNodeByID(chart).GetTitle().endswith("SUVR (pons) meta-regions")


def test_batch_of_scene_volumes(ready: Any, wait: Any, tmp_path: Path) -> None:
    import qt

    panel = ready()
    add_head("second head")
    panel.update()
    folder = tmp_path / "Ausgabe für alle"
    folder.mkdir()
    assert "output folder" in panel.ui.batchButton.toolTip
    panel.ui.batchFolderPathLineEdit.currentPath = str(folder)
    assert "check volumes" in panel.ui.batchButton.toolTip
    for index in range(2):
        panel.ui.batchVolumesListWidget.item(index).setCheckState(qt.Qt.Checked)
    click_and_wait(panel, wait, "batch")
    assert (folder / "cohort.csv").read_text().splitlines()[0] == "subject,T1w"
    assert sorted(path.stem for path in folder.glob("*.txt")) == ["second_head", "sub-01_T1w"]
    states = [panel.ui.batchTableWidget.item(row, 1).text() for row in range(2)]
    assert states == ["done", "done"]


def offered(panel: Any) -> list:
    """The names in the batch's list."""
    widget = panel.ui.batchVolumesListWidget
    return [widget.item(index).text() for index in range(widget.count)]


def test_batch_offers_what_fits_the_model(ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from modality_synthesis.slicer import dicom_source

    panel = ready()
    for name in ("Petra", "sub-02_t2w_mprage", "sub-02_FDG-PET", "AX_T2_FLAIR", "FDGPET", "sub-03"):
        add_head(name)
    add_head("head CT", ct=True)
    pet = add_head("without a telling name")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(labels, np.ones((20, 20, 20), np.int16))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    monkeypatch.setattr(dicom_source, "modality", lambda node: "PT" if node.GetID() == pet.GetID() else "")
    click_and_wait(panel, wait)  # makes a synthetic one
    panel.update()
    assert offered(panel) == ["sub-01 T1w", "Petra", "sub-02_t2w_mprage", "sub-03"]
    tip = panel.ui.batchVolumesListWidget.toolTip
    for left in (
        "head CT (CT)",
        "sub-02_FDG-PET (PET)",
        "AX_T2_FLAIR (T2w)",
        "telling name (PET)",
        "(synthetic) (synthetic)",
    ):
        assert left in tip
    assert "6 volumes of the scene do not fit" in panel.ui.batchVolumesNoteLabel.text


def test_batch_for_ct_offers_ct(ready: Any) -> None:
    panel = ready("CTtoMRSynthesis", ct=True, name="CT")
    add_head("T1w")
    panel.update()
    assert offered(panel) == ["CT"]


@pytest.mark.parametrize(("quantity", "modality"), [("Standardized Uptake Value body weight", "PT"), ("Signal", "")])
def test_the_quantity_of_a_volume_says_that_it_is_a_pet(scene: Any, quantity: str, modality: str) -> None:
    import slicer

    from modality_synthesis.slicer import dicom_source

    node = add_head("x")
    assert dicom_source.modality(node) == ""
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("126401", "DCM", quantity)
    node.SetVoxelValueQuantity(entry)
    assert dicom_source.modality(node) == modality


def test_batch_says_that_the_table_counts(ready: Any, tmp_path: Path) -> None:
    import qt

    panel = ready()
    panel.parent.show()
    panel.ui.batchCollapsibleButton.collapsed = False
    panel.update()
    volumes, note = panel.ui.batchVolumesListWidget, panel.ui.batchVolumesNoteLabel
    volumes.item(0).setCheckState(qt.Qt.Checked)
    assert volumes.enabled
    assert not note.visible
    table = tmp_path / "cohort.csv"
    table.write_text("subject,T1w\ns1,a.nii\n", encoding="utf-8")
    panel.parameters.batchTable = table
    assert not volumes.enabled
    assert note.visible
    assert "1 checked here: not used." in note.text
    assert "cohort table counts" in note.text


def test_batch_keeps_what_is_checked_when_volumes_come(ready: Any) -> None:
    import qt

    panel = ready()
    panel.update()
    panel.ui.batchVolumesListWidget.item(0).setCheckState(qt.Qt.Checked)
    add_head("another")
    panel.update()
    assert offered(panel) == ["sub-01 T1w", "another"]
    assert [node.GetName() for node in panel.sections["BatchSection"].checkedVolumes()] == ["sub-01 T1w"]


def test_batch_messages_can_be_read(ready: Any, tmp_path: Path) -> None:
    panel = ready()
    panel.parent.resize(404, 1200)
    panel.parent.show()
    panel.ui.batchCollapsibleButton.collapsed = False
    section = panel.sections["BatchSection"]
    message = "sub-01_T1w.nii.gz: this is no head, and a good deal more is to be said about it. Choose another volume."
    section._rows = [["a subject with a name that is longer than most names are", "failed", message]]
    section._showQueue()
    table = panel.ui.batchTableWidget
    widths = [table.columnWidth(column) for column in range(3)]
    assert sum(widths) <= table.viewport().width
    assert widths[2] > 100
    assert message in table.item(0, 2).toolTip()


def test_batch_partly_done_names_the_row(
    ready: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_WORKER_MODE", "partly")
    panel = ready()
    table = tmp_path / "cohort.csv"
    table.write_text('id,T1w,subject,note\n7,a.nii.gz,s1,"seen\ntwice"\n8,b.nii.gz,s2,\n', encoding="utf-8")
    panel.parameters.batchFolder = tmp_path
    panel.ui.batchTablePathLineEdit.currentPath = str(tmp_path / "missing.csv")
    assert "no cohort table" in panel.ui.batchButton.toolTip
    panel.ui.batchTablePathLineEdit.currentPath = str(table)
    click_and_wait(panel, wait, "batch")
    assert "Partly done" in panel.ui.batchStatusLabel.text
    assert [panel.ui.batchTableWidget.item(row, 0).text() for row in range(2)] == ["s1", "s2"]
    assert panel.ui.batchTableWidget.item(1, 1).text() == "failed"
    assert panel.ui.batchTableWidget.item(1, 2).text() == "no such file"


@pytest.mark.parametrize("file_format", ["NIfTI", "NRRD"])
def test_export_with_provenance(ready: Any, wait: Any, tmp_path: Path, file_format: str) -> None:
    import slicer

    from modality_synthesis.slicer import exchange
    from modality_synthesis.volumes import read_sidecar

    panel = ready()
    folder = tmp_path / "export"
    folder.mkdir()
    click_and_wait(panel, wait)
    pet = panel.parameters.outputVolume
    assert panel.ui.exportSelector.currentNode().GetID() == pet.GetID()
    panel.parameters.exportFolder = folder
    panel.parameters.exportFormat = file_format
    panel.ui.exportButton.click()
    ending = ".nii.gz" if file_format == "NIfTI" else ".nrrd"
    path = folder / f"sub-01_T1w_FDG-PET_synthetic{ending}"
    array, matrix = exchange.readVolume(path)
    assert np.allclose(matrix, exchange.ijkToRas(pet), atol=1e-4)
    assert np.array_equal(array, slicer.util.arrayFromVolume(pet))
    assert json.loads(path.with_name("sub-01_T1w_FDG-PET_synthetic.json").read_text())["SyntheticData"] is True
    assert sorted(file.name for file in folder.iterdir()) == [
        f"sub-01_T1w_FDG-PET_synthetic{end}" for end in sorted((".json", ending))
    ]
    # A program that reads the pair later knows whether they belong together.
    assert read_sidecar(path)["SyntheticData"] is True
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    panel.parameters.exportFormat = "NRRD" if file_format == "NIfTI" else "NIfTI"
    panel.ui.exportButton.click()
    assert {name: (folder / name).read_bytes() for name in before} == before  # it goes beside the first
    assert (folder / "sub-01_T1w_FDG-PET_synthetic_2.json").is_file()
    if file_format == "NIfTI":
        nibabel = pytest.importorskip("nibabel")
        assert b"Synthetic FDG-PET" in nibabel.load(path).header["descrip"].tobytes()


@pytest.mark.parametrize(
    ("label", "file_format"), [("DICOM series", "dicom-series"), ("DICOM parametric map", "dicom-parametric-map")]
)
def test_dicom_export_is_one_click(ready: Any, wait: Any, tmp_path: Path, label: str, file_format: str) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    before = node_ids()
    panel.parameters.exportFolder = tmp_path
    panel.parameters.exportFormat = label
    for suffix in ("", "_2"):  # a second export goes beside the first
        click_and_wait(panel, wait, "export")
        folder = tmp_path / f"sub-01_T1w_FDG-PET_synthetic_{file_format}{suffix}"
        assert json.loads((folder / "note.json").read_text()) == [file_format, True]
        assert str(folder) in panel.ui.exportStatusLabel.text
    assert node_ids() == before


def test_dicom_export_takes_synthetic_volumes_only(ready: Any, wait: Any, tmp_path: Path) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.exportFolder = tmp_path
    panel.parameters.exportFormat = "DICOM series"
    panel.ui.exportSelector.setCurrentNode(panel.parameters.inputVolume)
    assert not panel.ui.exportButton.enabled
    assert "no record of its synthesis" in panel.ui.exportButton.toolTip
    panel.parameters.exportFormat = "NIfTI"
    assert panel.ui.exportButton.enabled


def test_cancelled_dicom_export(ready: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = ready()
    click_and_wait(panel, wait)
    panel.parameters.exportFolder = tmp_path / "out"
    (tmp_path / "out").mkdir()
    panel.parameters.exportFormat = "DICOM series"
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel.ui.exportButton.click()
    wait(lambda: panel.ui.exportProgressBar.value > 0)
    panel.ui.exportCancelButton.click()
    wait(lambda: not panel.logic.running)
    assert "Cancelled" in panel.ui.exportStatusLabel.text
    assert list((tmp_path / "out").iterdir()) == []


def test_doctor_writes_to_the_log(ready: Any, wait: Any) -> None:
    panel = ready()
    panel.ui.checkInstallationButton.click()
    wait(lambda: not panel.logic.running)
    assert '"cpu": "2 threads"' in panel.ui.logTextEdit.plainText


def test_the_check_answers_where_it_was_asked(ready: Any, wait: Any, app: Any) -> None:
    """Below the button, in view: the log lies below the visible part."""
    import qt

    panel = ready()
    area = qt.QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(panel.parent)
    area.resize(404, 585)  # what is visible of it at 1280 x 800
    area.show()
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.checkInstallationButton.click()
    label = panel.ui.installationLabel
    assert "Checking" in label.text
    wait(lambda: not panel.logic.running)
    assert "cpu (2 threads)" in label.text
    wait(lambda: "Checking" not in label.text and inView(area, label), seconds=5)
    area.takeWidget()


def inView(area: Any, widget: Any) -> bool:
    """Whether the whole of a widget is in the visible part of a scroll area."""
    import qt

    top = widget.mapTo(area.viewport(), qt.QPoint(0, 0)).y()
    return 0 <= top <= area.viewport().height - widget.height


def test_a_check_that_fails_says_so_below_the_button(ready: Any, wait: Any) -> None:
    from modality_synthesis.slicer.command import WorkerCommand

    panel = ready()
    panel.logic.workerCommand = WorkerCommand("/no/such/python")
    panel.ui.checkInstallationButton.click()
    wait(lambda: not panel.logic.running)
    assert "/no/such/python could not be started" in panel.ui.installationLabel.text


def test_the_chosen_python_is_remembered_and_forgotten(open_panel: Any) -> None:
    import qt

    from modality_synthesis.slicer.command import PYTHON_SETTING, chosen_python

    panel = open_panel()
    try:
        panel.ui.pythonPathLineEdit.currentPath = "/usr/bin/python3"
        assert chosen_python() == "/usr/bin/python3"
        panel.ui.pythonPathLineEdit.currentPath = ""
        assert chosen_python() == ""
    finally:
        qt.QSettings().remove(PYTHON_SETTING)


def test_scene_round_trip_restores_the_run(ready: Any, wait: Any, tmp_path: Path) -> None:
    import slicer

    panel = ready()
    panel.ui.seedSpinBox.value = 11
    panel.parameters.clinical = "age=70"
    compared(panel, wait)
    panel.parameters.differenceKind = "relative"
    path = tmp_path / "Szene mit Ärger.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(False)
    assert panel.parameters.outputVolume is None
    slicer.util.loadScene(str(path))
    panel.initializeParameterNode()
    parameters = panel.parameters
    assert parameters.inputVolume.GetName() == "sub-01 T1w"
    assert parameters.model == "pet"
    assert parameters.seed == 11
    assert panel.ui.seedSpinBox.value == 11
    assert parameters.differenceKind == "relative"
    pet = parameters.outputVolume
    assert pet.GetAttribute("SyntheticData") == "YES"
    assert pet.GetVoxelValueQuantity().GetCodeValue() == "SUVR"
    assert pet.GetDisplayNode().GetColorNode().GetName() == "PET-Heat"
    assert panel.logic.differenceVolume(pet, "signed") is not None
    assert panel.ui.metricsTableWidget.rowCount == 5
    assert panel.ui.comparisonPlotButton.enabled
    from modality_synthesis.slicer import results

    assert results.sourceOf(pet).GetName() == "sub-01 T1w"
    click_and_wait(panel, wait)  # and it runs again


def test_difference_maps_lie_on_the_reference(ready: Any, wait: Any) -> None:
    import slicer

    from modality_synthesis.slicer import exchange

    panel = ready()
    click_and_wait(panel, wait)
    coarse = slicer.util.addVolumeFromArray(np.ones((14, 15, 13), np.float32), head_matrix(spacing=12.0), "coarse PET")
    panel.parameters.referenceVolume = coarse
    click_and_wait(panel, wait, "compare")
    difference = panel.parameters.differenceVolume
    assert slicer.util.arrayFromVolume(difference).shape == (14, 15, 13)
    assert np.array_equal(exchange.ijkToRas(difference), exchange.ijkToRas(coarse))


def test_a_section_collapsed_during_its_job_opens_tidily(ready: Any, wait: Any) -> None:
    panel = ready()
    panel.parent.show()
    panel.ui.synthesizeButton.click()
    panel.ui.synthesizeCollapsibleButton.collapsed = True
    wait(lambda: not panel.logic.running)
    panel.ui.synthesizeCollapsibleButton.collapsed = False
    assert not panel.ui.synthesizeProgressBar.visible
    assert panel.ui.synthesizeStatusLabel.visible
    panel.ui.compareCollapsibleButton.collapsed = False
    assert not panel.ui.compareProgressBar.visible
    assert not panel.ui.metricsTableWidget.visible


def test_cancel_reaches_a_worker_behind_a_launcher(
    ready: Any, wait: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PythonSlicer is a launcher: ending it alone leaves the Python running, and it may keep standard input to itself."""
    import sys

    from fakes import FAKE_WORKER

    from modality_synthesis.slicer.command import WorkerCommand

    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, {str(FAKE_WORKER)!r}, *sys.argv[1:]], stdin=subprocess.PIPE)\n"
        "sys.exit(child.wait())\n"
    )
    monkeypatch.setenv("FAKE_WORKER_MODE", "slow")
    panel = ready()
    panel.logic.workerCommand = WorkerCommand(sys.executable, [str(launcher)])
    panel.ui.synthesizeButton.click()
    wait(lambda: panel.ui.synthesizeProgressBar.value >= 10)
    pid = panel.logic._worker.pid
    panel.ui.synthesizeCancelButton.click()
    wait(lambda: not panel.logic.running, seconds=3)  # well before it would be killed
    assert not alive(pid)
    assert "Cancelled" in panel.ui.synthesizeStatusLabel.text
