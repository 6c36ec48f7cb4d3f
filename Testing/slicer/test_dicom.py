"""Export from the panel by the real command line, and back into the scene by Slicer's own readers."""

from __future__ import annotations

import importlib.util
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import add_head, card_facts, head_matrix, install_card
from test_flow import click_and_wait

NEEDED = ("pydantic", "pydicom", "typer")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason="the worker's packages are not installed"
)


def sidecar(source: str, target: str) -> dict:
    """What the worker writes beside a volume."""
    facts = card_facts("pet", source, target)
    return {
        "SyntheticData": True,
        "Model": {"id": "pet", "version": "1.2.0", "weights_sha256": "ab" * 32, "trained_on_simulated_data": True},
        "Route": facts["route"],
        "Quantity": facts["output"]["quantity"],
        "Units": facts["output"]["units"],
        "ReferenceRegion": facts["output"]["reference_region"],
        "DisplayWindow": facts["output"]["display_window"],
        "GeneratedBy": [{"Name": "modality-synthesis", "Version": "1.0"}],
        "Parameters": {"device": "cpu", "seed": 0, "space": "native", "clinical": {"age": 71}},
        "Sources": [{"file": "secret.nrrd", "sha256": "cd" * 32}],
    }


@pytest.fixture
def synthetic(open_panel: Any, tmp_path: Path) -> Any:
    """A panel with the real worker, and a synthetic volume of noise on an oblique, anisotropic grid."""
    import slicer

    from modality_synthesis.slicer import results

    def synthetic_(module: str, left_handed: bool) -> Any:
        source, target = ("T1w", "FDG-PET") if module == "MRItoPETSynthesis" else ("CT", "T1w")
        install_card(tmp_path / "models", "pet", source, target)
        matrix = head_matrix(spacing=6.3, angle=17, left_handed=left_handed)
        matrix[:3, 2] *= 0.7
        head = add_head(name="Secret Name", matrix=matrix, ct=source == "CT")
        values = np.random.default_rng(0).uniform(-0.1, 2.7, slicer.util.arrayFromVolume(head).shape)
        panel = open_panel(module)
        panel.logic.workerCommand = None
        values = values.astype(np.float32)
        panel.parameters.outputVolume = results.makeResult(
            values, head, panel.logic.model("pet"), sidecar(source, target)
        )
        panel.parameters.exportFolder = tmp_path
        return panel

    return synthetic_


def differences(node: Any, expected: Any) -> np.ndarray:
    """Look every voxel of a node up in another one, by its place in the patient."""
    import slicer

    from modality_synthesis.slicer import exchange

    values = slicer.util.arrayFromVolume(node).astype(np.float64)
    k, j, i = np.indices(values.shape).reshape(3, -1)
    world = exchange.ijkToRas(node) @ np.stack([i, j, k, np.ones_like(i)])
    index = np.linalg.inv(exchange.ijkToRas(expected)) @ world
    whole = np.rint(index[:3]).astype(int)
    assert np.abs(index[:3] - whole).max() < 1e-4
    assert len(np.unique(whole, axis=1).T) == values.size == slicer.util.arrayFromVolume(expected).size
    return values.ravel() - slicer.util.arrayFromVolume(expected)[whole[2], whole[1], whole[0]]


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("module", ["MRItoPETSynthesis", "CTtoMRSynthesis"])
def test_slicer_reads_the_exported_series(
    synthetic: Any, wait: Any, tmp_path: Path, module: str, left_handed: bool
) -> None:
    import pydicom
    import slicer

    panel = synthetic(module, left_handed)
    panel.parameters.exportFormat = "DICOM series"
    click_and_wait(panel, wait, "export")
    (folder,) = (path for path in tmp_path.glob("*_dicom-series"))
    assert f"Wrote {folder}" in panel.ui.exportStatusLabel.text
    files = sorted(str(path) for path in folder.iterdir())
    loaded = slicer.util.loadVolume(files[0], {"fileNames": files, "singleFile": False})
    header = pydicom.dcmread(files[0])
    step = float(header.RescaleSlope)
    assert step < 2.7 / 32000
    assert np.abs(differences(loaded, panel.parameters.outputVolume)).max() <= step / 2 + 3e-7  # float32
    assert header.SyntheticData == "YES"
    assert header.Modality == ("PT" if module == "MRItoPETSynthesis" else "MR")
    for file in files:
        assert b"ecret" not in Path(file).read_bytes()


