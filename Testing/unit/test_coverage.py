"""What was never measured is not zero: however a file says it, the same figures come out."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation import compare, suvr
from modality_synthesis.evaluation.normal_cohort import read_normal_cohort
from modality_synthesis.evaluation.tables import SUVR
from modality_synthesis.preprocessing import Prepared, TargetMapping, check_target_coverage, measured_region
from modality_synthesis.preprocessing.atlas import label_image, labels_on
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import (
    array,
    find_coverage,
    image_like,
    read_image,
    resample_covered,
    resample_like,
    write_image,
)

AIR = np.float32(0.1)


@lru_cache
def brain_pet() -> sitk.Image:
    """A noisy PET in template space: cerebellar cortex 4 below, 5 in its upper part; cortex 6, the rest 3; air."""
    grid = resample_isotropic(label_image(), 3.0, is_mask=True)
    codes = labels_on(grid, sitk.Transform(3, sitk.sitkIdentity))
    brain = array(resample_like(mni152().mask, grid, interpolator="nearest")) > 0
    values = np.where(brain | (codes > 0), 3.0, AIR)
    values[codes > 1000] = 6.0
    values[np.isin(codes, (8, 47))] = 4.0
    noise = np.random.default_rng(0).uniform(0.95, 1.05, values.shape)
    return image_like((values * noise).astype(np.float32), grid)


def upper(image: sitk.Image, planes: int) -> sitk.Image:
    return image[:, :, planes:]


def with_slab(image: sitk.Image, planes: int, value: float) -> sitk.Image:
    values = array(image)
    values[:planes] = value
    return image_like(values, image)


def on_oblique_grid(image: sitk.Image, fill: float = 0.0) -> sitk.Image:
    """As a program that rotates and fills with zeros leaves it."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.deg2rad(14), np.deg2rad(-8), 0)
    direction = np.array(turn.GetMatrix()).reshape(3, 3)
    size, step = np.array([90, 90, 90]), np.array([2.5] * 3)
    whole = brain_pet()
    middle = np.array(whole.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in whole.GetSize()]))
    origin = middle - direction @ ((size - 1) / 2 * step)
    return sitk.Resample(
        image, size.tolist(), sitk.Transform(), sitk.sitkLinear, origin.tolist(), step.tolist(),
        direction.ravel().tolist(), fill, sitk.sitkFloat32,
    )  # fmt: skip


def reading(pet: sitk.Image) -> SUVR:
    return suvr(pet, template_space=True)


def figures(result: SUVR) -> dict[str, tuple[float, float]]:
    return {row.region: (row.suvr, row.covered_percent) for row in result.rows if row.hemisphere == "both"}


CUT = 9  # planes of 3 mm: through the cerebellum


def test_a_whole_volume_is_covered_and_scattered_zeros_are_measured():
    pet = brain_pet()
    assert find_coverage(pet).all()
    values = array(pet)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = 0.0  # a scanner clips noise
    assert find_coverage(image_like(values, pet)).all()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1000.0, 7.3])
def test_a_slab_was_not_measured_whatever_it_holds(value):
    covered = find_coverage(with_slab(brain_pet(), CUT, value))
    assert not covered[:CUT].any()
    assert covered[CUT:].all()


def test_lost_slices_and_an_oblique_cut_are_found():
    lost = array(brain_pet())
    lost[20] = 0.0
    covered = find_coverage(image_like(lost, brain_pet()))
    assert not covered[20].any()
    assert covered[19].all()
    assert covered[21].all()
    turned = on_oblique_grid(upper(brain_pet(), CUT))
    truth = array(on_oblique_grid(image_like(np.ones_like(array(upper(brain_pet(), CUT))), upper(brain_pet(), CUT))))
    agree = find_coverage(turned) == (truth > 0)
    assert agree.mean() > 0.99


def test_sampling_mixes_no_measured_value_with_what_was_not_measured():
    cut = with_slab(brain_pet(), CUT, float("nan"))
    ones = image_like(np.where(np.isfinite(array(cut)), np.float32(5.0), np.nan).astype(np.float32), cut)
    grid = on_oblique_grid(brain_pet())
    for kind in ("nearest", "linear", "bspline"):
        values, covered = resample_covered(ones, np.isfinite(array(ones)), grid, interpolator=kind)
        assert array(values)[covered] == pytest.approx(5.0, abs=1e-3)
        assert not array(values)[~covered].any()


