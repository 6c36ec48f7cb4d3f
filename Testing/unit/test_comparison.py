"""Comparisons of volumes and SUVR tables, on phantoms with known answers."""

from __future__ import annotations

import csv
import json
from functools import lru_cache

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.comparison import WHOLE
from modality_synthesis.evaluation.signal import signal_factor
from modality_synthesis.preprocessing.atlas import label_image, labels_on, regions
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.resources import resource
from modality_synthesis.volumes import array, image_like, read_image, resample_like, write_image


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
    assert result.metrics["MAE"] == pytest.approx(0.25, rel=1e-4)
    assert result.metrics["PSNR"] == pytest.approx(20 * np.log10(2.0 / 0.25), rel=1e-4)
    assert result.voxels == 14 * 16 * 18
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["metrics"]["MAE"] == pytest.approx(0.25, rel=1e-4)
    assert figures["data_range"] == 2.0
    assert "5 %" in figures["mask"]
    assert figures["details"]["PSNR"]["data_range"] == 2.0
    assert figures["details"]["MAE"]["data_range"] is None
    assert figures["details"]["SSIM"]["mask"] == {"metrics": figures["mask"], "whole_volume": WHOLE}
    assert set(figures["definitions"]) == set(figures["metrics"]) == set(figures["whole_volume"])


def test_what_an_empty_background_adds_to_psnr_is_stated(reference, tmp_path):
    """Both volumes are 0 around the head: the whole volume's PSNR is better by 10 log10 of the head's share."""
    inside = array(reference) > 0
    made = np.where(inside, array(reference) + 0.25, 0)
    compare(image_like(made, reference), reference, tmp_path, data_range=2.0)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["background"]["share"] == pytest.approx(1 - inside.mean())
    assert figures["background"]["psnr_gain_db"] == pytest.approx(-10 * np.log10(inside.mean()), rel=1e-4)


def test_regions_of_a_known_bias(phantom_pet, tmp_path):
    labels = atlas_codes()
    made = array(phantom_pet)
    made[np.isin(labels, (1025,))] += 0.6
    marked = tmp_path / "made.nii.gz"
    write_image(image_like(made, phantom_pet), marked, description="SYNTHETIC FDG-PET SUVR, mine 1.0.0")
    result = compare(marked, phantom_pet, tmp_path, template_space=True)
    rows = {(row.region, row.hemisphere): row for row in result.regions}
    left = rows["ctx-lh-precuneus", "left"]
    assert (left.bias, left.mae, left.bias_percent) == pytest.approx((0.6, 0.6, 10.0), rel=1e-4)
    assert left.volume_ml == pytest.approx((labels == 1025).sum() * 8 / 1000)
    assert rows["ctx-rh-precuneus", "right"].mae == 0
    share = (labels == 1025).sum() / np.isin(labels, (1025, 2025)).sum()
    assert rows["ctx-precuneus", "both"].bias == pytest.approx(0.6 * share, rel=1e-4)
    with (tmp_path / "regions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == len(result.regions)
    assert {(row["synthetic"], row["model"]) for row in table} == {("yes", "mine 1.0.0")}
    written = next(row for row in table if (row["region"], row["hemisphere"]) == ("ctx-lh-precuneus", "left"))
    assert float(written["synthetic_mean"]) - float(written["reference_mean"]) == pytest.approx(0.6, rel=1e-3)
    with pytest.raises(UsageError, match="not both"):
        compare(phantom_pet, phantom_pet, template_space=True, mri=phantom_pet)


def test_the_uncertainty_is_judged(reference):
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.05, 0.3, array(reference).shape)
    made = array(reference) + rng.normal(0, spread)
    result = compare(image_like(made, reference), reference, uncertainty=image_like(spread, reference))
    assert result.calibration.coverage == pytest.approx(result.calibration.levels, abs=0.03)