def test_parametric_map_from_the_panel(synthetic: Any, wait: Any, tmp_path: Path) -> None:
    """With highdicom it is written; without, the panel says what to do."""
    panel = synthetic("MRItoPETSynthesis", True)
    panel.parameters.exportFormat = "DICOM parametric map"
    click_and_wait(panel, wait, "export")
    written = list(tmp_path.glob("*_dicom-parametric-map/*.dcm"))
    if importlib.util.find_spec("highdicom") is None:
        assert written == []
        assert "highdicom" in panel.ui.exportStatusLabel.text
    else:
        assert len(written) == 1


def test_suvr_volume_keeps_its_own_reference_region(synthetic: Any) -> None:
    from modality_synthesis.slicer import results

    panel = synthetic("MRItoPETSynthesis", False)
    pet = panel.parameters.outputVolume
    results.setMeasurement(pet, {"Quantity": "SUVR", "Units": "SUVR", "ReferenceMean": 1.4}, "pons")
    assert results.sidecarOf(pet)["ReferenceRegion"] == "pons"
    assert results.sidecarOf(pet)["ReferenceMean"] == results.measurementOf(pet)["ReferenceMean"] == 1.4
    assert results.sidecarOf(pet)["Model"]["id"] == "pet"
    assert json.loads(pet.GetAttribute(results.SIDECAR)) == results.sidecarOf(pet)


def database(files: dict, values: dict | None = None) -> Any:
    """`slicer.dicomDatabase` as far as the panel asks it: an image's file and header, by its SOP instance UID."""
    return types.SimpleNamespace(
        isOpen=True,
        fileForInstance=lambda instance: files.get(instance, ""),
        instanceValue=lambda instance, tag: (values or {}).get((instance, tag), ""),
    )


@pytest.mark.long
@pytest.mark.parametrize("left_handed", [False, True])
def test_export_joins_the_source_s_patient_and_study(
    synthetic: Any, wait: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_handed: bool
) -> None:
    """The source is a series of Slicer's DICOM database: here, one that was written before on the same grid."""
    import pydicom
    import slicer

    from modality_synthesis.slicer import results

    panel = synthetic("MRItoPETSynthesis", left_handed)
    panel.parameters.exportFormat = "DICOM series"
    assert "does not know the source" in panel.ui.exportPatientLabel.text
    click_and_wait(panel, wait, "export")
    assert "left neutral" in panel.ui.exportStatusLabel.text
    (source,) = tmp_path.glob("*_dicom-series")
    patient = "Doe^Jane of the study"
    headers = {}
    for path in source.iterdir():
        header = pydicom.dcmread(path)
        header.PatientName, header.PatientID = patient, "J-17"
        header.save_as(path)
        headers[str(header.SOPInstanceUID)] = str(path)
    head = results.sourceOf(panel.parameters.outputVolume)
    head.SetAttribute("DICOM.instanceUIDs", " ".join(headers))
    monkeypatch.setattr(slicer, "dicomDatabase", database(headers), raising=False)
    panel.update()
    assert f"{len(headers)} files" in panel.ui.exportPatientLabel.text
    click_and_wait(panel, wait, "export")
    written = pydicom.dcmread(next((tmp_path / f"{source.name}_2").iterdir()))
    first = pydicom.dcmread(next(iter(headers.values())))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert written[keyword].value == first[keyword].value
    assert written.SeriesInstanceUID != first.SeriesInstanceUID
    assert written.SyntheticData == "YES"
    assert len(list(source.iterdir())) == len(headers)  # the source's files stay
    assert "Doe" not in panel.ui.logTextEdit.plainText + panel.ui.exportStatusLabel.text

    panel.ui.exportSourceDicomCheckBox.checked = False
    click_and_wait(panel, wait, "export")
    neutral = next((tmp_path / f"{source.name}_3").iterdir()).read_bytes()
    assert b"Doe" not in neutral
    assert b"J-17" not in neutral