def test_every_cut_gives_the_same_table():
    """Cut off, filled with zeros or NaN or a constant, by whole planes or obliquely: the same SUVR and coverage."""
    whole, wanted = reading(brain_pet()), reading(upper(brain_pet(), CUT))
    assert whole.reference_percent == 100
    assert 60 < wanted.reference_percent < 90
    for value in (0.0, float("nan"), -5.0):
        found = reading(with_slab(brain_pet(), CUT, value))
        assert found.reference_percent == pytest.approx(wanted.reference_percent)
        assert found.reference_mean == pytest.approx(wanted.reference_mean)
        assert figures(found)["Hippocampus"] == pytest.approx(figures(wanted)["Hippocampus"])
    turned = reading(on_oblique_grid(upper(brain_pet(), CUT)))
    assert turned.reference_percent == pytest.approx(wanted.reference_percent, abs=3)
    # Turning blurs; so does it in the whole volume.
    assert turned.reference_mean == pytest.approx(reading(on_oblique_grid(brain_pet())).reference_mean, rel=0.02)


def test_the_reference_region_s_coverage_warns_and_refuses():
    reporter = Reporter()
    suvr(upper(brain_pet(), CUT), template_space=True, reporter=reporter)
    finding = next(one for one in reporter.findings if one.code == "reference-coverage")
    assert (finding.level, finding.limit) == ("look", 90)
    with pytest.raises(BadInputError, match="reference region cerebellar-gray lies to") as caught:
        reading(upper(brain_pet(), 14))
    assert caught.value.finding.level == "refuse"
    assert caught.value.finding.value < 50


