"""Synthetic in, synthetic out: the mark is read from whatever carries it and stays on everything that is derived."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.suvr_checks import check_is_pet, check_on_mri
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    Mark,
    array,
    check_outputs,
    describe,
    image_like,
    read_mark,
    read_sidecar,
    sidecar_path,
    stated_units,
    write_image,
)

from test_coverage import brain_pet  # isort: skip
from test_volumes_dicom import write_series  # isort: skip

MODEL = {"id": "demo-t1w-fdg", "version": "1.0.0", "weights_sha256": "ab" * 32}
RECORD = {
    "SyntheticData": True, "Model": MODEL, "Units": "SUVR", "Quantity": "SUVR", "DisplayWindow": [0, 8],
    "Route": {"source": "T1w", "target": "FDG-PET"},
}  # fmt: skip
WORDS = "SYNTHETIC FDG-PET SUVR, demo-t1w-fdg 1.0.0, research use only"


def volume(folder: Path, name: str, scale: float = 1.0, record: dict | None = None, words: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    image = brain_pet()
    write_image(image_like((array(image) * np.float32(scale)).astype(np.float32), image), path, description=words)
    if record is not None:
        path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_volume_that_lost_its_sidecar_still_says_that_it_is_synthetic(tmp_path, ending):
    assert read_mark(volume(tmp_path, "lone" + ending, words=WORDS)) == Mark("demo-t1w-fdg", "1.0.0")
    assert read_mark(volume(tmp_path, "real" + ending, words="PET, frame 3")) is None


def test_the_sidecar_says_more(tmp_path):
    found = read_mark(volume(tmp_path, "s.nii.gz", record=RECORD))
    assert found == Mark("demo-t1w-fdg", "1.0.0", "ab" * 32)
    assert read_mark(volume(tmp_path, "m.nii.gz", record={"SyntheticData": False})) is None


def test_dicom_says_it_in_its_own_way(tmp_path):
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    item = Dataset()
    item.ManufacturerModelName, item.DeviceSerialNumber = "demo-t1w-fdg 1.0.0", "cd" * 32
    for value, expected in (("YES", Mark("demo-t1w-fdg", "1.0.0", "cd" * 32)), ("NO", None)):
        folder = tmp_path / value
        folder.mkdir()
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
        file.SeriesInstanceUID, file.SyntheticData = generate_uid(), value
        file.ContributingEquipmentSequence = [item]
        pydicom.dcmwrite(folder / "1.dcm", file, enforce_file_format=True)
        assert read_mark(folder) == expected


def test_descriptions_fit_and_keep_the_model():
    long = describe(
        "100 (synthetic - reference) / reference, and many more words than fit into a header", Mark("m", "2.0")
    )
    assert long.startswith("SYNTHETIC 100 (synthetic")
    assert long.endswith(", m 2.0")
    assert len(long) <= 79
    assert describe("SUVR", None) == "SUVR"


def test_what_suvr_makes_of_a_synthetic_pet_is_synthetic(tmp_path):
    pet = volume(tmp_path, "pet.nii.gz", record=RECORD)
    suvr(pet, tmp_path / "t.csv", template_space=True, image=tmp_path / "s.nii.gz")
    for made in ("t.csv", "s.nii.gz"):
        assert read_mark(tmp_path / made) == Mark("demo-t1w-fdg", "1.0.0", "ab" * 32), made
    (tmp_path / "s.json").unlink()
    assert read_mark(tmp_path / "s.nii.gz") == Mark("demo-t1w-fdg", "1.0.0")
    with (tmp_path / "t.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["synthetic"], row["model"]) for row in rows} == {("yes", "demo-t1w-fdg 1.0.0")}
    source = json.loads((tmp_path / "t.csv.json").read_text())["Sources"][0]
    assert (source["file"], source["synthetic"]) == ("pet.nii.gz", True)
    again = suvr(tmp_path / "s.nii.gz", template_space=True)
    assert again.rows[0].model == "demo-t1w-fdg 1.0.0"


def test_a_measured_pet_stays_measured(tmp_path):
    suvr(volume(tmp_path, "pet.nii.gz"), tmp_path / "t.csv", template_space=True, image=tmp_path / "s.nii.gz")
    assert read_mark(tmp_path / "s.nii.gz") is None
    assert "SyntheticData" not in json.loads((tmp_path / "s.json").read_text())
    with (tmp_path / "t.csv").open() as stream:
        assert {(row["synthetic"], row["model"]) for row in csv.DictReader(stream)} == {("no", "")}


def test_the_maps_of_a_comparison_are_synthetic(tmp_path):
    made, real = volume(tmp_path, "made.nii.gz", 1.05, RECORD), volume(tmp_path, "real.nii.gz")
    result = compare(made, real, tmp_path / "out", difference=tmp_path / "d.nrrd")
    maps = [*(tmp_path / "out").glob("*.nii.gz"), tmp_path / "d.nrrd"]
    assert len(maps) == 4
    for one in maps:
        assert read_mark(one) == Mark("demo-t1w-fdg", "1.0.0", "ab" * 32), one.name
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert figures["SyntheticData"] is True
    assert "demo-t1w-fdg 1.0.0" in figures["statement"]
    # The data range is the one that `evaluate` takes from the card, and says so.
    assert (result.data_range, result.data_range_source) == (8, "width of the display window on the model's card")


# What `compare` doubts


def doubt(code: str, *volumes: Path, **options: object) -> tuple[str, str]:
    reporter = Reporter()
    result = compare(*volumes, reporter=reporter, **options)
    finding = next(one for one in reporter.findings if one.code == code)
    return finding.level, result.statement


def test_swapped_arguments_are_refused_and_two_synthetic_volumes_named(tmp_path):
    made, real = volume(tmp_path, "made.nii.gz", 1.05, RECORD), volume(tmp_path, "real.nii.gz")
    with pytest.raises(BadInputError, match=r"made.nii.gz is given as the measured volume but marked as synthetic"):
        compare(real, made)
    other = volume(tmp_path, "other.nii.gz", words=WORDS)
    level, statement = doubt("reference-kind", made, other)
    assert level == "look"
    assert "another synthetic volume" in statement
    level, statement = doubt("reference-kind", made, real)
    assert level == "ok"
    assert "carries no mark of synthetic data" in statement
    assert "measured volume of the same person" not in statement


def test_another_unit_is_refused_with_the_factor_and_another_scale_is_named(tmp_path):
    made = volume(tmp_path, "made.nii.gz", record=RECORD)
    with pytest.raises(BadInputError, match="6000 times the synthetic volume"):
        compare(made, volume(tmp_path, "bq.nii.gz", 6000))
    with pytest.raises(BadInputError, match="in Bq/mL, as its sidecar says"):
        compare(made, volume(tmp_path, "said.nii.gz", record={"Units": "Bq/mL"}))
    assert doubt("same-unit", made, volume(tmp_path, "region.nii.gz", 1.5))[0] == "look"
    assert doubt("same-unit", made, volume(tmp_path, "near.nii.gz", 1.1))[0] == "ok"
    other = volume(tmp_path, "ref.nii.gz", record={"Units": "SUVR", "ReferenceRegion": "pons"})
    of_cerebellum = volume(tmp_path, "cer.nii.gz", record={**RECORD, "ReferenceRegion": "cerebellar-gray"})
    assert doubt("reference-region", of_cerebellum, other)[0] == "look"


def test_volumes_that_agree_poorly_are_not_called_one_person_s(tmp_path):
    made = volume(tmp_path, "made.nii.gz", record=RECORD)
    image = brain_pet()
    turned = sitk.Euler3DTransform()
    turned.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    turned.SetRotation(0.5, 0.3, 0.8)
    write_image(sitk.Resample(image, image, turned, sitk.sitkLinear, 0.1), tmp_path / "stranger.nii.gz")
    level, statement = doubt("same-person", made, tmp_path / "stranger.nii.gz")
    assert level == "look"
    assert "may be of two people" in statement


def test_a_pet_that_is_not_in_template_space_is_refused():
    moved = sitk.Image(brain_pet())
    x, y, z = moved.GetOrigin()
    moved.SetOrigin((x, y, z + 30))
    with pytest.raises(BadInputError, match="does not lie in template space"):
        suvr(moved, template_space=True)


@pytest.mark.parametrize(("shift", "level"), [(0.0, "ok"), (8.0, "look"), (25.0, "refuse")])
def test_how_a_pet_lies_on_the_mri_is_measured(shift, level):
    """The same brain in another contrast (dark cortex, bright white matter); the PET a few mm further back."""
    pet, reporter = sitk.Image(brain_pet()), Reporter()
    values = array(pet)
    mri = image_like(np.where(values < 1, values, 800 - 90 * values).astype(np.float32), pet)
    x, y, z = pet.GetOrigin()
    pet.SetOrigin((x, y + shift, z))
    with pytest.raises(BadInputError, match="mm away from the MRI") if level == "refuse" else nullcontext():
        check_on_mri(pet, mri, "pet.nii.gz", reporter)
    finding = next(one for one in reporter.findings if one.code == "pet-mri-alignment")
    assert finding.level == level
    assert finding.value == pytest.approx(shift, abs=1.5)


def test_the_sidecar_of_a_linked_volume_lies_beside_what_the_link_leads_to(tmp_path):
    real = volume(tmp_path / "real", "a.nii.gz", record=RECORD)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "b.nii.gz"
    link.symlink_to(real)
    assert read_sidecar(link) == read_sidecar(real) != {}
    assert read_mark(link) == read_mark(real) is not None
    sidecar_path(link).write_text('{"Units": "Bq/mL"}')  # DataLad: volumes are links, their sidecars lie beside them
    assert read_sidecar(link) == {"Units": "Bq/mL"}
    assert stated_units(link) == "Bq/mL"


def test_an_output_that_is_the_sidecar_of_a_linked_input_is_refused(tmp_path):
    real = volume(tmp_path / "real", "a.nii.gz", record=RECORD)
    link = tmp_path / "b.nii.gz"
    link.symlink_to(real)
    with pytest.raises(UsageError, match=r"a\.json"):
        check_outputs([sidecar_path(real)], inputs=[link])


def test_an_mri_is_no_pet(tmp_path):
    mri = volume(tmp_path, "sub-1_T1w.nii.gz")
    copy = tmp_path / "pet.nii.gz"
    copy.write_bytes(mri.read_bytes())
    link = tmp_path / "link.nii.gz"
    link.symlink_to(mri)
    for pet in (mri, copy, link):
        with pytest.raises(BadInputError, match="both as the PET and as the MRI"):
            suvr(pet, mri=mri)
    other = volume(tmp_path / "other", "sub-1_T2w.nii.gz", scale=2.0)
    text = "sub-1_T2w.nii.gz is given as the PET, but is a T2w by its file name; SUVR are of PET only."
    assert _kind(other, mri) == [("look", text)]
    write_series(tmp_path / "mr", Modality="MR", SeriesDescription="t2_tse")
    with pytest.raises(BadInputError, match="mr is given as the PET, but is a T2w by its DICOM header"):
        _kind(tmp_path / "mr", mri)
    named = volume(tmp_path / "other", "sub-1_space-T1w_trc-FDG_pet.nii.gz", scale=2.0)
    assert _kind(named, mri) == _kind(volume(tmp_path / "other", "uptake.nii.gz", scale=3.0), mri) == []


def _kind(pet: Path, mri: Path) -> list[tuple[str, str]]:
    reporter = Reporter()
    check_is_pet(pet, mri, reporter)
    return [(finding.level, finding.message) for finding in reporter.findings]


def test_a_volume_compared_with_itself_is_said(tmp_path):
    pet = volume(tmp_path, "pet.nii.gz")
    copy = volume(tmp_path, "copy.nii.gz")
    for other in (pet, copy):
        reporter = Reporter()
        result = compare(pet, other, reporter=reporter)
        assert "same-volume" in [finding.code for finding in reporter.findings if finding.level == "look"]
        assert "it is one volume" in result.statement
