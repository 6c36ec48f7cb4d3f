"""Cohort tables from BIDS folders. Files are empty where only names count."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets.bids import bids_cohort, write_bids_cohort
from modality_synthesis.datasets.bids_people import match_ids
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.modalities import tracer_modality
from modality_synthesis.tables.words import person_key


@pytest.fixture
def make(tmp_path):
    """Write a dataset: empty images, and tables and sidecars by their text or content."""

    def make(images, texts=None):
        for name in images:
            path = tmp_path / "bids" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for name, content in (texts or {}).items():
            path = tmp_path / "bids" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "bids"

    return make


@pytest.fixture
def dataset(make):
    """Two subjects, one with two sessions."""
    return make(
        [
            "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
            "sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz",
            "sub-01/ses-a/pet/sub-01_ses-a_trc-FDG_pet.nii.gz",
            "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii",
            "sub-01/ses-b/pet/sub-01_ses-b_trc-AV1451_rec-acdyn_pet.nii.gz",
            "sub-02/anat/sub-02_T1w.nii.gz",
            "sub-02/anat/sub-02_FLAIR.nii.gz",
            "sub-02/anat/sub-02_PDw.nii.gz",
            "sub-02/pet/sub-02_trc-18FFDG_pet.nii.gz",
            "sub-02/pet/sub-02_trc-raclopride_pet.nii.gz",
        ],
        {
            "participants.tsv": "participant_id\tage\tsex\nsub-01\t71\tF\nsub-02\tn/a\tM\n",
            "sub-01/sub-01_sessions.tsv": "session_id\tmmse\nses-b\t24\n",
            "sub-01.html": "a report, not a folder",
        },
    )


def unused(found):
    return {one.file.rsplit("/", 1)[-1]: one.kind for one in found.unused}


def texts(found):
    return [finding.text for finding in found.findings]


def test_volumes_and_variables_are_found(dataset, tmp_path):
    written = write_bids_cohort(dataset, tmp_path / "tables" / "cohort.tsv")
    assert written.left_out == []
    table = read_cohort(tmp_path / "tables" / "cohort.tsv")
    assert [visit.name for visit in table] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02"]
    first, second, third = table
    assert first.volumes["T1w"].resolve() == (dataset / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz").resolve()
    assert set(first.volumes) == {"T1w", "FDG-PET"}
    assert set(second.volumes) == {"T1w", "TAU-PET"}
    assert third.volumes["FDG-PET"].exists()
    assert (first.variable("age"), second.variable("mmse"), third.variable("age")) == ("71", "24", None)
    assert first.variable("mmse") is None
    with (tmp_path / "tables" / "cohort.notused.tsv").open() as stream:
        reasons = {row["file"].rsplit("/", 1)[-1]: row["reason"] for row in csv.DictReader(stream, delimiter="\t")}
    assert set(reasons) == {
        "sub-01_ses-a_run-2_T1w.nii.gz", "sub-02_PDw.nii.gz", "sub-02_trc-raclopride_pet.nii.gz",
    }  # fmt: skip
    assert "FLAIR" in third.volumes
    assert "sub-01_ses-a_T1w.nii.gz is taken" in reasons["sub-01_ses-a_run-2_T1w.nii.gz"]


def test_the_command_says_what_the_table_holds(dataset, tmp_path):
    command = ["cohort", str(dataset), "-o", str(tmp_path / "c.csv"), "--require", "fdg-pet", "--progress", "json"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    result = lines[-1]
    assert {name: result[name] for name in ("people", "visits", "left_out", "not_used", "pairs")} == {
        "people": 2, "visits": 2, "left_out": 1, "not_used": 3, "pairs": {"T1w with FDG-PET": 2},
    }  # fmt: skip
    assert "2 people, 2 visits; complete pairs: T1w with FDG-PET 2." in [line.get("message") for line in lines]
    with (tmp_path / "c.csv").open() as stream:
        assert [row["subject"] for row in csv.DictReader(stream)] == ["sub-01", "sub-02"]
    with pytest.raises(BadInputError, match="has all of CT"):
        write_bids_cohort(dataset, tmp_path / "none.tsv", require=["CT"])
    with pytest.raises(BadInputError, match="'MEG' is no modality"):
        write_bids_cohort(dataset, tmp_path / "none.tsv", require=["MEG"])
    assert not list(tmp_path.glob("none*"))


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no BIDS dataset"):
        bids_cohort(tmp_path)
    with pytest.raises(BadInputError, match="does not exist"):
        bids_cohort(tmp_path / "none")
    (tmp_path / "rawdata" / "sub-01").mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"rawdata hold some"):
        bids_cohort(tmp_path)
    with pytest.raises(BadInputError, match="no volume of"):
        bids_cohort(tmp_path / "rawdata")
    (tmp_path / "cohort.tsv").touch()
    with pytest.raises(BadInputError, match="is a file"):
        bids_cohort(tmp_path / "cohort.tsv")


# Which image

A, P = "sub-1/anat/sub-1_", "sub-1/pet/sub-1_"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (f"{A}run-01_T1w.nii.gz", f"{A}ce-gadolinium_T1w.nii.gz"),
        (f"{A}acq-mprage_T1w.nii.gz", f"{A}acq-flash2d_T1w.nii.gz"),
        (f"{A}run-2_T1w.nii.gz", f"{A}run-10_T1w.nii.gz"),
        (f"{A}acq-zzz_T1w.nii.gz", f"{A}acq-mprage_ce-gd_T1w.nii.gz"),
        (f"{A}acq-precontrast_T1w.nii.gz", f"{A}acq-postcontrast_T1w.nii.gz"),
        (f"{A}desc-preproc_T1w.nii.gz", f"{A}desc-brain_T1w.nii.gz"),
        (f"{A}desc-preproc_T1w.nii.gz", f"{A}acq-mprage_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"),
        (f"{A}T1w.nii.gz", f"{A}T1w.nii"),
        (f"{P}trc-FDG_rec-acstat_pet.nii.gz", f"{P}trc-FDG_rec-nacstat_pet.nii.gz"),
        (f"{P}trc-FDG_rec-acdyn_pet.nii.gz", f"{P}trc-FDG_rec-NAC_pet.nii.gz"),
        (f"{P}trc-FDG_rec-acstat_pet.nii.gz", f"{P}trc-FDG_rec-acdyn_pet.nii.gz"),
        (f"{P}trc-FDG_pet.nii.gz", f"{P}trc-FDG_acq-dyn_pet.nii.gz"),
    ],
)
def test_the_better_image_is_taken_whatever_the_alphabet(make, better, worse):
    found = bids_cohort(make([better, worse]))
    (row,) = found.rows
    assert better in row.values()
    assert [one.file for one in found.unused] == [worse]
    assert texts(found) == []


def test_frames_in_the_sidecar_make_a_pet_dynamic(make):
    images = [f"{P}trc-FDG_run-1_pet.nii.gz", f"{P}trc-FDG_run-2_pet.nii.gz"]
    root = make(images, {f"{P}trc-FDG_run-1_pet.json": {"FrameDuration": [60, 60]}})
    assert bids_cohort(root).rows[0]["FDG-PET"] == images[1]


def test_what_is_no_whole_image_is_never_taken(make):
    names = {
        "acq-localizer_T1w": "localizer", "acq-scout_T1w": "localizer", "echo-1_T1w": "echo", "part-phase_T1w": "part",
        "inv-1_part-mag_MP2RAGE": "mp2rage", "UNIT1": "unit1", "T1map": "map", "desc-brain_mask": "mask",
        "dseg": "mask", "label-GM_probseg": "mask", "PDw": "pdw", "defacemask": "mask", "inv-2_T1w": "inv",
        "bold": "other",
    }  # fmt: skip
    root = make([f"{A}{name}.nii.gz" for name in names])
    with pytest.raises(BadInputError, match=r"UNIT1 of an MP2RAGE.*sub-1_UNIT1|a localizer"):
        bids_cohort(root)
    (root / f"{A}T2w.nii.gz").touch()
    found = bids_cohort(root)
    assert found.rows[0].keys() == {"subject", "session", "T2w"}
    assert unused(found) == {f"sub-1_{name}.nii.gz": kind for name, kind in names.items()}


def test_mp2rage_alone_is_refused_with_the_reason(make):
    root = make([f"{A}{name}.nii.gz" for name in ("UNIT1", "inv-1_part-mag_MP2RAGE", "T1map")])
    with pytest.raises(
        BadInputError, match=r"no volume of T1w.*UNIT1 of an MP2RAGE, whose background is noise"
    ) as refusal:
        bids_cohort(root)
    assert len(str(refusal.value).splitlines()) == 1


def test_the_last_resort_is_taken_and_said(make):
    found = bids_cohort(make([f"{A}ce-gd_T1w.nii.gz", f"{P}trc-PIB_rec-nacstat_pet.nii.gz"]))
    assert {"T1w", "AMYLOID-PET"} <= found.rows[0].keys()
    assert any("contrast agent" in text for text in texts(found))
    assert any("attenuation" in text for text in texts(found))


def test_files_in_the_wrong_place_or_without_a_bids_name_are_named(make):
    found = bids_cohort(
        make(
            [
                f"{A}T1w.nii.gz",
                "sub-1/anat/sub-2_T2w.nii.gz",
                "sub-1/anat/t1.nii.gz",
                "sub-1/func/sub-1_bold.nii.gz",
                "sub-3/ses-1/anat/sub-3_ses-2_T1w.nii.gz",
                "sub-3/ses-2/anat/sub-3_ses-2_T1w.nii.gz",
            ]
        )
    )
    assert [(row["subject"], row["session"], row["T1w"]) for row in found.rows] == [
        ("sub-1", "", f"{A}T1w.nii.gz"), ("sub-3", "ses-2", "sub-3/ses-2/anat/sub-3_ses-2_T1w.nii.gz"),
    ]  # fmt: skip
    assert [one.kind for one in found.unused] == ["misplaced", "name", "misplaced"]


def test_synthetic_volumes_are_not_data(make):
    root = make([f"{A}T1w.nii.gz", f"{P}trc-FDG_pet.nii.gz"], {f"{P}trc-FDG_pet.json": {"SyntheticData": True}})
    found = bids_cohort(root)
    assert "FDG-PET" not in found.rows[0]
    assert unused(found) == {"sub-1_trc-FDG_pet.nii.gz": "synthetic"}


# Tracers


@pytest.mark.parametrize(
    ("modality", "names"),
    [
        ("FDG-PET", ["FDG", "18FFDG", "[18F]FDG", "F-18 FDG", "FDG18F", "Fluorodeoxyglucose F18",
                     "2-[18F]fluoro-2-deoxy-D-glucose", "fludeoxyglucose"]),
        ("TAU-PET", ["18FAV1451", "AV-1451", "flortaucipir", "[18F]Flortaucipir", "18FMK6240", "MK-6240", "T807",
                     "RO948", "PI-2620", "18FPI2620", "Tauvid", "FTP"]),
        ("AMYLOID-PET", ["18FAV45", "AV45", "11CPIB", "PiB", "[11C]-PIB", "18FFBB", "FBB", "18FFMM", "Flutemetamol",
                         "18FNAV4694", "NAV4694", "Florbetaben", "Florbetapir (18F)", "Amyvid", "FBP"]),
        (None, ["raclopride", "", "18F", "DPA714", "UCBJ", "11CPK11195", "DOPA", "FET", "AV"]),
    ],
)  # fmt: skip
def test_tracers_are_known_by_the_names_in_use(modality, names):
    assert {name: tracer_modality(name) for name in names} == dict.fromkeys(names, modality)


def test_the_sidecar_names_the_tracer_its_own_or_one_above(make):
    images = [f"sub-{n}/pet/sub-{n}_pet.nii.gz" for n in (1, 2, 3)] + ["sub-4/pet/sub-4_trc-FDG_pet.nii.gz"]
    root = make(
        images,
        {
            "pet.json": {"TracerName": "[18F]Flortaucipir", "TracerRadionuclide": "F18", "Manufacturer": "Siemens"},
            "sub-1/pet/sub-1_pet.json": {"TracerName": "PiB", "Units": "Bq/mL"},
            "sub-2/sub-2_pet.json": "not JSON",
            "sub-3/pet/sub-3_pet.json": {"TracerName": "raclopride"},
        },
    )
    found = bids_cohort(root)
    places = {row["subject"]: [name for name in row if name.endswith("PET")] for row in found.rows}
    assert places == {"sub-1": ["AMYLOID-PET"], "sub-2": ["TAU-PET"]}
    assert {row["pet_manufacturer"] for row in found.rows} == {"Siemens"}
    assert found.rows[0]["pet_units"] == "Bq/mL"
    reasons = {one.file: one.reason for one in found.unused}
    assert "not known" in reasons[images[2]]
    assert "different tracers" in reasons[images[3]]


def test_a_manufacturer_in_the_table_goes_before_the_sidecar_s(make, tmp_path):
    root = make(
        [f"{P}trc-FDG_pet.nii.gz", "sub-2/pet/sub-2_trc-FDG_pet.nii.gz"],
        {
            "participants.tsv": "participant_id\tPET_manufacturer\nsub-1\tCPS\n",
            "pet.json": {"Manufacturer": "GE MEDICAL SYSTEMS"},
        },
    )
    write_bids_cohort(root, tmp_path / "c.tsv")
    assert [visit.manufacturer("FDG-PET") for visit in read_cohort(tmp_path / "c.tsv")] == ["CPS", "GE MEDICAL SYSTEMS"]


# Clinical values


def of(found, column):
    return [row.get(column, "") for row in found.rows]


def test_values_go_with_participant_and_session(make):
    images = [
        f"sub-{who}/ses-{when}/anat/sub-{who}_ses-{when}_T1w.nii.gz" for who in ("01", "02") for when in ("M00", "M12")
    ]
    root = make(
        images,
        {
            "participants.tsv": "participant_id\tsession_id\tage\tsex\tmmse\n"
            "sub-01\tses-M00\t70\tF\t29\nsub-01\tses-M12\t71\tF\t26\nsub-02\tM00\t65\tM\t30\n",
            "phenotype/cdr.tsv": "participant_id\tsession_id\tcdr\tmmse\n"
            "sub-01\tses-M12\t0.5\t25\nsub-01\tses-M99\t1\t1\n",
            "sub-02/sub-02_sessions.tsv": "session_id\tMMSE\nses-M12\t28\n",
        },
    )
    found = bids_cohort(root)
    assert of(found, "age") == ["70", "71", "65", ""]
    assert of(found, "mmse") == ["29", "25", "30", "28"]
    assert of(found, "cdr") == ["", "0.5", "", ""]
    assert of(found, "sex") == ["F", "F", "M", "M"]
    assert [text for text in texts(found) if "have no volumes" in text] == [
        "cdr.tsv has sessions that have no volumes (1): sub-01 ses-M99."
    ]


def test_rows_of_a_person_without_sessions_that_differ_stay_empty(make):
    table = "participant_id\tage\tsex\nsub-1\t70\tF\nsub-1\t72\tF\n"
    found = bids_cohort(make([f"{A}T1w.nii.gz"], {"participants.tsv": table}))
    assert (of(found, "age"), of(found, "sex")) == ([""], ["F"])
    assert any("several rows a visit that differ" in text and "session_id" in text for text in texts(found))


@pytest.mark.parametrize(
    ("ids", "ages"),
    [
        (("01", "02"), ["70", "65"]), (("1", "2"), ["70", "65"]), (("sub-1", "SUB-02"), ["70", "65"]),
        (("sub_01", "002"), ["70", "65"]), (("1.0", "2.0"), ["70", "65"]), (("sub-01", "3"), ["70", ""]),
        (("1", "01"), ["", ""]), (("sub-01", "1"), ["70", ""]),
    ],
)  # fmt: skip
def test_ids_are_matched_where_that_is_unique(make, ids, ages):
    table = "participant_id\tage\n" + "".join(f"{one}\t{age}\n" for one, age in zip(ids, ("70", "65"), strict=True))
    found = bids_cohort(make([f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in ("01", "02")], {"participants.tsv": table}))
    assert of(found, "age") == ages
    assert (texts(found) != []) == ("" in ages)
    if "" in ages:
        assert any("says nothing of people who have a folder" in text for text in texts(found))


def test_two_folders_alike_are_not_matched_with_one_id():
    place, strangers = match_ids(["1", "02"], ["sub-1", "sub-01", "sub-2"], person_key)
    assert (place, strangers) == ({"02": "sub-2"}, ["1"])


def test_columns_of_the_dataset_s_tables_never_replace_ours(make):
    table = "participant_id\tsession\tsubject\tT1w\tsplit\nsub-1\t\tX\tother.nii\ttrain\n"
    (row,) = bids_cohort(make([f"{A}T1w.nii.gz"], {"participants.tsv": table})).rows
    assert row == {"subject": "sub-1", "session": "", "T1w": f"{A}T1w.nii.gz", "split": "train"}


# Where data are not


def test_links_and_placeholders_are_named_for_what_they_are_once_a_kind(make):
    root = make([f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in range(1, 10)])
    for n in range(1, 6):
        path = root / f"sub-{n}/anat/sub-{n}_T1w.nii.gz"
        path.unlink()
        path.symlink_to("../../.git/annex/objects/aa/bb/MD5E-s1--0.nii.gz/MD5E-s1--0.nii.gz")
    (root / "sub-6/anat/sub-6_T1w.nii.gz").write_text("version https://git-lfs.github.com/spec/v1\n")
    path = root / "sub-7/anat/sub-7_T1w.nii.gz"
    path.unlink()
    path.symlink_to("/nowhere.nii.gz")
    (root / "sub-10").mkdir()
    found = bids_cohort(root)
    assert of(found, "subject") == ["sub-8", "sub-9"]
    said = texts(found)
    assert len(said) == 4
    assert any("datalad get" in text and "(5)" in text and "and 2 more" in text for text in said)
    assert any("git lfs pull" in text for text in said)
    assert any("link to /nowhere.nii.gz" in text for text in said)
    assert any("hold no images" in text and "sub-10" in text for text in said)


def test_nothing_but_placeholders_says_how_to_get_the_content(make):
    root = make([], {f"{A}T1w.nii.gz": "/annex/objects/MD5E-s1--0.nii.gz\n"})
    with pytest.raises(BadInputError, match="datalad get"):
        bids_cohort(root)


def test_links_to_subjects_one_subject_and_derivatives_are_understood(make, tmp_path):
    root = make(
        [f"{A}T1w.nii.gz", "derivatives/prep/sub-1/anat/sub-1_desc-preproc_T1w.nii.gz"],
        {"participants.tsv": "participant_id\tage\nsub-1\t70\n"},
    )
    other = tmp_path / "links"
    other.mkdir()
    (other / "sub-1").symlink_to(root / "sub-1")
    assert of(bids_cohort(other), "T1w") == [f"{A}T1w.nii.gz"]
    write_bids_cohort(root / "sub-1", tmp_path / "one.tsv")
    (one,) = read_cohort(tmp_path / "one.tsv")
    assert (one.volumes["T1w"].exists(), one.variable("age")) == (True, "70")
    assert of(bids_cohort(root / "derivatives" / "prep"), "age") == ["70"]
    with pytest.raises(BadInputError, match="prep hold some"):
        bids_cohort(root / "derivatives")


def test_the_list_of_an_earlier_run_does_not_stay(make, tmp_path):
    root = make([f"{A}T1w.nii.gz", f"{A}run-2_T1w.nii.gz"])
    write_bids_cohort(root, tmp_path / "c.tsv")
    (root / f"{A}run-2_T1w.nii.gz").unlink()
    write_bids_cohort(root, tmp_path / "c.tsv")
    assert (tmp_path / "c.notused.tsv").read_text() == "file\tkind\treason\n"


@pytest.mark.parametrize("name", ["participants.tsv", "phenotype/cdr.tsv", "sub-1/sub-1_sessions.tsv"])
def test_the_table_never_replaces_one_of_the_dataset_s(make, name):
    text = "participant_id\tsession_id\tcdr\nsub-1\tses-1\t1\n"
    root = make(["sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz"], {name: text})
    for given in (root, root / "sub-1"):
        with pytest.raises(UsageError):
            write_bids_cohort(given, root / name)
    assert (root / name).read_text() == text


def test_somebody_s_file_is_not_replaced_by_the_list(make, tmp_path):
    (tmp_path / "c.notused.tsv").write_text("my notes")
    with pytest.raises(UsageError, match="is no list of this program"):
        write_bids_cohort(make([f"{A}T1w.nii.gz", f"{A}run-2_T1w.nii.gz"]), tmp_path / "c.tsv")
    assert sorted(path.name for path in tmp_path.glob("c*")) == ["c.notused.tsv"]
