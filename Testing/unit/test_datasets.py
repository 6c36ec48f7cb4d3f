"""Cohort tables, splits without leakage, augmentation."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from modality_synthesis.datasets import read_cohort, split_cohort
from modality_synthesis.datasets.splits import Split, fold
from modality_synthesis.errors import BadInputError


def table(tmp_path, text, name="cohort.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_become_volumes_and_variables(tmp_path):
    path = table(tmp_path, "participant_id,session,T1w,FDG-PET,age,sex\na,1,t1/a.nii,,71,F\na,2,t1/b.nii,p.nii,n/a,F\n")
    first, second = read_cohort(path)
    assert first.name == "a_1"
    assert first.volumes == {"T1w": tmp_path / "t1/a.nii"}
    assert second.volumes["FDG-PET"] == tmp_path / "p.nii"
    assert first.variables == {"age": "71", "sex": "F"}
    assert second.variables["age"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,T1w\na,b\n", "column 'subject'"),
        ("subject,T1w\n", "no rows"),
        ("subject,T1w\na,x\na,y\n", "a occurs twice"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read_cohort(table(tmp_path, text))


def test_missing_volumes_are_named(tmp_path):
    cohort = read_cohort(table(tmp_path, "subject\tT1w\tFDG-PET\nx\tno.nii\t\n", "c.tsv"))
    with pytest.raises(BadInputError, match="x has no FDG-PET"):
        cohort.require("FDG-PET")
    with pytest.raises(BadInputError, match=r"T1w volume of x is missing.*no\.nii"):
        cohort.require("T1w")


def test_a_patient_with_two_visits_is_in_one_split(tmp_path):
    rows = "".join(f"s{index},{visit},v\n" for index in range(20) for visit in (1, 2))
    cohort = read_cohort(table(tmp_path, "subject,session,T1w\n" + rows))
    split = split_cohort(cohort, seed=3)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert set.union(*parts) == {f"s{index}" for index in range(20)}
    assert sum(map(len, parts)) == 20
    assert split == split_cohort(cohort, seed=3)
    assert split != split_cohort(cohort, seed=4)


def test_leaks_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="two splits"):
        Split(train=("a", "b"), validation=("b",))
    path = table(tmp_path, "subject,session,split,T1w\na,1,train,x\na,2,test,y\nb,1,validation,z\n")
    with pytest.raises(BadInputError, match="Subject a is in two splits"):
        split_cohort(read_cohort(path))


def test_the_manufacturer_is_the_column_s_then_the_target_file_s_and_never_the_source_s(tmp_path):
    (tmp_path / "a_T1w.json").write_text(json.dumps({"Manufacturer": "Philips"}))
    (tmp_path / "a_pet.json").write_text(json.dumps({"Manufacturer": "SIEMENS"}))
    (tmp_path / "b_pet.json").write_text("not JSON")
    header = "subject,Manufacturer,T1w,TAU-PET\n"
    rows = ["c,GE,a_T1w.nii,a_pet.nii", "a,,a_T1w.nii,a_pet.nii", "b,n/a,a_T1w.nii,b_pet.nii", "d,,a_T1w.nii,"]
    cohort = read_cohort(table(tmp_path, header + "\n".join(rows)))
    assert [visit.manufacturer("TAU-PET") for visit in cohort] == ["GE", "SIEMENS", None, None]


def test_a_column_for_the_pet_scanner_goes_before_a_general_one(tmp_path):
    cohort = read_cohort(table(tmp_path, "subject,manufacturer,pet_manufacturer,T1w\na,Philips,CPS,x\nb,Philips,,x\n"))
    assert [visit.manufacturer("TAU-PET") for visit in cohort] == ["CPS", "Philips"]


def test_the_dicom_header_names_the_manufacturer(tmp_path):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

    from modality_synthesis.volumes import scanner_manufacturer

    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = PositronEmissionTomographyImageStorage, generate_uid()
    header.SeriesInstanceUID, header.Modality, header.Manufacturer = generate_uid(), "PT", "GE MEDICAL SYSTEMS"
    header.Rows = header.Columns = 4
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    folder = tmp_path / "pet"
    folder.mkdir()
    header.save_as(folder / "1.dcm", enforce_file_format=True)
    assert scanner_manufacturer(folder) == "GE MEDICAL SYSTEMS"
    assert scanner_manufacturer(folder / "1.dcm") == "GE MEDICAL SYSTEMS"
    assert scanner_manufacturer(tmp_path / "nothing.nii.gz") is None
    (tmp_path / "pet.json").write_text(json.dumps({"Manufacturer": "Siemens"}))
    assert scanner_manufacturer(folder) == "Siemens"


def test_splits_are_understood_by_their_meaning(tmp_path):
    words = {"train": ["Train", "training", "TRN"], "validation": ["val", "Valid", "dev"], "test": ["Test", "testing"]}
    rows = [f"{word},{word},x" for several in words.values() for word in several]
    split = split_cohort(read_cohort(table(tmp_path, "subject,Split,T1w\n" + "\n".join(rows))))
    assert split.as_dict() == words


@pytest.mark.parametrize("other", ["sub-07", "SUB_07", "7", "P7", " 07"])
def test_one_person_under_two_names_is_never_in_two_splits(tmp_path, other):
    first = "p7" if other == "P7" else "07"
    rows = f"{first},1,train,x\n{other},2,test,y\nb,1,validation,z\n"
    path = table(tmp_path, "subject,session,split,T1w\n" + rows)
    with pytest.raises(BadInputError, match=r"probably one person|is in two splits"):
        split_cohort(read_cohort(path))
    alike = table(tmp_path, "subject,session,split,T1w\n" + rows.replace("test", "train"))
    assert len(split_cohort(read_cohort(alike)).train) == (1 if other == " 07" else 2)


def test_random_divisions_refuse_one_person_under_two_names(tmp_path):
    path = table(tmp_path, "subject,T1w\n" + "".join(f"{name},x\n" for name in ("01", "sub-01", "b", "c", "d")))
    with pytest.raises(BadInputError, match="'01' and 'sub-01' are probably one person"):
        split_cohort(read_cohort(path))
    with pytest.raises(BadInputError, match="probably one person"):
        fold(["01", "sub-01", "b", "c"], 1, 2)
    fold(["site1-1", "site11", "A1", "A-1"], 1, 2)


def test_a_row_without_a_split_is_named(tmp_path):
    path = table(tmp_path, "subject,split,T1w\na,train,x\nb,validation,y\nc,,z\n")
    with pytest.raises(BadInputError, match="c has no split"):
        split_cohort(read_cohort(path))
    path = table(tmp_path, "subject,split,T1w\na,trian,x\nb,validation,y\n")
    with pytest.raises(BadInputError, match="a has the split 'trian'; use one of train, validation, test"):
        split_cohort(read_cohort(path))


def test_folds_of_a_column_keep_people_together_and_count_as_numbers(tmp_path):
    from modality_synthesis.datasets.splits import Split as Division
    from modality_synthesis.evaluation.cohort import _parts

    def models(count):
        card = SimpleNamespace(id="m", version="1")
        return [SimpleNamespace(card=card, number=number) for number in range(1, count + 1)]

    nobody = Division((), ())
    rows = "".join(f"s{number},{number},x\n" for number in range(1, 12))
    cohort = read_cohort(table(tmp_path, "subject,Fold,T1w\n" + rows))
    parts = _parts(cohort, models(11), nobody, "test", "fold")
    assert [(part.tests[0].subject, part.contenders[0].package.number) for part in parts] == [
        (f"s{number}", number) for number in range(1, 12)
    ]
    for twice in ("s1,2,9,x\n", "sub-s1,,9,x\n"):
        cohort = read_cohort(table(tmp_path, "subject,session,fold,T1w\ns1,1,1,x\n" + twice))
        with pytest.raises(BadInputError, match="one fold only"):
            _parts(cohort, models(2), nobody, "test", "fold")
