"""What a volume's voxels hold: label maps, noise, halves of heads, other contrasts; a target's unit and place."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.visit_check import Gathering, Request, check_visit
from modality_synthesis.evaluation import atlas_space
from modality_synthesis.evaluation.suvr_checks import check_uptake
from modality_synthesis.preprocessing import Prepared, pair_registration, registration
from modality_synthesis.preprocessing import brain_mask as brain_mask_module
from modality_synthesis.preprocessing.contents import WORKING_MM, brain_look, check_extents, check_structure
from modality_synthesis.preprocessing.target_checks import check_target, far_from_cohort
from modality_synthesis.progress import Reporter
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.simulation.pet import simulate_pet
from modality_synthesis.volumes import array, image_like, write_image

_NUMBER = itertools.count()


def at(labels: sitk.Image, spacing: float) -> sitk.Image:
    size = [int(np.ceil(n * s / spacing)) for n, s in zip(labels.GetSize(), labels.GetSpacing(), strict=True)]
    return sitk.Resample(
        labels, size, sitk.Transform(), sitk.sitkNearestNeighbor, labels.GetOrigin(), [spacing] * 3,
        labels.GetDirection(), 0, sitk.sitkUInt16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """T1w, T2w and FDG PET of one simulated head at 3 mm, as files by modality, and its label map."""
    folder, labels, rng = tmp_path_factory.mktemp("person"), at(load_head("03"), 3.0), np.random.default_rng(5)
    files = {name: folder / f"{name}.nii.gz" for name in ("T1w", "T2w", "FDG-PET")}
    for name in ("T1w", "T2w"):
        write_image(simulate_mri(labels, name, rng, Acquisition((3.0,) * 3)), files[name])
    write_image(simulate_pet(labels, "FDG", 0.5, rng, spacing=(4.0,) * 3), files["FDG-PET"])
    write_image(sitk.Cast(labels, sitk.sitkInt16), folder / "labels.nii.gz")
    return folder, files


def found(volumes, **settings):
    """(modality, level, code) of everything that matters."""
    noted = check_visit(Visit("x", volumes=volumes), Request(**settings))
    return [(modality, finding.level, finding.code) for modality, finding in noted if finding.level != "ok"]


def changed(folder, source, change):
    image = sitk.ReadImage(str(source), sitk.sitkFloat32)
    path = folder / f"changed-{next(_NUMBER)}.nii.gz"
    write_image(change(image), path)
    return path


def scaled(factor):
    return lambda image: image * factor


def moved(mm):
    def move(image):
        image.SetOrigin([image.GetOrigin()[0] + mm, *image.GetOrigin()[1:]])
        return image

    return move


def halved(axis, side):
    def halve(image):
        upright = sitk.DICOMOrient(image, "LPS")
        values = array(upright)
        middle = values.shape[axis] // 2
        values[(slice(None),) * axis + (slice(0, middle) if side == 0 else slice(middle, None),)] = 0
        return image_like(values, upright)

    return halve


def test_a_good_pair_raises_no_question(person):
    _, files = person
    assert found({"T1w": files["T1w"], "FDG-PET": files["FDG-PET"]}, quantity="SUVR") == []
    assert found({"T2w": files["T2w"]}) == []


def test_contrasts_are_told_apart(person):
    folder, files = person
    assert found({"T1w": files["T2w"]}) == [("T1w", "refuse", "contrast")]
    assert found({"T2w": files["T1w"]}) == [("T2w", "refuse", "contrast")]
    # As targets of another volume, too.
    assert found({"T1w": files["T1w"], "T2w": files["T1w"]}) == [("T2w", "refuse", "contrast")]
    assert found({"T1w": folder / "labels.nii.gz"}) == [("T1w", "refuse", "label-map")]
    assert found({"CT": files["T1w"]}) == [("CT", "refuse", "contents")]


@pytest.mark.parametrize(("given", "level"), [("T1w", None), ("T2w", "look")])
def test_the_mri_that_an_atlas_comes_through_is_looked_at(person, monkeypatch, given, level):
    """`suvr --mri`, `compare --mri`: whatever its file is called."""
    image = sitk.ReadImage(str(person[1][given]), sitk.sitkFloat32)
    prepared = Prepared(native=image, image=image, name="mri.nii.gz")
    prepared.native_mask = prepared.mask = brain_mask_module.brain_mask(image)
    prepared.to_native = sitk.AffineTransform(3)
    monkeypatch.setattr(atlas_space, "prepare", lambda *_, **__: prepared)
    reporter = Reporter()
    atlas_space.to_template(image, reporter, "mri.nii.gz")
    assert [finding.level for finding in reporter.findings if finding.code == "contrast"] == ([level] if level else [])
    assert all("does not look like a T1w" in finding.message for finding in reporter.findings)


@pytest.mark.parametrize(("fluid", "doubted"), [(0.2, False), (1.05, False), (1.6, True)])
def test_a_pet_with_bright_ventricles_looks_like_a_t2w(fluid, doubted):
    labels = np.repeat([0, 4, 2, 1030], 50).reshape(2, 10, 10)
    values = np.select([labels == 4, labels == 2, labels == 1030], [fluid, 0.7, 1.0], 0.0)
    reporter = Reporter()
    check_uptake(values, labels, "a.nii", reporter)
    assert [(one.code, one.level) for one in reporter.findings] == ([("pet-contents", "look")] if doubted else [])
    check_uptake(values, np.where(labels == 4, 0, labels), "a.nii", reporter)  # no ventricle in the field of view
    assert len(reporter.findings) == doubted


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [0, 1])
def test_half_a_head_is_refused(person, axis, side):
    folder, files = person
    codes = {code for _, level, code in found({"T1w": changed(folder, files["T1w"], halved(axis, side))})}
    assert codes & {"brain-extent", "brain"}


def test_noise_is_refused_whether_rough_or_smooth(person):
    folder, files = person
    rng = np.random.default_rng(0)

    def noise(image):
        return image_like(rng.normal(100, 20, array(image).shape).astype(np.float32), image)

    assert ("T1w", "refuse", "noise") in found({"T1w": changed(folder, files["T1w"], noise)})
    smooth = changed(folder, files["T1w"], lambda image: sitk.SmoothingRecursiveGaussian(noise(image), 6.0))
    assert "refuse" in {level for _, level, _ in found({"T1w": smooth})}


@pytest.mark.parametrize(("factor", "right"), [(6000.0, "times what it must be"), (0.01, "times what it must be")])
def test_a_pet_in_another_unit_is_refused_with_the_factor_and_the_stated_unit(person, factor, right):
    folder, files = person
    path = changed(folder, files["FDG-PET"], scaled(factor))
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"Units": "Bq/mL"}))
    visit = Visit("x", volumes={"T1w": files["T1w"], "FDG-PET": path})
    finding = next(one for _, one in check_visit(visit, Request(quantity="SUVR")) if one.code == "target-units")
    assert finding.level == "refuse"
    assert right in finding.message
    assert "Bq/mL" in finding.message
    assert "modality-synthesis suvr" in finding.action
    assert finding.value == pytest.approx(0.9 * factor, rel=0.3)
    # Where no SUVR is expected (before `align`, `suvr`), Bq/mL is as good as anything.
    assert found({"T1w": files["T1w"], "FDG-PET": path}) == []


def test_a_target_beside_the_head_is_refused_and_one_shifted_a_little_is_not(person):
    folder, files = person
    far = changed(folder, files["FDG-PET"], moved(400.0))
    assert found({"T1w": files["T1w"], "FDG-PET": far}, quantity="SUVR") == [("FDG-PET", "refuse", "target-overlap")]
    assert found({"T1w": files["T1w"], "FDG-PET": far}, aligned=False) == []
    near = changed(folder, files["FDG-PET"], moved(3.0))
    assert found({"T1w": files["T1w"], "FDG-PET": near}, quantity="SUVR") == []


def test_a_field_of_view_that_misses_half_of_the_brain_does_not_overlap(person):
    folder, files = person
    image = sitk.DICOMOrient(sitk.ReadImage(str(files["FDG-PET"]), sitk.sitkFloat32), "LPS")
    path = folder / "upper.nii.gz"
    write_image(image[:, :, int(0.62 * image.GetSize()[2]) :], path)
    codes = found({"T1w": files["T1w"], "FDG-PET": path}, quantity="SUVR")
    assert codes == [("FDG-PET", "refuse", "target-overlap")]


def test_everything_is_told_at_once(person, tmp_path):
    folder, files = person
    volumes = {"T1w": files["T2w"], "FDG-PET": changed(folder, files["FDG-PET"], scaled(6000.0)),
               "T2w": tmp_path / "none.nii.gz"}  # fmt: skip
    codes = found(volumes, quantity="SUVR", required=("CT",))
    assert set(codes) == {("T1w", "refuse", "contrast"), ("FDG-PET", "refuse", "target-units"),
                          ("T2w", "refuse", "missing"), ("CT", "refuse", "missing")}  # fmt: skip


def test_a_volume_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b garbage")
    noted = check_visit(Visit("x", volumes={"T1w": tmp_path / "broken.nii.gz"}), Request())
    assert [(finding.level, finding.code) for _, finding in noted] == [("refuse", "unreadable")]
    assert "broken.nii.gz" in noted[0][1].message


@pytest.fixture
def work(monkeypatch):
    """What costs: the volumes that the network looks at, and calls of a registration."""
    done = {"looks": [], "registrations": []}
    segment = brain_mask_module._segment

    def counted(image, network):
        done["looks"].append(image)
        return segment(image, network)

    monkeypatch.setattr(brain_mask_module, "_segment", counted)
    for name in ("register_to_template", "register_pair", "_improve"):
        for module in (registration, pair_registration):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: done["registrations"].append(1))
    return done


def test_a_visit_costs_one_look_at_a_coarse_head_and_no_registration(person, work):
    _, files = person
    found({"T1w": files["T1w"], "FDG-PET": files["FDG-PET"]})
    (look,) = work["looks"]
    assert look.GetSpacing() == (WORKING_MM,) * 3
    assert work["registrations"] == []


@pytest.mark.long
def test_a_head_of_one_millimeter_costs_no_more_than_a_coarse_one(sample_head, work):
    assert found({"T1w": sample_head}) == []
    assert all(look.GetSpacing() == (WORKING_MM,) * 3 for look in work["looks"])
    assert len(work["looks"]) <= 2  # the second one where a head lies tilted
    assert work["registrations"] == []


@pytest.mark.parametrize("kind", ["T1w", "T2w", "FLAIR"])
@pytest.mark.long
def test_real_heads_are_taken_for_what_they_are(shared_subjects, kind):
    heads = sorted(shared_subjects.glob(f"*_{kind}.nii.gz"))
    assert heads
    for path in heads:
        assert found({kind: path}) == [], path.name
        for other in {"T1w", "T2w"} - {kind} if kind != "FLAIR" else {"T1w"}:
            assert [code for _, _, code in found({other: path})] == ["contrast"], (path.name, other)


def test_structure_is_judged_on_the_image_not_on_its_background():
    """A large empty background does not make a scan a label map."""
    rng = np.random.default_rng(0)
    values = np.zeros((40, 60, 60), np.float32)
    smooth = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(rng.normal(0, 50, (40, 20, 20)).astype(np.float32)), 2.0)
    )
    values[:, 20:40, 20:40] = np.rint(100 + 30 * smooth)
    gathered = Gathering()
    check_structure(sitk.GetImageFromArray(values), "x", gathered)
    assert gathered.findings == []


def test_brains_are_measured_in_millimeters():
    mask = sitk.GetImageFromArray(np.pad(np.ones((48, 64, 56), np.uint8), 4))
    mask.SetSpacing((WORKING_MM,) * 3)
    look = brain_look(sitk.Cast(mask, sitk.sitkFloat32), mask)
    assert look is not None
    assert look.extents_mm == pytest.approx((140.0, 160.0, 120.0), abs=5.0)
    assert look.volume_ml == pytest.approx(48 * 64 * 56 * WORKING_MM**3 / 1000, rel=0.05)
    gathered = Gathering()
    check_extents(look.extents_mm, "x", gathered)
    assert gathered.findings == []
    check_extents((80.0, 160.0, 120.0), "x", gathered)
    assert gathered.findings[0].value == 80.0


def test_who_is_far_from_a_cohort():
    assert far_from_cohort([1.0, 1.1, 0.9, 1.05, 2.6]) == [None] * 4 + [pytest.approx(15.0, abs=3.0)]
    assert far_from_cohort([1.0, 1.0, 1.0, 1.0, 1.2]) == [None] * 5  # identical people are no reason to be strict
    assert far_from_cohort([1.0, 5.0, 1.0]) == [None] * 3  # too few to say who is the odd one
    assert far_from_cohort([1.0, float("nan"), 1.0, 1.1, 0.9]) == [None] * 5


def test_a_target_may_be_anything_where_nothing_is_expected(person):
    folder, files = person
    brain = sitk.ReadImage(str(folder / "labels.nii.gz")) > 0
    gathered = Gathering()
    path = files["FDG-PET"]
    check_target(sitk.ReadImage(str(path), sitk.sitkFloat32), brain, "FDG-PET", path, gathered)
    assert [finding.code for finding in gathered.findings if finding.level == "refuse"] == []
