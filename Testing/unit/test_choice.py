"""`--to` takes a model that starts from the input's own modality, or asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from test_models_package import WEIGHTS, facts
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets import read_cohort
from modality_synthesis.errors import ModelMissingError, UsageError
from modality_synthesis.models import write_package
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis import choice
from modality_synthesis.synthesis.choice import choose_for_table, choose_for_volume
from modality_synthesis.volumes.stated import contrast_of_times, contrast_of_words, stated_modalities


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """Models to FDG-PET from T1w (a demonstration) and from T2w (research, so better); to tau from T1w alone."""
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "store"))
    (tmp_path / "resources" / "Models").mkdir(parents=True)
    monkeypatch.setenv("MODALITY_SYNTHESIS_RESOURCES", str(tmp_path / "resources"))
    for name, source, target, badge in (
        ("t1-fdg", "T1w", "FDG-PET", "demonstration"),
        ("t2-fdg", "T2w", "FDG-PET", "research"),
        ("t1-tau", "T1w", "TAU-PET", "research"),
    ):
        put(tmp_path / "store", name, source, target, badge)
    return tmp_path / "store"


def put(store: Path, name: str, source: str, target: str, badge: str = "research") -> None:
    write_package(store / name, facts(id=name, badge=badge, route={"source": source, "target": target}), WEIGHTS)


def volume(path: Path, sidecar: dict | None = None, level: float = 100.0) -> Path:
    values = np.full((12, 12, 12), level, np.float32)
    values[3:9, 3:9, 3:9] = 40 + np.arange(216).reshape(6, 6, 6) / 10
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((15.0, 15.0, 15.0))
    sitk.WriteImage(image, str(path))
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def dicom(folder: Path, **tags: object) -> Path:
    folder.mkdir()
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.MRImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.SeriesInstanceUID, file.Rows, file.Columns, file.Modality = "1.2", 2, 2, "MR"
    file.SamplesPerPixel, file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 1, 16, 16, 15, 0
    file.PhotometricInterpretation, file.PixelData = "MONOCHROME2", bytes(8)
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(folder / "1.dcm", enforce_file_format=True)
    return folder


def chosen(path: Path, to: str = "FDG-PET", origin: str | None = None) -> str:
    return choose_for_volume(path, to, None, origin, Reporter()).card.id


@pytest.mark.parametrize("spelled", ["FDG-PET", "fdg-pet", "FDG", "fdg_pet"])
@pytest.mark.parametrize(("name", "model"), [("sub-1_T1w.nii.gz", "t1-fdg"), ("sub-1_T2w.nii.gz", "t2-fdg")])
def test_the_file_name_decides_although_another_model_is_better(tmp_path, name, model, spelled):
    assert chosen(volume(tmp_path / name), spelled) == model


@pytest.mark.parametrize(
    ("tags", "model"),
    [
        ({"SeriesDescription": "t1_mprage_sag_p2_iso"}, "t1-fdg"),
        ({"SeriesDescription": "AX T2 TSE"}, "t2-fdg"),
        ({"RepetitionTime": "2300", "EchoTime": "2.98", "InversionTime": "900"}, "t1-fdg"),
        ({"RepetitionTime": "5000", "EchoTime": "100"}, "t2-fdg"),
    ],
)
def test_a_dicom_header_and_a_sidecar_decide(tmp_path, tags, model):
    assert chosen(dicom(tmp_path / "series", **tags)) == model
    seconds = {key: value if key == "SeriesDescription" else float(value) / 1000 for key, value in tags.items()}
    assert chosen(volume(tmp_path / "scan.nii.gz", seconds)) == model


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (lambda folder: volume(folder / "sub-1_FLAIR.nii.gz"), "FLAIR by its file name"),
        (lambda folder: volume(folder / "sub-1_ct.nii.gz"), "CT by its file name"),
        (lambda folder: volume(folder / "sub-1_trc-FDG_pet.nii.gz"), "PET by its file name"),
        (lambda folder: dicom(folder / "ct", Modality="CT"), "CT by its DICOM header"),
        (
            lambda folder: dicom(folder / "dark", SeriesDescription="t2_tirm_tra_dark-fluid"),
            "FLAIR by its DICOM header",
        ),
    ],
)
def test_another_modality_than_any_model_s_is_refused(tmp_path, path, says):
    with pytest.raises(UsageError, match=rf"{says}.*T1w or T2w.*--from \(T1w or T2w\).*--model \(t1-fdg, t2-fdg\)"):
        chosen(path(tmp_path))


def test_contradictions_are_asked_about(tmp_path):
    path = volume(tmp_path / "sub-1_T1w.nii.gz", {"SeriesDescription": "T2 SPACE"})
    with pytest.raises(UsageError, match=r"file name says T1w, but its JSON sidecar.*'T2 SPACE'.*says T2w.*--from"):
        chosen(path)
    assert chosen(path, origin="t1") == "t1-fdg"


@pytest.mark.parametrize(("ratio", "model"), [(1.4, "t1-fdg"), (0.85, "t2-fdg"), (0.95, "t2-fdg")])
def test_a_volume_that_says_nothing_is_looked_at(tmp_path, monkeypatch, ratio, model):
    look = type("Look", (), {"deep_ratio": ratio})()
    monkeypatch.setattr(choice, "find_brain", lambda image, name: look)
    reporter = Reporter()
    said: list[str] = []
    reporter.emit_status = said.append  # type: ignore[method-assign]
    assert choose_for_volume(volume(tmp_path / "scan.nii.gz"), "fdg", None, None, reporter).card.id == model
    assert "scan.nii.gz is taken for a" in said[0]


@pytest.mark.parametrize("ratio", [1.04, float("nan")])
def test_what_cannot_be_told_is_asked_with_exit_code_2(tmp_path, store, monkeypatch, ratio):
    look = type("Look", (), {"deep_ratio": ratio})()
    monkeypatch.setattr(choice, "find_brain", lambda image, name: look)
    path = volume(tmp_path / "scan.nii.gz")
    result = CliRunner().invoke(
        app, ["synthesize", str(path), "--to", "fdg", "-o", str(tmp_path / "out" / "pet.nii.gz")]
    )
    assert result.exit_code == 2
    assert "--from (T1w or T2w)" in result.stderr
    assert "--model (t1-fdg, t2-fdg)" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_ct_is_told_from_an_mri_by_its_air(tmp_path, store):
    put(store, "ct-t2", "CT", "T2w")
    put(store, "t1-t2", "T1w", "T2w")
    assert chosen(volume(tmp_path / "a.nii.gz", level=-1000.0), "T2w") == "ct-t2"
    assert chosen(volume(tmp_path / "b.nii.gz", level=0.0), "T2w") == "t1-t2"


def test_one_possible_source_needs_no_name(tmp_path):
    assert chosen(volume(tmp_path / "scan.nii.gz"), "tau") == "t1-tau"


def test_a_named_model_and_a_stated_source_must_agree(tmp_path):
    path = volume(tmp_path / "sub-1_T2w.nii.gz")
    assert choose_for_volume(path, None, "t1-fdg", None, Reporter()).card.id == "t1-fdg"
    with pytest.raises(UsageError, match="starts from T1w, not T2w"):
        choose_for_volume(path, None, "t1-fdg", "T2w", Reporter())
    with pytest.raises(ModelMissingError, match="Did you mean 'TAU-PET'"):
        choose_for_volume(path, "TAU-PETT", None, None, Reporter())


def table(folder: Path, *columns: str):
    files = [volume(folder / f"a_{name}.nii.gz").name for name in columns]
    path = folder / "cohort.csv"
    path.write_text(",".join(("subject", *columns)) + "\n" + ",".join(("a", *files)) + "\n")
    return read_cohort(path)


def test_a_table_s_column_decides(tmp_path):
    assert choose_for_table(table(tmp_path, "T1w"), "FDG", None, None).card.id == "t1-fdg"
    assert choose_for_table(table(tmp_path, "T2w"), "FDG", None, None).card.id == "t2-fdg"
    both = table(tmp_path, "T1w", "T2w")
    with pytest.raises(UsageError, match=r"columns T1w and T2w.*--from"):
        choose_for_table(both, "FDG", None, None)
    assert choose_for_table(both, "FDG", None, "t1").card.id == "t1-fdg"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("t1_mprage_sag", "T1w"), ("MPRAGE", "T1w"), ("3D FSPGR", "T1w"), ("T1 FLAIR", "T1w"), ("t2_space_sag", "T2w"),
        ("T2 FLAIR", "FLAIR"), ("t2_tirm_tra_dark-fluid", "FLAIR"), ("Ax T2* GRE", None), ("T2star", None),
        ("localizer", None), ("DTI 64", None), ("T1 and T2", None), ("T10", None),
    ],
)  # fmt: skip
def test_descriptions_are_read_as_radiographers_write_them(words, meant):
    assert contrast_of_words(words) == meant


@pytest.mark.parametrize(
    ("times", "meant"),
    [
        ((2300, 2.98, 900), "T1w"), ((8.2, 3.2, 450), "T1w"), ((500, 14, 0), "T1w"), ((5000, 100, 0), "T2w"),
        ((9000, 120, 2500), "FLAIR"), ((3000, 15, 0), None), ((0, 0, 0), None),
    ],
)  # fmt: skip
def test_sequence_times_tell_the_contrast(times, meant):
    assert contrast_of_times(*times) == meant


def test_a_damaged_sidecar_says_nothing(tmp_path):
    path = volume(tmp_path / "scan.nii.gz")
    (tmp_path / "scan.json").write_text("{")
    assert stated_modalities(path) == []