def test_slices_are_axial_however_the_volume_lies(reference):
    """Brightness that jumps from one axial slice to the next, in a volume stored sagittally."""
    jumps = np.random.default_rng(2).normal(1, 0.2, (30, 1, 1)).astype(np.float32)
    made = image_like(array(reference) * jumps, reference)
    plain = compare(made, reference).metrics["Through-plane ratio"]
    turned = [sitk.DICOMOrient(image, "PIR") for image in (made, reference)]
    assert compare(*turned).metrics["Through-plane ratio"] == pytest.approx(plain, rel=1e-4)
    assert plain > 1.02


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
    assert result.metrics["MAE"] < 0.02
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
        "absolute_difference.nii.gz", "compared.nii.gz", "difference.nii.gz", "metrics.json",
        "relative_difference.nii.gz",
    ]  # fmt: skip
    signed = array(read_image(tmp_path / "out" / "difference.nii.gz"))
    np.testing.assert_allclose(signed, 0.1 * array(reference), atol=1e-5)


@lru_cache
def template_grid() -> sitk.Image:
    """Template space at 2 mm."""
    return resample_isotropic(label_image(), 2.0, is_mask=True)


@lru_cache
def atlas_codes() -> np.ndarray:
    """The atlas' labels on that grid."""
    return labels_on(template_grid(), sitk.Transform(3, sitk.sitkIdentity))


@pytest.fixture(scope="module")
def phantom_pet() -> sitk.Image:
    """A PET in template space: each region's value is known (cerebellar cortex 4, white matter 2, precuneus 6)."""
    codes = atlas_codes()
    brain = array(resample_like(mni152().mask, template_grid(), interpolator="nearest")) > 0
    values = np.where(brain | (codes > 0), np.float32(3.0), np.float32(0.1))
    values[np.isin(codes, (8, 47))] = 4.0
    values[np.isin(codes, (2, 41))] = 2.0
    values[np.isin(codes, (1025, 2025))] = 6.0
    return image_like(values, template_grid())


def test_suvr_of_a_phantom(phantom_pet, tmp_path):
    result = suvr(phantom_pet, tmp_path / "t.csv", template_space=True, image=tmp_path / "s.nii.gz")
    assert result.reference_mean == pytest.approx(4.0)
    rows = {(row["region"], row["hemisphere"]): row for row in csv.DictReader((tmp_path / "t.csv").open())}
    assert float(rows["ctx-lh-precuneus", "left"]["suvr"]) == pytest.approx(1.5)
    assert float(rows["Left-Cerebral-White-Matter", "left"]["suvr"]) == pytest.approx(0.5)
    assert float(rows["Right-Cerebellum-Cortex", "right"]["suvr"]) == pytest.approx(1.0)
    precuneus = rows["ctx-precuneus", "both"]
    assert float(precuneus["suvr"]) == float(precuneus["p5"]) == float(precuneus["p95"]) == pytest.approx(1.5)
    assert float(precuneus["sd"]) == pytest.approx(0, abs=1e-5)
    assert float(precuneus["asymmetry_percent"]) == pytest.approx(0, abs=1e-4)
    assert precuneus["z"] == ""
    labels = atlas_codes()
    members = next(r.labels for r in regions() if (r.name, r.hemisphere) == ("fdg_ad_signature", "both"))
    by_hand = sitk.GetArrayFromImage(phantom_pet)[np.isin(labels, members)].mean() / 4.0
    assert float(rows["fdg_ad_signature", "both"]["suvr"]) == pytest.approx(by_hand, rel=1e-3)
    for sidecar in ("s.json", "t.csv.json"):
        record = json.loads((tmp_path / sidecar).read_text())
        assert record["Units"] == "SUVR"
        assert record["ReferenceRegion"] == "cerebellar-gray"