def test_rows_say_what_was_covered_and_leave_out_what_that_forbids(tmp_path):
    values = array(brain_pet())
    values[:, :, values.shape[2] // 2 :] = np.nan  # the right half: x runs to the right here
    pet = image_like(values, brain_pet())
    mask = image_like(labels_on(pet, sitk.Transform(3, sitk.sitkIdentity)) == 8, pet)
    normal = tmp_path / "normal.csv"
    normal.write_text("region,hemisphere,suvr,sd\nctx-precuneus,both,1,0.1\nctx-lh-precuneus,left,1,0.1\n")
    found = suvr(pet, tmp_path / "t.csv", template_space=True, custom_reference=mask, normal_cohort=normal)
    rows = {(row.region, row.hemisphere): row for row in found.rows}
    right, left, both = (
        rows["ctx-rh-precuneus", "right"], rows["ctx-lh-precuneus", "left"], rows["ctx-precuneus", "both"],
    )  # fmt: skip
    assert right.covered_percent < 5
    assert np.isnan(right.suvr)
    assert "hardly-covered" in right.flags
    assert left.covered_percent > 95
    assert left.suvr == pytest.approx(1.5, rel=0.02)
    assert np.isfinite(left.z)
    assert np.isnan(both.asymmetry_percent)
    assert np.isnan(both.z)
    assert rows["ctx-lh-frontalpole", "left"].flags.startswith("small")
    with (tmp_path / "t.csv").open() as stream:
        header = next(csv.reader(stream))
    assert header[:9] == [
        "region", "name", "hemisphere", "kind", "volume_ml", "covered_percent", "suvr", "suvr_low", "suvr_high",
    ]  # fmt: skip
    assert header[-4:] == ["asymmetry_percent", "flags", "synthetic", "model"]
    assert left.name == "Precuneus, left"


def test_the_tracer_s_meta_regions_come_first(tmp_path):
    for name, first in (("sub-1_trc-AV1451_pet", "tau_meta_temporal"), ("sub-1_trc-PIB_pet", "amyloid_global")):
        write_image(brain_pet(), tmp_path / f"{name}.nii.gz")
        assert suvr(tmp_path / f"{name}.nii.gz", template_space=True).rows[0].region == first


def test_nan_is_read_where_it_marks_what_was_not_measured_and_refused_elsewhere(tmp_path):
    path = tmp_path / "pet.nii.gz"
    write_image(with_slab(brain_pet(), CUT, float("nan")), path)
    with pytest.raises(BadInputError, match="not finite") as caught:
        read_image(path)
    assert "by 0" not in str(caught.value)
    assert np.isnan(array(read_image(path, unmeasured=True))[:CUT]).all()
    suvr(path, tmp_path / "t.csv", template_space=True, image=tmp_path / "s.nii.gz")
    assert np.isnan(array(read_image(tmp_path / "s.nii.gz", unmeasured=True))[:CUT]).all()


def test_a_comparison_leaves_out_what_the_reference_was_not_measured_in(tmp_path):
    whole, made = brain_pet(), image_like(array(brain_pet()) + np.float32(0.5), brain_pet())
    inside = image_like(array(whole) > 1, whole)
    for name, cut in {
        "zeros": with_slab(whole, CUT, 0.0), "nan": with_slab(whole, CUT, float("nan")), "off": upper(whole, CUT),
        "oblique": on_oblique_grid(upper(whole, CUT)),
    }.items():  # fmt: skip
        result = compare(made, cut, mask=inside, template_space=True)
        # A rotated reference was blurred by its program, and its edge mixed with zeros.
        assert result.metrics["MAE"] == pytest.approx(0.5, abs=0.05 if name == "oblique" else 1e-4), name
        assert result.whole_volume["MAE"] < 0.62, name
        assert result.covered_percent < 99, name
        rows = {row.region: row for row in result.regions if row.hemisphere == "both"}
        assert rows["Cerebellum-Cortex"].covered_percent < 90, name
        assert rows["Cerebellum-Cortex"].bias == pytest.approx(0.5, abs=0.1), name
    assert np.abs(array(compare(made, with_slab(whole, CUT, 0.0)).difference)[:CUT]).max() == 0


def prepared() -> Prepared:
    grid = brain_pet()
    brain = image_like(array(grid) > 1, grid)
    return Prepared(native=grid, image=grid, mask=brain, native_mask=brain)


def test_a_training_target_counts_where_it_was_measured():
    state, mapping = prepared(), TargetMapping(mask_margin_mm=0.0)
    brain = array(state.require_mask()) > 0
    whole = array(measured_region(brain_pet(), state, mapping)) > 0
    assert (whole == brain).all()
    # Without skull and air it is a whole target still.
    stripped = image_like(np.where(brain, array(brain_pet()), 0), brain_pet())
    assert (array(measured_region(stripped, state, mapping)) > 0).sum() > 0.995 * brain.sum()
    for cut in (with_slab(brain_pet(), 10, 0.0), with_slab(brain_pet(), 10, np.nan), upper(brain_pet(), 10)):
        region = array(measured_region(cut, state, mapping)) > 0
        assert not region[:10].any()
        assert (region[10:] == brain[10:]).all()
    reporter = Reporter()
    check_target_coverage(measured_region(upper(brain_pet(), 20), state, mapping), state, "pet.nii.gz", reporter)
    assert [one.level for one in reporter.findings] == ["look"]
    with pytest.raises(BadInputError, match=r"pet.nii.gz: the brain lies to \d+ % only"):
        check_target_coverage(measured_region(upper(brain_pet(), 35), state, mapping), state, "pet.nii.gz", Reporter())


def test_a_normal_cohort_counts_regions_that_were_measured_and_reads_older_tables(tmp_path: Path):
    def table(column: str, covered: str) -> Path:
        path = tmp_path / f"{column}.csv"
        lines = [f"s{n},ctx-precuneus,both,{value},{covered if n == 5 else 100}" for n, value in enumerate(VALUES)]
        path.write_text(f"subject,region,hemisphere,{column},covered_percent\n" + "\n".join(lines) + "\n")
        return path

    key = ("ctx-precuneus", "both")
    for column in ("suvr", "mean"):
        assert read_normal_cohort(table(column, "100"))[key].mean == pytest.approx(np.mean(VALUES))
        assert read_normal_cohort(table(column, "89"))[key].mean == pytest.approx(np.mean(VALUES[:5]))


VALUES = [1.1, 1.2, 1.3, 1.0, 1.4, 9.0]


def test_the_sidecar_lists_the_findings(tmp_path):
    suvr(upper(brain_pet(), CUT), tmp_path / "t.csv", template_space=True)
    record = json.loads((tmp_path / "t.csv.json").read_text())
    assert {"reference-coverage", "template-space"} <= {one["code"] for one in record["Findings"]}
    assert record["ReferenceCoveredPercent"] < 90