def test_source_files_are_known_all_or_not_at_all(
    synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from modality_synthesis.slicer import dicom_source, results

    panel = synthetic("MRItoPETSynthesis", False)
    pet = panel.parameters.outputVolume
    head = results.sourceOf(pet)
    files = {f"1.2.{index}": str(tmp_path / f"Doe {index}.dcm") for index in range(3)}
    for instance, path in files.items():
        Path(path).write_text(instance, encoding="utf-8")
    assert dicom_source.sourceFiles(pet) == []  # no attribute, no database
    head.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    assert dicom_source.sourceFiles(pet) == []
    monkeypatch.setattr(slicer, "dicomDatabase", database(files), raising=False)
    assert dicom_source.sourceFiles(pet) == list(files.values())
    assert dicom_source.sourceFiles(None) == []
    folder = Path(dicom_source.gather(list(files.values()), str(tmp_path / "links")))
    assert sorted(path.name for path in folder.iterdir()) == ["00001.dcm", "00002.dcm", "00003.dcm"]  # no names
    monkeypatch.setattr(dicom_source.os, "symlink", forbidden)
    folder = Path(dicom_source.gather(list(files.values()), str(tmp_path / "copies")))
    assert [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())] == list(files)
    Path(files["1.2.1"]).unlink()
    assert dicom_source.sourceFiles(pet) == []
    slicer.mrmlScene.RemoveNode(head)
    assert dicom_source.sourceFiles(pet) == []


def forbidden(*arguments: object) -> None:
    """What Windows says to a user who may make no links."""
    raise OSError("A required privilege is not held by the client")


@pytest.mark.parametrize(
    ("tilt", "distances", "level", "words"),
    [
        (0.0, None, None, ""),
        (0.3, None, "refuse", "gantry tilt of 16.7°"),
        (0.0, (1.0, 3.0), "warning", "slices 1.0 to 3.0 mm apart"),
    ],
)
def test_a_stack_that_slicer_shows_otherwise_than_it_was_scanned(
    open_panel: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tilt: float,
    distances: tuple | None,
    level: str | None,
    words: str,
) -> None:
    """Slicer loads tilted or uneven slices as a regular stack, unless told otherwise; a head drawn askew is refused."""
    import slicer

    install_card(tmp_path / "models", "mr", "CT", "T1w")
    head = add_head(ct=True)
    panel = open_panel("CTtoMRSynthesis")
    panel.parameters.inputVolume, panel.parameters.model = head, "mr"
    count = head.GetImageData().GetDimensions()[2]
    steps = np.full(count - 1, 2.0) if distances is None else np.resize(distances, count - 1)
    heights = np.concatenate([[0], np.cumsum(steps)])
    instances = [f"1.2.{index}" for index in range(count)]
    places = zip(instances, heights, strict=True)
    values = {(instance, "0020,0032"): f"0\\{tilt * height}\\{height}" for instance, height in places}
    values[instances[0], "0020,0037"] = "1\\0\\0\\0\\1\\0"
    head.SetAttribute("DICOM.instanceUIDs", " ".join(instances))
    monkeypatch.setattr(slicer, "dicomDatabase", database({}, values), raising=False)
    head.Modified()
    panel.update()
    about = [finding for finding in panel.sections["InputsSection"].findings if "Scanned" in finding.text]
    assert [finding.level for finding in about] == ([] if level is None else [level])
    assert words in "".join(finding.text for finding in about)
    assert bool(panel.sections["InputsSection"].refusal()) == (level == "refuse")