def test_the_reference_region_changes_the_scale(phantom_pet):
    pons = suvr(phantom_pet, template_space=True, reference_region="pons")
    assert pons.reference_mean == pytest.approx(3.0, abs=0.2)
    whole = suvr(phantom_pet, template_space=True, reference_region="whole-cerebellum")
    assert 3.0 < whole.reference_mean < 4.0
    both = suvr(phantom_pet, template_space=True, reference_region="cerebellum-pons")
    assert 3.0 < both.reference_mean < 4.0
    white = suvr(phantom_pet, template_space=True, reference_region="white-matter-eroded")
    assert white.reference_mean == pytest.approx(2.0)
    precuneus = image_like(np.isin(atlas_codes(), (1025, 2025)), phantom_pet)
    custom = suvr(phantom_pet, template_space=True, custom_reference=precuneus)
    assert custom.reference_mean == pytest.approx(6.0)
    assert custom.reference_region == "custom mask"


def figures_of(result, region: str, hemisphere: str = "both"):
    return next(row for row in result.rows if (row.region, row.hemisphere) == (region, hemisphere))


def test_asymmetry_is_positive_where_the_left_is_hotter(phantom_pet):
    values = array(phantom_pet)
    values[np.isin(atlas_codes(), (1025,))] *= 1.2
    result = suvr(image_like(values, phantom_pet), template_space=True)
    assert figures_of(result, "ctx-precuneus").asymmetry_percent == pytest.approx(200 * 0.2 / 2.2)
    assert np.isnan(figures_of(result, "ctx-lh-precuneus", "left").asymmetry_percent)
    assert figures_of(result, "ctx-cuneus").asymmetry_percent == pytest.approx(0, abs=1e-4)


def test_z_scores_from_both_kinds_of_tables(phantom_pet, tmp_path):
    (tmp_path / "summary.csv").write_text("region,mean,sd\nctx-precuneus,1.2,0.1\n")
    people = "".join(f"s{n},ctx-precuneus,both,{mean}\n" for n, mean in enumerate((1.1, 1.2, 1.3, 1.0, 1.4)))
    (tmp_path / "people.csv").write_text("subject,region,hemisphere,mean\n" + people)
    expected = {"summary": 3.0, "people": (1.5 - 1.2) / np.std([1.1, 1.2, 1.3, 1.0, 1.4], ddof=1)}
    for name, z in expected.items():
        result = suvr(phantom_pet, template_space=True, normal_cohort=tmp_path / f"{name}.csv")
        assert figures_of(result, "ctx-precuneus").z == pytest.approx(z, rel=1e-5)
        assert np.isnan(figures_of(result, "ctx-cuneus").z)
    (tmp_path / "few.csv").write_text("subject,region,mean\na,ctx-precuneus,1.1\n")
    with pytest.raises(BadInputError, match="at least 5"):
        suvr(phantom_pet, template_space=True, normal_cohort=tmp_path / "few.csv")
    (tmp_path / "odd.csv").write_text("area,mean\na,1.1\n")
    with pytest.raises(BadInputError, match="columns"):
        suvr(phantom_pet, template_space=True, normal_cohort=tmp_path / "odd.csv")


