"""What a volume is taken for: through links, as a PET that is none, beside itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.suvr_checks import check_is_pet
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import check_outputs, read_mark, read_sidecar, sidecar_path, stated_units

from test_marks import RECORD  # isort: skip
from test_marks import volume as write_volume  # isort: skip
from test_volumes_dicom import write_series  # isort: skip


def volume(folder: Path, name: str, scale: float = 1.0, record: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    return write_volume(folder, name, scale, record)


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
