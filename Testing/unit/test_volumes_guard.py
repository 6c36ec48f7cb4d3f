"""Outputs that would destroy something of the user's are refused before anything is computed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from folder_states import failing_at, numbers_until_done, state
from pydicom.dataset import FileDataset, FileMetaDataset

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.volumes import (
    atomic_files,
    check_outputs,
    check_writable,
    read_sidecar,
    refuse_foreign_json,
    sidecar_path,
    write_image,
    write_rows,
    write_sidecar,
)

OWN = {"GeneratedBy": [{"Name": "modality-synthesis", "Version": "0.1.0"}]}


def volume(path: Path, value: float = 1.0) -> Path:
    write_image(sitk.GetImageFromArray(np.full((9, 9, 9), value, dtype=np.float32)), path)
    return path


def refused(*outputs: Path, inputs: tuple[object, ...] = (), folders: tuple[Path, ...] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        check_outputs([], described=outputs, folders=folders, inputs=inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_output_that_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = volume(tmp_path / "data" / "sub-01_T1w.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(source)
    (tmp_path / "folder").symlink_to(tmp_path / "data")
    os.link(source, tmp_path / "hard.nii.gz")
    monkeypatch.chdir(tmp_path / "data")
    spellings = [
        source,
        Path("sub-01_T1w.nii.gz"),
        Path("../data/./sub-01_T1w.nii.gz"),
        tmp_path / "link.nii.gz",
        tmp_path / "hard.nii.gz",
        tmp_path / "folder" / "sub-01_T1w.nii.gz",
    ]
    before = state(tmp_path, own=True)
    for spelling in spellings:
        assert "input" in refused(spelling, inputs=(source,))
        assert "input" in refused(source, inputs=(spelling,))
    assert state(tmp_path, own=True) == before
    check_outputs([], described=[tmp_path / "pet.nii.gz", None], inputs=[source, None, sitk.Image(2, 2, 2, 1)])


def test_a_sidecar_that_is_an_input(tmp_path: Path) -> None:
    source = volume(tmp_path / "a.nrrd")
    (tmp_path / "a.json").write_text(json.dumps(OWN))
    assert "a.json" in refused(tmp_path / "a.nii.gz", inputs=(source,))
    (tmp_path / "cohort.csv.json").write_text(json.dumps(OWN))
    (tmp_path / "cohort.csv").write_text("subject\n1\n")
    with pytest.raises(UsageError, match="input"):
        check_outputs([tmp_path / "cohort.csv.json"], inputs=[tmp_path / "cohort.csv"])


@pytest.mark.parametrize(("header", "data"), [("a.nhdr", "a.raw"), ("a.mhd", "a.raw")])
def test_detached_voxels_of_an_input(tmp_path: Path, header: str, data: str) -> None:
    image = sitk.GetImageFromArray(np.ones((4, 4, 4), dtype=np.float32))
    sitk.WriteImage(image, str(tmp_path / header), False)
    assert (tmp_path / data).is_file()
    with pytest.raises(UsageError, match="input"):
        check_outputs([tmp_path / data], inputs=[tmp_path / header])


def test_a_file_of_an_input_dicom_folder(tmp_path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    folder = tmp_path / "dicom"
    folder.mkdir()
    FileDataset(str(folder / "1.nii.gz"), {}, file_meta=meta, preamble=b"\0" * 128).save_as(folder / "1.nii.gz")
    assert "input" in refused(folder / "1.nii.gz", inputs=(folder,))
    check_outputs([], described=[folder / "pet.nii.gz"], inputs=[folder])
    for output in (folder, folder / "export", tmp_path):
        assert "holds the input" in refused(folders=(output,), inputs=(folder,))
    check_outputs([], folders=[tmp_path / "export"], inputs=[folder])


def test_two_outputs_that_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to("real")
    pairs = [
        ("a.nii.gz", "a.nii.gz", "for two results"),
        ("real/a.nii.gz", "other/a.nii.gz", "are one file"),
        ("a.nii.gz", "A.nii.gz", "by capitals only"),
        ("a.nii.gz", "a.nrrd", "share the sidecar a.json"),
    ]
    for first, second, words in pairs:
        assert words in refused(tmp_path / first, tmp_path / second)
    with pytest.raises(UsageError):
        check_outputs([tmp_path / "a.json"], described=[tmp_path / "a.nii.gz"])
    check_outputs([], described=[tmp_path / "suvr.csv", tmp_path / "suvr.nrrd"])


@pytest.mark.parametrize("text", ['{"EchoTime": 0.003}', "[1]", "", "{", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}'])
def test_a_json_that_this_program_did_not_write(tmp_path: Path, text: str) -> None:
    (tmp_path / "pet.json").write_text(text)
    assert "pet.json" in refused(tmp_path / "pet.nii.gz")
    with pytest.raises(UsageError, match=r"pet\.json is there already"):
        refuse_foreign_json([tmp_path / "pet.json"])
    assert (tmp_path / "pet.json").read_text() == text


def test_own_results_may_be_replaced(tmp_path: Path) -> None:
    for name in ("pet.nii.gz", "suvr.csv"):
        write_result(tmp_path / name)
    check_outputs([], described=[tmp_path / "pet.nii.gz", tmp_path / "suvr.csv"])
    refuse_foreign_json([tmp_path / "pet.json", tmp_path / "missing.json"])


def write_result(path: Path, value: float = 1.0) -> None:
    with atomic_files():
        if path.suffix == ".csv":
            write_rows(path, [{"region": "pons", "mean": value}])
        else:
            volume(path, value)
        write_sidecar(path, OWN)


def test_another_volume_of_the_same_stem_keeps_its_sidecar(tmp_path: Path) -> None:
    write_result(tmp_path / "a.nii.gz")
    assert "share the sidecar a.json" in refused(tmp_path / "a.nrrd")
    volume(tmp_path / "t1.nrrd")  # a real one that has no sidecar would get one that calls it synthetic
    assert "share the sidecar t1.json" in refused(tmp_path / "t1.nii.gz")
    # The sidecar's hash says whose it is.
    volume(tmp_path / "a.nrrd")
    check_outputs([], described=[tmp_path / "a.nii.gz"])


def test_a_table_of_version_0_1_keeps_its_sidecar(tmp_path: Path) -> None:
    (tmp_path / "suvr.csv").write_text("region,mean\npons,1\n")
    (tmp_path / "suvr.json").write_text(json.dumps({**OWN, "Quantity": "SUVR"}))
    assert read_sidecar(tmp_path / "suvr.csv")["Quantity"] == "SUVR"
    assert "suvr.csv" in refused(tmp_path / "suvr.nrrd")
    write_result(tmp_path / "suvr.csv")
    assert sidecar_path(tmp_path / "suvr.csv").name == "suvr.csv.json"
    check_outputs([], described=[tmp_path / "suvr.csv", tmp_path / "suvr.nrrd"])


@pytest.mark.parametrize("name", ["pet.nii.gz", "pet.nrrd", "suvr.csv"])
def test_a_file_that_is_not_its_sidecars(tmp_path: Path, name: str) -> None:
    write_result(tmp_path / name)
    assert read_sidecar(tmp_path / name)["GeneratedBy"]
    with (tmp_path / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(BadInputError, match=f"{name} is not the file that .* SHA-256"):
        read_sidecar(tmp_path / name)
    # The way out, for whoever changed it on purpose; sidecars of version 0.1.0 are like that.
    record = json.loads(sidecar_path(tmp_path / name).read_text())
    sidecar_path(tmp_path / name).write_text(json.dumps({key: record[key] for key in record if key != "SHA256"}))
    assert read_sidecar(tmp_path / name)["GeneratedBy"]


def test_the_check_for_writability_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    def run(number: int) -> bool:
        failing = failing_at(monkeypatch, number, lambda name: signal.raise_signal(signal.SIGTERM), tmp_path)
        with failing as steps, contextlib.suppress(Stopped):
            check_writable(tmp_path / "new" / "folder" / "pet.nii.gz")
        assert list(tmp_path.iterdir()) == []
        return len(steps) >= number

    before = signal.signal(signal.SIGTERM, stop)
    try:
        assert numbers_until_done(run) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