def test_the_z_map_paints_each_region_with_its_score(phantom_pet, tmp_path):
    """Left precuneus (SUVR 1.5) has a norm of its own, the right one that of both sides, the thalamus none."""
    table = "region,hemisphere,mean,sd\nctx-lh-precuneus,left,1.2,0.1\nctx-precuneus,both,1.7,0.1\n"
    (tmp_path / "normal.csv").write_text(table + "fdg_ad_signature,both,1,0.1\n")
    write_image(phantom_pet, tmp_path / "pet.nii.gz")
    options = [
        "--template-space",
        "--normal-cohort",
        str(tmp_path / "normal.csv"),
        "--z-map",
        str(tmp_path / "z.nii.gz"),
    ]
    result = CliRunner().invoke(
        app, ["suvr", str(tmp_path / "pet.nii.gz"), "-o", str(tmp_path / "t.csv"), *options, "--progress", "json"]
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["files"]["z_map"] == str(tmp_path / "z.nii.gz")
    painted, codes = array(read_image(tmp_path / "z.nii.gz")), atlas_codes()
    np.testing.assert_allclose(painted[codes == 1025], 3.0, rtol=1e-4)
    np.testing.assert_allclose(painted[codes == 2025], -2.0, rtol=1e-4)
    assert not painted[~np.isin(codes, (1025, 2025))].any()
    record = json.loads((tmp_path / "z.json").read_text())
    assert record["Quantity"] == "z-score"
    assert record["ReferenceRegion"] == "cerebellar-gray"
    assert sorted(record["Regions"]) == ["ctx-lh-precuneus", "ctx-rh-precuneus"]


def test_the_label_map_says_where_each_region_is(phantom_pet, tmp_path):
    """Ventricles have no region; a region's point lies in it, also when its middle does not."""
    suvr(phantom_pet, template_space=True, label_map=tmp_path / "labels.nrrd")
    image, codes = read_image(tmp_path / "labels.nrrd"), atlas_codes()
    written = array(image)
    known = sorted({label for region in regions() for label in region.labels})
    np.testing.assert_array_equal(written, np.where(np.isin(codes, known), codes, 0))
    assert 4 in codes  # a ventricle
    assert not (written == 4).any()
    record = json.loads((tmp_path / "labels.json").read_text())
    assert record["Quantity"] == "label"
    found = {(region["name"], region["hemisphere"]): region for region in record["Regions"]}
    assert {key for key in found if key[0] == "ctx-precuneus"} == {("ctx-precuneus", "both")}
    assert found["ctx-precuneus", "both"]["labels"] == [1025, 2025]
    assert ("fdg_ad_signature", "left") in found
    for region in found.values():
        index = image.TransformPhysicalPointToIndex(region["point_lps_mm"])
        assert written[index[::-1]] in region["labels"], region["name"]


def test_what_was_compared_is_said_of_each_voxel(reference, tmp_path):
    """Air around the head was measured but shows nothing; a zone of NaN was not measured."""
    values = array(reference)
    head = values > 0
    values[10:14] = np.nan
    compare(image_like(np.where(head, 1.0, 0.0).astype(np.float32), reference), image_like(values, reference), tmp_path)
    compared = array(read_image(tmp_path / "compared.nii.gz")) > 0
    expected = head.copy()
    expected[10:14] = False
    np.testing.assert_array_equal(compared, expected)


def test_a_z_map_needs_norms_of_single_regions(phantom_pet, tmp_path):
    with pytest.raises(UsageError, match="--normal-cohort"):
        suvr(phantom_pet, template_space=True, z_map=tmp_path / "z.nii.gz")
    (tmp_path / "meta.csv").write_text("region,mean,sd\nfdg_ad_signature,1.2,0.1\n")
    with pytest.raises(BadInputError, match="no single region"):
        suvr(phantom_pet, template_space=True, normal_cohort=tmp_path / "meta.csv", z_map=tmp_path / "z.nii.gz")
    assert not (tmp_path / "z.nii.gz").exists()


def test_centiloids_of_the_published_threshold(phantom_pet, tmp_path):
    """Royse 2021: the florbetapir threshold of SUVR 1.11 is 20 CL, the florbetaben threshold of 1.08 is 18 CL."""
    values = np.where(array(phantom_pet) > 1, np.float32(1.0), np.float32(0.1))
    summary = next(r.labels for r in regions() if (r.name, r.hemisphere) == ("amyloid_global", "both"))
    for tracer, level, expected in (("florbetapir", 1.11, 20), ("florbetaben", 1.08, 18)):
        values[np.isin(atlas_codes(), summary)] = level
        pet = image_like(values, phantom_pet)
        found = suvr(pet, tmp_path / "t.csv", template_space=True, reference_region="whole-cerebellum", tracer=tracer)
        assert round(found.centiloid) == expected
    assert "Royse" in json.loads((tmp_path / "t.csv.json").read_text())["Centiloid"]["source"]
    with pytest.raises(UsageError, match="whole cerebellum"):
        suvr(phantom_pet, template_space=True, tracer="florbetapir")
    with pytest.raises(UsageError, match="flortaucipir"):
        suvr(phantom_pet, template_space=True, reference_region="whole-cerebellum", tracer="flortaucipir")


def test_partial_volume_correction_recovers_the_regions_of_a_blurred_phantom(phantom_pet):
    truth = {"ctx-precuneus": 6.0, "Hippocampus": 3.0, "Cerebral-White-Matter": 2.0}
    sigma = 6.0 / np.sqrt(8 * np.log(2))
    uniform = image_like(np.where(atlas_codes() > 0, array(phantom_pet), np.float32(0.1)), phantom_pet)
    blurred = sitk.SmoothingRecursiveGaussian(uniform, sigma)
    plain = suvr(blurred, template_space=True)
    corrected = suvr(blurred, template_space=True, pvc_fwhm_mm=6.0)
    assert corrected.reference_mean == pytest.approx(4.0, rel=0.01)
    for region, value in truth.items():
        assert figures_of(corrected, region).suvr * corrected.reference_mean == pytest.approx(value, rel=0.02), region
    assert figures_of(plain, "ctx-precuneus").suvr * plain.reference_mean < 5.0
    with pytest.raises(UsageError, match="point spread"):
        suvr(phantom_pet, template_space=True, pvc_fwhm_mm=-1)


def test_meta_regions_are_the_published_ones():
    named = {region.name: set(region.labels) for region in regions() if region.kind == "meta-region"}
    temporal = {18, 54, 1006, 1007, 1009, 1015, 1016, 2006, 2007, 2009, 2015, 2016}
    assert named["tau_meta_temporal"] == temporal
    assert named["braak_1"] == {1006, 2006}
    assert named["braak_2"] == {17, 53}
    assert named["braak_3"] == {18, 54, 1007, 1013, 1016, 2007, 2013, 2016}
    assert named["braak_6"] == {1005, 1017, 1021, 1022, 1024, 2005, 2017, 2021, 2022, 2024}
    cortex = set().union(*(named[f"braak_{stage}"] for stage in range(1, 7))) - {17, 18, 53, 54}
    assert cortex == {code for code in range(1001, 2036) if code % 1000 in range(1, 36)} - {1004, 2004}
    assert sum(len(named[f"braak_{stage}"]) for stage in range(1, 7)) == len(cortex) + 4  # no region in two stages
    # The atlas' own columns say the same.
    with resource("Atlases", "aparc+aseg_labels.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for column in ("tau_meta_temporal", "fdg_ad_signature"):
        assert named[column] == {int(row["index"]) for row in rows if row[column] == "1"}


def test_both_sides_are_the_union_of_left_and_right():
    sides = {(region.structure, region.hemisphere): set(region.labels) for region in regions()}
    pairs = {structure for structure, side in sides if side == "left"}
    assert {"Hippocampus", "ctx-precuneus", "braak_5"} <= pairs
    for structure in pairs:
        left, right = sides[structure, "left"], sides[structure, "right"]
        assert not left & right
        assert sides[structure, "both"] == left | right


def test_suvr_without_a_way_to_the_atlas_or_outside_the_field_of_view(phantom_pet):
    with pytest.raises(UsageError, match="--mri"):
        suvr(phantom_pet)
    with pytest.raises(UsageError, match="moon"):
        suvr(phantom_pet, template_space=True, reference_region="moon")
    upper = phantom_pet[:, :, 65:]
    with pytest.raises(BadInputError, match="cerebellar-gray lies outside"):
        suvr(upper, template_space=True)


def test_the_signal_factor_has_the_least_absolute_difference_however_much_fluid_there_is():
    rng = np.random.default_rng(3)
    reference = rng.uniform(100, 900, 5000)
    synthetic = reference / 400 + rng.normal(0, 0.05, 5000)
    synthetic[:900], reference[:900] = rng.uniform(0.4, 0.6, 900), 60.0  # fluid, too bright in the synthetic volume
    inside = np.ones(5000, bool)
    factor = signal_factor(synthetic, reference, inside)
    tried = np.linspace(0.5, 2, 1501) / 400
    errors = [np.abs(synthetic - one * reference).mean() for one in tried]
    assert factor == pytest.approx(tried[int(np.argmin(errors))], abs=1.5e-3 / 400)
    assert factor == pytest.approx(1 / 400, rel=0.01)
    with pytest.raises(BadInputError, match="nothing was made"):
        signal_factor(0 * synthetic, reference, inside)
    with pytest.raises(BadInputError, match="is zero"):
        signal_factor(synthetic, 0 * reference, inside)


def test_a_reference_mri_in_other_units_is_scaled_by_one_factor_inside_what_was_synthesized(tmp_path):
    """Skull and scalp of the reference do not count, its gain does not either, a wrong contrast does."""
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 24, 22), bool)
    brain[4:16, 5:19, 4:18] = True
    true = np.where(brain, rng.uniform(0.4, 1.1, brain.shape), 0).astype(np.float32)
    head = true.copy()
    head[1:3] = 2.0  # scalp
    made = true.copy()
    made[8:10, 8:12, 8:12] = 0.0  # dark fluid inside the brain is not "nothing"
    true[8:10, 8:12, 8:12] = head[8:10, 8:12, 8:12] = 0.1
    for name, values in (("made", made), ("head", 137.0 * head)):
        write_image(sitk.GetImageFromArray(values.astype(np.float32)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "made.json").write_text('{"Quantity": "signal"}')
    result = compare(tmp_path / "made.nii.gz", tmp_path / "head.nii.gz", tmp_path / "out")
    assert result.signal_factor == pytest.approx(1 / 137, rel=1e-4)
    wrong = np.where(brain, np.abs(made - true), 0)
    counted = brain & (head > 0.05 * np.percentile(head, 99.9))
    assert result.metrics["MAE"] == pytest.approx(wrong[counted].mean(), abs=1e-4)
    assert np.abs(array(result.difference)[1:3]).max() == 0
    unscaled = compare(tmp_path / "made.nii.gz", tmp_path / "head.nii.gz", match_signal=False)
    assert unscaled.signal_factor is None
    assert unscaled.metrics["MAE"] > 10


def test_a_volume_that_a_model_made_is_judged_where_it_made_one(tmp_path):
    """PET has scalp and neck, the model's volume has not: they are no error, unless a mask asks for them."""
    rng = np.random.default_rng(3)
    brain = np.zeros((20, 24, 22), bool)
    brain[6:14, 7:17, 6:16] = True
    real = rng.uniform(0.5, 2.0, brain.shape).astype(np.float32)
    real[:2] = real[-2:] = 0.0
    made = np.where(brain, real + 0.1, 0).astype(np.float32)
    for name, values in (("made", made), ("real", real)):
        write_image(sitk.GetImageFromArray(values), tmp_path / f"{name}.nii.gz")
    stranger = compare(tmp_path / "made.nii.gz", tmp_path / "real.nii.gz")
    assert stranger.metrics["MAE"] > 0.5
    (tmp_path / "made.json").write_text('{"Quantity": "SUVR", "Model": {"id": "some"}}')
    result = compare(tmp_path / "made.nii.gz", tmp_path / "real.nii.gz")
    assert result.metrics["MAE"] == pytest.approx(0.1, abs=1e-5)
    assert "holds something" in result.mask_source
    assert result.voxels == brain.sum()
    assert result.signal_factor is None
    everywhere = sitk.GetImageFromArray(np.ones(brain.shape, np.uint8))
    asked = compare(tmp_path / "made.nii.gz", tmp_path / "real.nii.gz", mask=everywhere)
    assert asked.voxels == (real > 0).sum()  # planes of zeros were never measured
    assert asked.metrics["MAE"] > 0.5
