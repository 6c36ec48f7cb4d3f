"""Metrics and baselines against closed forms and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from modality_synthesis.evaluation.baselines import fit_baselines
from modality_synthesis.evaluation.metrics import bootstrap_interval, compare_arrays


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 2, (24, 26, 22)).astype(np.float32)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[6:18, 5:20, 4:17] = True
    return reference, reference + 0.1, mask


def test_a_constant_offset_has_its_closed_form_figures(pair):
    reference, shifted, mask = pair
    figures = compare_arrays(shifted, reference, mask, data_range=2.0)
    assert figures.mae == pytest.approx(0.1, rel=1e-5)
    assert figures.rmse == pytest.approx(0.1, rel=1e-5)
    assert figures.psnr == pytest.approx(20 * np.log10(2.0 / 0.1), rel=1e-5)
    assert figures.correlation == pytest.approx(1.0)


def test_psnr_and_ssim_equal_scikit_image_over_the_whole_volume():
    rng = np.random.default_rng(1)
    reference = rng.uniform(0, 2, (30, 28, 26))
    synthetic = reference + rng.normal(0, 0.2, reference.shape)
    everywhere = np.ones(reference.shape, dtype=bool)
    figures = compare_arrays(synthetic, reference, everywhere, data_range=2.0)
    assert figures.psnr == pytest.approx(peak_signal_noise_ratio(reference, synthetic, data_range=2.0), rel=1e-6)
    _, expected = structural_similarity(
        reference, synthetic, data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    interior = np.zeros(reference.shape, dtype=bool)
    interior[6:-6, 6:-6, 6:-6] = True
    inner = compare_arrays(np.where(True, synthetic, 0), reference, everywhere, 2.0)
    assert inner.ssim == pytest.approx(expected.mean(), abs=0.02)


def test_a_masked_background_cannot_raise_any_figure(pair):
    reference, shifted, mask = pair
    noisy = shifted + np.random.default_rng(2).normal(0, 0.2, reference.shape).astype(np.float32)
    alone = compare_arrays(noisy, reference, mask, 2.0)
    padded = [np.pad(volume, 20) for volume in (noisy * mask, reference * mask, mask)]
    embedded = compare_arrays(padded[0], padded[1], padded[2], 2.0)
    for name, value in alone.as_dict().items():
        assert embedded.as_dict()[name] == pytest.approx(value, rel=1e-4), name


def test_an_empty_mask_or_other_shapes_are_refused(pair):
    reference, shifted, mask = pair
    with pytest.raises(ValueError, match="empty"):
        compare_arrays(shifted, reference, np.zeros_like(mask), 2.0)
    with pytest.raises(ValueError, match="shapes"):
        compare_arrays(shifted[1:], reference, mask, 2.0)


def test_bootstrap_interval_covers_the_mean_at_about_its_level():
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(1.0, 0.5, 25), seed=index, draws=400) for index in range(200)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.98


def test_voxelwise_regression_recovers_a_linear_relation():
    rng = np.random.default_rng(4)
    slope, intercept = rng.uniform(0.5, 2, (8, 8, 8)), rng.uniform(-1, 1, (8, 8, 8))
    ones = np.ones((8, 8, 8), dtype=np.uint8)

    def sample() -> dict[str, np.ndarray]:
        source = rng.uniform(0, 1, (8, 8, 8))
        return {"source": source, "target": intercept + slope * source, "region": ones, "brain": ones}

    baselines = fit_baselines(sample() for _ in range(40))
    unseen = sample()
    predicted = baselines.predict(unseen)
    np.testing.assert_allclose(predicted["voxelwise linear on T1w"], unseen["target"], atol=0.05)
    np.testing.assert_allclose(predicted["mean PET"], intercept + 0.5 * slope, atol=0.4)
    worse = np.abs(predicted["mean PET"] - unseen["target"]).mean()
    assert np.abs(predicted["voxelwise linear on T1w"] - unseen["target"]).mean() < 0.1 * worse
