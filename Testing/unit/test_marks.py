"""Synthetic in, synthetic out: the mark is read from whatever carries it and stays on everything that is derived."""

from __future__ import annotations

import csv
import json
import re
from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.choices import REFERENCE_REGIONS
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.visit_check import Request, check_visit
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.figures import draw_difference, draw_profile
from modality_synthesis.evaluation.figures.style import new_figure, save_figure
from modality_synthesis.evaluation.normal_cohort import read_normal_cohort
from modality_synthesis.evaluation.slicewise import write_slice_scores
from modality_synthesis.evaluation.suvr_checks import check_on_mri
from modality_synthesis.names import reference_region_id
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis import synthesize, synthesizer
from modality_synthesis.volumes import Mark, array, describe, image_like, read_mark, write_image

from test_coverage import brain_pet  # isort: skip

MODEL = {"id": "demo-t1w-fdg", "version": "1.0.0", "weights_sha256": "ab" * 32}
RECORD = {
    "SyntheticData": True, "Model": MODEL, "Units": "SUVR", "Quantity": "SUVR", "DisplayWindow": [0, 8],
    "Route": {"source": "T1w", "target": "FDG-PET"},
}  # fmt: skip
WORDS = "SYNTHETIC FDG-PET SUVR, demo-t1w-fdg 1.0.0, research use only"


def volume(folder: Path, name: str, scale: float = 1.0, record: dict | None = None, words: str = "") -> Path:
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
    assert len(maps) == 5  # three kinds of difference, where was compared, and the one that was asked for
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


# Pictures and tables of synthetic data


def said_by(path: Path) -> str:
    """The metadata of a picture: a PNG's tEXt, a PDF's information, an SVG's metadata."""
    if path.suffix == ".svg":
        found = ElementTree.parse(path).getroot().find("{http://www.w3.org/2000/svg}metadata")
        assert found is not None
        return " ".join(found.itertext())
    if path.suffix == ".pdf":
        found = re.search(rb"/Subject\s*\(((?:[^()\\]|\\.)*)\)", path.read_bytes())
        return re.sub(r"\\(.)", r"\1", found[1].decode("latin-1")) if found else ""
    from PIL import Image

    with Image.open(path) as picture:
        return " ".join(picture.text.values())


def drawn_in(path: Path) -> str:
    """The texts of an SVG."""
    return " ".join(node.text or "" for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
def test_a_picture_of_a_synthetic_volume_says_so_in_its_file(tmp_path, ending):
    made, real = volume(tmp_path, "made.nii.gz", 1.05, RECORD), volume(tmp_path, "real.nii.gz")
    draw_difference(made, real, tmp_path / f"d{ending}")
    draw_profile({"PET": real, "other PET": made}, tmp_path / f"p{ending}")
    draw_profile({"PET": real}, tmp_path / f"measured{ending}")
    for name in ("d", "p"):
        told = said_by(tmp_path / f"{name}{ending}")
        assert "SYNTHETIC" in told
        assert "demo-t1w-fdg 1.0.0" in told
        assert "ab" * 32 in told, "the hash of the weights"
    assert "SYNTHETIC" not in said_by(tmp_path / f"measured{ending}")
    if ending == ".svg":
        assert "SYNTHETIC, demo-t1w-fdg 1.0.0" in drawn_in(tmp_path / "d.svg")
        assert "SYNTHETIC, demo-t1w-fdg 1.0.0" in drawn_in(tmp_path / "p.svg")
        assert "SYNTHETIC" not in drawn_in(tmp_path / "measured.svg")


def test_the_line_of_the_mark_is_on_the_page_and_covers_nothing(tmp_path):
    """It is below what was drawn: the picture grows, and what was there is where it was."""
    from PIL import Image

    figure = new_figure(3, 1)
    figure.text(0, 0.1, "at the lower edge")
    save_figure(figure, tmp_path / "plain.png", [])
    save_figure(figure, tmp_path / "marked.png", [None, Mark("m", "2.0")])
    plain, marked = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in ("plain", "marked"))
    assert marked.shape[1] == plain.shape[1]
    assert 20 < marked.shape[0] - plain.shape[0] < 80
    drawn = np.flatnonzero((plain < 128).any(axis=1))
    assert (marked[: plain.shape[0]] < 128).sum() == pytest.approx((plain < 128).sum(), rel=0.15), "nothing is covered"
    assert (marked[drawn[-1] + 8 : plain.shape[0]] >= 128).all()
    assert (marked[plain.shape[0] :] < 128).sum() > 100, "the line's letters"


def test_the_slice_figures_say_that_they_are_of_a_synthetic_volume(tmp_path):
    made, real = volume(tmp_path, "made.nii.gz", 1.05, RECORD), volume(tmp_path, "real.nii.gz")
    mask = tmp_path / "mask.nii.gz"
    level = array(brain_pet())
    write_image(image_like((level > np.percentile(level, 80)).astype(np.uint8), brain_pet()), mask)
    write_slice_scores(made, real, mask, (0, 3), tmp_path / "s.json")
    found = json.loads((tmp_path / "s.json").read_text())
    assert (found["synthetic"], found["model"]) == ("yes", "demo-t1w-fdg 1.0.0")
    assert found["SyntheticData"] is True
    assert [source["role"] for source in found["Sources"]] == ["synthetic", "reference", "mask"]


