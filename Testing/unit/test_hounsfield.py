"""Whether a CT is in Hounsfield units: what was done to it on its way here is noticed, what scanners do is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.resources import resources_folder
from modality_synthesis.simulation.ct import simulate_ct
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.volumes import read_image


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    """A simulated head, (z, y, x)."""
    fine = load_head("11")
    grid = resample_isotropic(fine, 2.0, is_mask=True)
    labels = sitk.Resample(fine, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    labels = sitk.DICOMOrient(labels, "LPS")
    return sitk.GetArrayFromImage(simulate_ct(labels, np.random.default_rng(0))).astype(np.float32)


def warnings(hu: np.ndarray) -> list[str]:
    reporter = Reporter()
    check_hounsfield(sitk.GetImageFromArray(hu.astype(np.float32)), "scan.nii.gz", reporter)
    return reporter.warnings


def padded(hu: np.ndarray, value: float) -> np.ndarray:
    """Outside a round field of view."""
    padding = np.pad(hu, ((0, 0), (20, 20), (20, 20)), constant_values=-1000)
    y, x = np.indices(padding.shape[1:])
    radius = min(padding.shape[1:]) / 2
    outside = np.hypot(y - padding.shape[1] / 2, x - padding.shape[2] / 2) > radius
    return np.where(outside, value, padding)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda hu: hu + 1024, "rescale intercept"),
        (lambda hu: np.clip(hu, 0, 80), "air in a CT"),
        (lambda hu: np.clip(hu, -1024, 200), "bone"),
        (lambda hu: np.where((hu > -20) & (hu < 90), -120, hu), "where brain does"),
        *((lambda hu, factor=factor: hu * factor, "air lies at") for factor in (0.5, 0.8, 0.9, 1.1, 1.2)),
        (lambda hu: padded(hu, -1500) * 0.8, "air lies at -800"),
        (lambda hu: hu + 40, "air lies at -960, .* soft tissue lies at"),
        (lambda hu: np.where(hu < -500, hu, hu + 55), ": soft tissue lies at"),
        (lambda hu: np.clip(hu, -1000, 300), "highest value, 300.*windowed"),
        (lambda hu: np.clip(hu, -1000, 400), "highest value, 400.*windowed"),
        (lambda hu: np.clip(hu, -600, 500), "air lies at -600"),
    ],
)
def test_what_is_not_in_hounsfield_units_is_refused_with_the_reason(hu, change, reason):
    with pytest.raises(BadInputError, match=reason):
        warnings(change(hu))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda hu: hu * 0.95, "air lies at -950"),
        (lambda hu: np.clip(hu + 40, -1000, None) - 40 * (hu < -500), "soft tissue lies at"),
        (lambda hu: np.clip(hu, -1024, 1000), "dense bone is missing"),
        (lambda hu: np.where(hu < -300, 0, hu) - 1000 * (np.indices(hu.shape).sum(0) < 9), "set to 0"),
    ],
)
def test_what_is_doubtful_is_warned_of(hu, change, reason):
    (warning,) = warnings(change(hu))
    assert reason in warning


def with_metal(hu: np.ndarray) -> np.ndarray:
    """Fillings of a few hundred voxels, which a 12-bit scanner shows as 3071."""
    metal = hu.copy()
    metal.ravel()[np.flatnonzero(hu > 1000)[:500]] = 3071
    return metal


@pytest.mark.parametrize("shift", [1000, 1024])
def test_a_ct_that_starts_at_zero_needs_its_intercept_and_is_not_taken_for_an_mri(hu, shift):
    with pytest.raises(BadInputError, match="rescale intercept") as refusal:
        warnings(np.clip(hu + shift, 0, None))
    assert "MRI" not in str(refusal.value)


@pytest.mark.parametrize("scale", [0.8, 1.0, 5.0, 13.0])
def test_an_mri_is_asked_whether_it_is_one(scale):
    """On any scale: also where its tissue or its air lies where a shifted CT has some of its own."""
    labels = resample_isotropic(load_head("11"), 3.0, is_mask=True)
    mri = sitk.GetArrayFromImage(simulate_mri(labels, "T1w", np.random.default_rng(1), Acquisition((3.0,) * 3)))
    with pytest.raises(BadInputError, match="looks like an MRI: is it one"):
        warnings(mri * (scale * 100 / np.percentile(mri, 90)))


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu,
        lambda hu: hu + np.random.default_rng(0).normal(0, 15, hu.shape),
        lambda hu: hu[len(hu) // 3 :],
        lambda hu: np.where(hu < -700, -1000, hu),
        lambda hu: np.where(hu < -700, -1024, hu),
        *(lambda hu, value=value: padded(hu, value) for value in (-1024, -1500, -2000, -3024)),
        lambda hu: hu + 8,
        lambda hu: hu - 8,
        with_metal,
    ],
)
def test_what_scanners_and_masks_do_passes_without_a_word(hu, change):
    assert warnings(change(hu)) == []


def test_the_shipped_sample_and_real_heads_pass_without_a_word(shared_subjects):
    paths = [resources_folder() / "SampleData" / "sub-simulated_CT.nii.gz"]
    for path in (Path("dicom/ct_ge_head"), Path("gpl/ct_cranium_HU.nii.gz")):
        if not (shared_subjects.parent / path).exists():
            pytest.skip(f"the real head CT {path} is not at hand")
        paths.append(shared_subjects.parent / path)
    for path in paths:
        assert warnings(sitk.GetArrayFromImage(read_image(path))) == []


def test_the_chain_passes_warnings_on(hu):
    from modality_synthesis.preprocessing import ChainParameters, prepare

    reporter = Reporter()
    image = sitk.GetImageFromArray(np.clip(hu, -1024, 1000))
    image.SetSpacing((2.0,) * 3)
    prepare(image, ChainParameters.model_validate({"source": [{"step": "ct-head"}]}), reporter=reporter)
    assert any("dense bone is missing" in warning for warning in reporter.warnings)
