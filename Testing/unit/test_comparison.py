"""Comparisons of volumes and SUVR tables, on phantoms with known answers."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.atlas import label_image, regions
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, image_like, read_image, write_image


@pytest.fixture
def reference() -> sitk.Image:
    rng = np.random.default_rng(0)
    values = np.zeros((30, 32, 34), dtype=np.float32)
    values[8:22, 8:24, 8:26] = rng.uniform(0.5, 2.0, (14, 16, 18))
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2.0, 2.0, 3.0))
    image.SetOrigin((-20.0, 5.0, 7.0))
    return image


def test_a_known_shift_in_value(reference, tmp_path):
    result = compare(image_like(array(reference) + 0.25, reference), reference, tmp_path, data_range=2.0)
    assert result.metrics.mae == pytest.approx(0.25, rel=1e-4)
    assert result.metrics.psnr == pytest.approx(20 * np.log10(2.0 / 0.25), rel=1e-4)
    assert result.voxels == 14 * 16 * 18
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["metrics"]["MAE"] == pytest.approx(0.25, rel=1e-4)
    assert figures["data_range"] == 2.0
    assert "5 %" in figures["mask"]


def test_difference_maps_have_the_sign_and_scale_they_state(reference):
    made = array(reference).copy()
    made[10, 10, 10] *= 1.5
    made[12, 12, 12] *= 0.8
    result = compare(image_like(made, reference), reference)
    signed, absolute, relative = (array(image) for image in (result.difference, result.absolute, result.relative))
    assert signed[10, 10, 10] > 0 > signed[12, 12, 12]
    np.testing.assert_array_equal(absolute, np.abs(signed))
    assert relative[10, 10, 10] == pytest.approx(50, rel=1e-4)
    assert relative[12, 12, 12] == pytest.approx(-20, rel=1e-4)
    assert relative[0, 0, 0] == 0


def test_another_grid_is_resampled_with_a_notice(reference):
    finer = sitk.Resample(reference, [68, 64, 60], sitk.Transform(), sitk.sitkLinear, reference.GetOrigin(),
                          (1.0, 1.0, 1.5), reference.GetDirection())  # fmt: skip
    reporter = Reporter()
    result = compare(finer, reference, reporter=reporter)
    assert result.difference.GetSize() == reference.GetSize()
    assert result.metrics.mae < 0.02
    assert any("resampled" in warning for warning in reporter.warnings)


def test_volumes_apart_and_empty_masks_are_refused(reference):
    far = sitk.Image(reference)
    far.SetOrigin((500.0, 0.0, 0.0))
    with pytest.raises(BadInputError, match="overlap"):
        compare(far, reference)
    with pytest.raises(BadInputError, match="empty"):
        compare(reference, reference, mask=image_like(np.zeros_like(array(reference)), reference))


def test_compare_from_the_command_line(reference, tmp_path):
    for name, image in (("a", image_like(array(reference) * 1.1, reference)), ("b", reference)):
        write_image(image, tmp_path / f"{name}.nii.gz")
    result = CliRunner().invoke(
        app, ["compare", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"), "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "absolute_difference.nii.gz", "difference.nii.gz", "metrics.json", "relative_difference.nii.gz",
    ]  # fmt: skip
    signed = array(read_image(tmp_path / "out" / "difference.nii.gz"))
    np.testing.assert_allclose(signed, 0.1 * array(reference), atol=1e-5)


@pytest.fixture(scope="module")
def phantom_pet() -> sitk.Image:
    """A PET in template space: each region's value is known (cerebellar cortex 4, white matter 2, precuneus 6)."""
    labels = label_image()
    codes = sitk.GetArrayFromImage(labels)
    values = np.full(codes.shape, 3.0, dtype=np.float32)
    values[np.isin(codes, (8, 47))] = 4.0
    values[np.isin(codes, (2, 41))] = 2.0
    values[np.isin(codes, (1025, 2025))] = 6.0
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(labels)
    return image


def test_suvr_of_a_phantom(phantom_pet, tmp_path):
    result = suvr(phantom_pet, tmp_path / "t.csv", template_space=True, image=tmp_path / "s.nii.gz")
    assert result.reference_mean == pytest.approx(4.0)
    rows = {row["region"]: row for row in csv.DictReader((tmp_path / "t.csv").open())}
    assert float(rows["ctx-lh-precuneus"]["mean"]) == pytest.approx(1.5)
    assert float(rows["Left-Cerebral-White-Matter"]["mean"]) == pytest.approx(0.5)
    assert float(rows["Right-Cerebellum-Cortex"]["mean"]) == pytest.approx(1.0)
    labels = sitk.GetArrayFromImage(label_image())
    members = next(region.labels for region in regions() if region.name == "fdg_ad_signature")
    by_hand = sitk.GetArrayFromImage(phantom_pet)[np.isin(labels, members)].mean() / 4.0
    assert float(rows["fdg_ad_signature"]["mean"]) == pytest.approx(by_hand, rel=1e-3)
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["Units"] == "SUVR"
    assert record["ReferenceRegion"] == "cerebellar-gray"


def test_the_reference_region_changes_the_scale(phantom_pet):
    pons = suvr(phantom_pet, template_space=True, reference_region="pons")
    assert pons.reference_mean == pytest.approx(3.0, abs=0.2)
    whole = suvr(phantom_pet, template_space=True, reference_region="whole-cerebellum")
    assert 3.0 < whole.reference_mean < 4.0


def test_meta_regions_are_the_published_ones():
    named = {region.name: set(region.labels) for region in regions() if region.kind == "meta-region"}
    temporal = {18, 54, 1006, 1007, 1009, 1015, 1016, 2006, 2007, 2009, 2015, 2016}
    assert named["tau_meta_temporal"] == temporal
    assert named["braak_1"] == {1006, 2006}
    assert named["braak_2"] == {17, 53}


def test_suvr_without_a_way_to_the_atlas_or_outside_the_field_of_view(phantom_pet):
    with pytest.raises(UsageError, match="--mri"):
        suvr(phantom_pet)
    with pytest.raises(UsageError, match="moon"):
        suvr(phantom_pet, template_space=True, reference_region="moon")
    upper = sitk.RegionOfInterest(phantom_pet, [193, 229, 60], [0, 0, 130])
    with pytest.raises(BadInputError, match="field of view"):
        suvr(upper, template_space=True)