def test_a_table_of_what_predictors_made_is_no_normal_cohort(tmp_path):
    lines = [f"sub-{n},MEAN,precuneus,both,{1 + n / 10},yes,m 1.0" for n in range(6)]
    path = tmp_path / "regions.csv"
    path.write_text("\n".join(["subject,predictor,region,hemisphere,suvr,synthetic,model", *lines]))
    with pytest.raises(BadInputError, match=r"measured_regions.csv"):
        read_normal_cohort(path)


SPELLINGS = {
    "cerebellar-gray": ("cerebellar gray matter", "Cerebellar grey matter", "cerebellum_gray", "cerebellar cortex"),
    "whole-cerebellum": ("whole cerebellum", "Cerebellum", "cerebellum (whole)"),
    "pons": ("Pons", "the pons"),
    "cerebellum-pons": ("cerebellum + pons", "pons and cerebellum", "Pons/cerebellum"),
    "white-matter-eroded": ("eroded white matter", "eroded subcortical white matter", "White_matter_eroded"),
}


def test_a_reference_region_is_known_by_every_spelling_and_never_taken_for_another():
    assert set(SPELLINGS) == set(REFERENCE_REGIONS)
    for region, spellings in SPELLINGS.items():
        assert {reference_region_id(name) for name in (region, *spellings)} == {region}
    assert reference_region_id("inferior cerebellar gray matter") not in REFERENCE_REGIONS
    assert reference_region_id("cerebellar white matter") not in REFERENCE_REGIONS
    assert reference_region_id("Inferior cerebellar gray") == reference_region_id("cerebellar-gray-inferior")


def test_a_synthetic_pet_and_its_own_suvr_image_have_one_reference_region(tmp_path):
    """The card says "cerebellar gray matter", `suvr` says "cerebellar-gray"."""
    level = suvr(volume(tmp_path, "raw.nii.gz"), template_space=True).reference_mean
    made = volume(tmp_path, "made.nii.gz", 1 / level, {**RECORD, "ReferenceRegion": "cerebellar gray matter"})
    suvr(made, template_space=True, image=tmp_path / "suvr.nii.gz")
    suvr(made, template_space=True, image=tmp_path / "pons.nii.gz", reference_region="pons")
    for name, expected in (("suvr", False), ("pons", True)):
        reporter = Reporter()
        compare(made, tmp_path / f"{name}.nii.gz", reporter=reporter)
        assert any(one.code == "reference-region" for one in reporter.findings) is expected, name


@pytest.mark.parametrize(
    ("record", "words", "named"),
    [
        (RECORD, "", "made.nii.gz is synthetic itself (demo-t1w-fdg 1.0.0); errors add up."),
        (None, WORDS, "made.nii.gz is synthetic itself (demo-t1w-fdg 1.0.0); errors add up."),
        (None, "SYNTHETIC T1w", "made.nii.gz is synthetic itself; errors add up."),
        (None, "", ""),
    ],
)
def test_a_source_that_is_synthetic_itself_is_named(tmp_path, record, words, named, monkeypatch):
    def no_more(*_: object, **__: object) -> None:
        raise BadInputError("the phantom is no head")

    monkeypatch.setattr(synthesizer, "prepare", no_more)
    made = volume(tmp_path, "made.nii.gz", record=record, words=words)
    reporter = Reporter()
    with pytest.raises(BadInputError, match="no head"):
        synthesize(made, model="demo-t1w-fdg", device="cpu", reporter=reporter)
    alone = {one.message for one in reporter.findings if (one.code, one.level) == ("synthetic-source", "look")}
    visit = Visit("a", volumes={"T1w": made})
    cohort = {one.message for _, one in check_visit(visit, Request(("T1w",))) if one.code == "synthetic-source"}
    assert alone == cohort == ({named} if named else set())


# What `compare` is given as a reference


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, array(brain_pet()).shape)


@pytest.mark.parametrize(
    ("target", "values", "said"),
    [
        ("T1w", noise, r"other.nii.gz: .*(noise|structure|neighbo)"),
        ("T1w", lambda: np.digitize(array(brain_pet()), [0.5, 1.0, 2.0]), r"other.nii.gz: .*label map"),
        ("CT", lambda: 100 * array(brain_pet()), r"other.nii.gz: .*(Hounsfield|HU)"),
    ],
)
def test_a_reference_that_is_no_scan_is_doubted_and_the_comparison_goes_on(tmp_path, target, values, said):
    made = volume(tmp_path, "made.nii.gz", record={**RECORD, "Route": {"source": "T1w", "target": target}})
    write_image(image_like(values().astype(np.float32), brain_pet()), tmp_path / "other.nii.gz")
    reporter = Reporter()
    result = compare(made, tmp_path / "other.nii.gz", match_signal=True, reporter=reporter)
    assert np.isfinite(result.metrics["MAE"])
    doubts = [one.message for one in reporter.findings if one.level == "look"]
    assert any(re.search(said, text) for text in doubts), doubts


def test_the_pictures_of_a_report_name_the_model_in_their_files(tmp_path):
    made, real = volume(tmp_path, "made.nii.gz", 1.05, RECORD), volume(tmp_path, "real.nii.gz")
    compare(made, real, tmp_path / "out", report=True)
    pictures = list((tmp_path / "out" / "figures").iterdir())
    assert {path.suffix for path in pictures} == {".png", ".pdf", ".svg"}
    assert all("SYNTHETIC, demo-t1w-fdg 1.0.0" in said_by(path) for path in pictures)
