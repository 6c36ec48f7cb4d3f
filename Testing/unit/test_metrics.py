"""Each metric against an independent implementation or a phantom with a closed-form answer."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
from monai.metrics import MultiScaleSSIMMetric, SSIMMetric
from scipy import ndimage
from skimage.filters import sobel_h, sobel_v
from skimage.metrics import normalized_mutual_information, peak_signal_noise_ratio, structural_similarity
from skimage.morphology import binary_erosion
from sklearn.metrics import mean_absolute_error, mean_squared_error

from modality_synthesis.evaluation.metrics import DEFINITIONS, METRICS, QUICK, SLICE_METRICS, compare_arrays
from modality_synthesis.evaluation.sharpness import spectrum_ratio, tenengrad, through_plane_ratio
from modality_synthesis.evaluation.similarity import scale_count
from modality_synthesis.evaluation.slicewise import global_ssim
from modality_synthesis.evaluation.slicewise import tenengrad as slice_tenengrad


def smooth_noise(shape: tuple[int, ...], sigma: float, seed: int = 0) -> np.ndarray:
    """A random texture between about 0 and 2."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    return (1 + 0.5 * field / field.std()).astype(np.float32)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    reference = smooth_noise((28, 30, 26), 1.0)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[6:22, 5:25, 4:22] = True
    return reference, reference + np.float32(0.1), mask


def test_a_constant_offset_has_its_closed_form_figures(pair):
    reference, shifted, mask = pair
    figures = compare_arrays(shifted, reference, mask, 2.0)
    assert figures["MAE"] == pytest.approx(0.1, rel=1e-5)
    assert figures["MSE"] == pytest.approx(0.01, rel=1e-5)
    assert figures["RMSE"] == pytest.approx(0.1, rel=1e-5)
    assert figures["PSNR"] == pytest.approx(20 * np.log10(2.0 / 0.1), rel=1e-5)
    for name in ("NCC", "Tenengrad ratio", "Spectrum ratio", "Through-plane ratio"):
        assert figures[name] == pytest.approx(1.0, rel=1e-4), name


def test_equal_volumes_reach_every_ideal(pair):
    reference, _, mask = pair
    for where in (mask, None):
        figures = compare_arrays(reference, reference, where, 2.0)
        for name, value in figures.items():
            assert value == pytest.approx(METRICS[name].ideal, abs=1e-9), name


def test_every_figure_says_what_it_is(pair):
    reference, shifted, mask = pair
    assert set(compare_arrays(shifted, reference, mask, 2.0)) == set(DEFINITIONS)
    assert list(compare_arrays(shifted, reference, mask, 2.0, names=QUICK)) == list(QUICK)
    assert {name for name, metric in METRICS.items() if metric.uses_data_range} == {"PSNR", "SSIM", "MS-SSIM"}


def test_psnr_of_known_noise():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 2, (40, 40, 40))
    noisy = reference + rng.normal(0, 0.1, reference.shape)
    figures = compare_arrays(noisy, reference, None, 2.0, names=("PSNR",))
    assert figures["PSNR"] == pytest.approx(20 * np.log10(2 / 0.1), abs=0.05)
    assert figures["PSNR"] == pytest.approx(peak_signal_noise_ratio(reference, noisy, data_range=2.0), rel=1e-9)


def test_ssim_and_multiscale_ssim_equal_monai_over_the_whole_volume():
    reference = smooth_noise((46, 48, 44), 1.5)
    synthetic = reference + np.random.default_rng(1).normal(0, 0.15, reference.shape).astype(np.float32)
    figures = compare_arrays(synthetic, reference, None, 2.0, names=("SSIM", "MS-SSIM"))
    tensors = [torch.from_numpy(volume)[None, None] for volume in (synthetic, reference)]
    assert figures["SSIM"] == pytest.approx(float(SSIMMetric(3, data_range=2.0)(*tensors)), abs=2e-5)
    assert scale_count(reference.shape) == 3
    weights = np.array([0.0448, 0.2856, 0.3001]) / 0.6305
    expected = float(MultiScaleSSIMMetric(3, data_range=2.0, weights=weights.tolist())(*tensors))
    assert figures["MS-SSIM"] == pytest.approx(expected, abs=2e-4)


def test_scales_follow_the_size():
    assert [scale_count((size,) * 3) for size in (8, 21, 22, 44, 88, 175, 176, 400)] == [1, 1, 2, 3, 4, 4, 5, 5]


def test_mutual_information_equals_scikit_image(pair):
    reference, _, _ = pair
    synthetic = np.sqrt(np.abs(reference)) + np.random.default_rng(3).normal(0, 0.1, reference.shape)
    figure = compare_arrays(synthetic, reference, None, 2.0, names=("NMI",))["NMI"]
    assert figure == pytest.approx(normalized_mutual_information(synthetic, reference, bins=100), rel=1e-9)


def test_correlation_ignores_gain_and_offset_and_counts_noise():
    rng = np.random.default_rng(4)
    reference = rng.normal(0, 1, (40, 40, 40))
    noisy = 3 * (reference + rng.normal(0, 1, reference.shape)) - 2
    figure = compare_arrays(noisy, reference, None, 2.0, names=("NCC",))["NCC"]
    assert figure == pytest.approx(1 / np.sqrt(2), abs=0.01)


def test_nothing_outside_the_mask_matters(pair):
    """Neither a large empty background nor garbage outside the mask changes a figure inside it."""
    reference, shifted, mask = pair
    noisy = shifted + np.random.default_rng(2).normal(0, 0.2, reference.shape).astype(np.float32)
    alone = compare_arrays(noisy, reference, mask, 2.0)
    padded = [np.pad(volume, 20) for volume in (noisy * mask, reference * mask, mask)]
    garbage = np.where(mask, noisy, 100.0)
    for figures in (compare_arrays(*padded, 2.0), compare_arrays(garbage, reference, mask, 2.0)):
        for name, value in alone.items():
            assert figures[name] == pytest.approx(value, rel=1e-6), name


def test_a_masked_background_inflates_the_whole_volume_s_psnr_by_its_share(pair):
    reference, _, mask = pair
    noisy = reference + np.random.default_rng(5).normal(0, 0.2, reference.shape)
    inside = compare_arrays(noisy * mask, reference * mask, mask, 2.0, names=("PSNR",))["PSNR"]
    whole = compare_arrays(noisy * mask, reference * mask, None, 2.0, names=("PSNR",))["PSNR"]
    assert whole - inside == pytest.approx(-10 * np.log10(mask.mean()), rel=1e-6)


def test_tenengrad_equals_scikit_image_s_sobel():
    volume = smooth_noise((5, 30, 32), 0.7)
    everywhere = np.ones(volume.shape, dtype=bool)
    # scikit-image divides the kernel by 4 and the magnitude by sqrt 2; sobel_h and sobel_v only by 4.
    expected = [4 * np.hypot(sobel_h(plane), sobel_v(plane))[1:-1, 1:-1] for plane in volume]
    assert tenengrad(volume, everywhere) == pytest.approx(np.mean(expected), rel=1e-5)
    above = [np.where(plane > 2.0, plane, 0.0) for plane in expected]
    assert tenengrad(volume, everywhere, threshold=2.0) == pytest.approx(np.mean(above), rel=1e-4)


def test_tenengrad_of_a_ramp_is_eight_times_its_slope():
    ramp = np.broadcast_to(0.25 * np.arange(20.0), (6, 18, 20))
    assert tenengrad(ramp, np.ones(ramp.shape, dtype=bool)) == pytest.approx(8 * 0.25)
    assert tenengrad(ramp, np.ones(ramp.shape, dtype=bool), slice_axis=2) == pytest.approx(0.0)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_sharpness_ratios_of_a_known_gain(pair, gain):
    reference, _, mask = pair
    figures = compare_arrays(gain * reference, reference, mask, 2.0)
    assert figures["Tenengrad ratio"] == pytest.approx(gain, rel=1e-5)
    assert figures["Through-plane ratio"] == pytest.approx(gain, rel=1e-5)
    assert figures["Spectrum ratio"] == pytest.approx(gain**2, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.6, 1.0])
def test_spectrum_ratio_of_a_known_blur(sigma):
    """White noise has a flat spectrum: the ratio is the mean of the blur's squared transfer function over the band."""
    white = np.random.default_rng(6).normal(size=(48, 48, 48))
    blurred = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=8)
    axis = np.fft.fftfreq(48)
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(axis, axis, axis, indexing="ij")))
    band = (radius >= 0.25) & (radius <= 0.5)
    point = np.zeros(white.shape)
    point[0, 0, 0] = 1.0
    transfer = np.abs(np.fft.fftn(ndimage.gaussian_filter(point, sigma, mode="wrap", truncate=8))) ** 2
    expected = transfer[band].mean()
    everywhere = np.ones(white.shape, dtype=bool)
    assert spectrum_ratio(blurred, white, everywhere) == pytest.approx(expected, rel=0.05)
    ball = np.linalg.norm(np.indices(white.shape) - 23.5, axis=0) < 20
    assert spectrum_ratio(blurred, white, ball) == pytest.approx(expected, rel=0.15)


def test_spectrum_ratio_respects_the_voxel_size():
    """Blurred along the fine axis only, below the coarse axis' resolution: no difference in the compared band."""
    white = np.random.default_rng(7).normal(size=(24, 48, 48))
    everywhere = np.ones(white.shape, dtype=bool)
    fine_only = white + 0.5 * np.cos(np.pi * np.arange(48))  # at the fine axis' Nyquist frequency, 0.5 per mm
    assert spectrum_ratio(fine_only, white, everywhere, spacing=(4.0, 1.0, 1.0)) == pytest.approx(1.0, rel=1e-6)


def test_blur_noise_and_loose_slices_are_told_apart():
    reference = smooth_noise((32, 40, 40), 1.2)
    everywhere = np.ones(reference.shape, dtype=bool)
    rng = np.random.default_rng(8)
    blurred = ndimage.gaussian_filter(reference, 1.0)
    noisy = reference + rng.normal(0, 0.3, reference.shape)
    loose = reference + rng.normal(0, 0.3, (32, 1, 1))  # each slice has its own brightness
    found = {
        name: compare_arrays(volume, reference, everywhere, 2.0)
        for name, volume in (("blurred", blurred), ("noisy", noisy), ("loose", loose))
    }
    for name in ("Tenengrad ratio", "Spectrum ratio", "Through-plane ratio"):
        assert found["blurred"][name] < 0.8, name
        assert found["noisy"][name] > 1.05, name
    assert found["loose"]["Through-plane ratio"] > 1.3
    assert found["loose"]["Tenengrad ratio"] == pytest.approx(1.0, abs=1e-6)
    assert through_plane_ratio(loose, reference, everywhere, axis=2) == pytest.approx(1.0, abs=1e-6)


def test_a_shift_by_one_voxel_lowers_likeness_but_not_sharpness():
    reference = smooth_noise((32, 40, 40), 1.2)
    figures = compare_arrays(np.roll(reference, 1, axis=2), reference, None, 2.0)
    expected = np.exp(-1 / (4 * 1.2**2))  # the autocorrelation of a texture of Gaussian-blurred white noise
    assert figures["NCC"] == pytest.approx(expected, abs=0.03)
    for name in ("Tenengrad ratio", "Spectrum ratio", "Through-plane ratio"):
        assert figures[name] == pytest.approx(1.0, abs=0.02), name


def test_an_empty_mask_or_other_shapes_are_refused(pair):
    reference, shifted, mask = pair
    with pytest.raises(ValueError, match="empty"):
        compare_arrays(shifted, reference, np.zeros_like(mask), 2.0)
    with pytest.raises(ValueError, match="shapes"):
        compare_arrays(shifted[1:], reference, mask, 2.0)


def test_a_constant_reference_leaves_undefined_figures_undefined(pair):
    _, shifted, mask = pair
    figures = compare_arrays(shifted, np.ones_like(shifted), mask, 2.0)
    for name in ("NCC", "Tenengrad ratio", "Spectrum ratio", "Through-plane ratio"):
        assert np.isnan(figures[name]), name


# Inside a mask: every figure once more, by other means


def half_frequency_power(volume: np.ndarray, mask: np.ndarray) -> float:
    """Power between half and the whole Nyquist frequency; the squared-sine edge is 3 voxels wide."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    window = np.where(depth >= 4, 1.0, np.sin(np.pi * (depth - 1).clip(0) / 6) ** 2)
    spectrum = np.abs(scipy.fft.fftn((volume.astype(float) - volume[mask].mean(dtype=float)) * window)) ** 2
    distance = np.linalg.norm(np.stack(np.meshgrid(*map(scipy.fft.fftfreq, volume.shape), indexing="ij")), axis=0)
    return float(spectrum[(distance >= 0.25) & (distance <= 0.5)].sum())


def sobel_within_slices(volume: np.ndarray, mask: np.ndarray) -> float:
    outside_is_zero = np.where(mask, volume, 0).astype(float)
    found = []
    for plane, inside in zip(outside_is_zero, mask, strict=True):
        magnitude = 4 * np.hypot(sobel_h(plane), sobel_v(plane))
        found.append(magnitude[binary_erosion(inside, np.ones((3, 3)))])
    return float(np.concatenate(found).mean())


def jump_between_slices(volume: np.ndarray, mask: np.ndarray) -> float:
    steps = [
        abs(float(volume[z + 1, y, x]) - float(volume[z, y, x]))
        for z, y, x in zip(*np.nonzero(mask[:-1] & mask[1:]), strict=True)
    ]
    return float(np.mean(steps))


def scikit_image_ssim(made: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """The mean inside of the map of the volumes cut out; the mask keeps a window's width from the border."""
    _, similarity = structural_similarity(
        *(np.where(mask, volume, 0).astype(float) for volume in (made, real)), data_range=2.0, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, K1=0.01, K2=0.03,
    )  # fmt: skip
    return float(similarity[mask].mean())


INDEPENDENT = {
    "MAE": lambda made, real, mask: mean_absolute_error(real[mask], made[mask]),
    "MSE": lambda made, real, mask: mean_squared_error(real[mask], made[mask]),
    "RMSE": lambda made, real, mask: np.linalg.norm((made - real)[mask].astype(float)) / np.sqrt(mask.sum()),
    "PSNR": lambda made, real, mask: peak_signal_noise_ratio(real[mask], made[mask], data_range=2.0),
    "SSIM": scikit_image_ssim,
    # One scale fits into this mask: more are compared with MONAI above.
    "MS-SSIM": scikit_image_ssim,
    "NCC": lambda made, real, mask: scipy.stats.pearsonr(made[mask], real[mask]).statistic,
    "NMI": lambda made, real, mask: normalized_mutual_information(made[mask], real[mask], bins=100),
    "Tenengrad ratio": lambda made, real, mask: sobel_within_slices(made, mask) / sobel_within_slices(real, mask),
    "Spectrum ratio": lambda made, real, mask: half_frequency_power(made, mask) / half_frequency_power(real, mask),
    "Through-plane ratio": lambda made, real, mask: jump_between_slices(made, mask) / jump_between_slices(real, mask),
}


def test_every_metric_has_an_independent_implementation():
    assert set(INDEPENDENT) == set(METRICS)


@pytest.mark.parametrize("name", INDEPENDENT)
def test_inside_a_mask_it_agrees_with_the_independent_implementation(name):
    real = smooth_noise((44, 44, 44), 1.2, seed=9)
    made = ndimage.gaussian_filter(1.1 * real, 0.5) + np.random.default_rng(10).normal(0.05, 0.1, real.shape)
    mask = np.linalg.norm(np.indices(real.shape) - 21.5, axis=0) < 10.5  # a ball 20 voxels across
    figure = compare_arrays(made, real, mask, 2.0, names=(name,))[name]
    # The program computes within the mask's bounding box, where the frequencies of the spectrum are others.
    box = ndimage.find_objects(mask.astype(int))[0]
    cut = [volume[box] if name == "Spectrum ratio" else volume for volume in (made, real, mask)]
    assert figure == pytest.approx(float(INDEPENDENT[name](*cut)), rel=2e-5)


def test_figures_of_known_noise():
    """Gaussian noise of SD s on white noise of SD 1: powers add, and every gradient is Gaussian."""
    rng, s = np.random.default_rng(11), 0.75
    reference = rng.normal(size=(48, 48, 48))
    figures = compare_arrays(reference + rng.normal(0, s, reference.shape), reference, None, 8.0)
    assert figures["MAE"] == pytest.approx(s * np.sqrt(2 / np.pi), rel=0.02)
    assert figures["MSE"] == pytest.approx(s**2, rel=0.02)
    assert figures["RMSE"] == pytest.approx(s, rel=0.01)
    assert figures["NCC"] == pytest.approx(1 / np.sqrt(1 + s**2), rel=0.01)
    assert figures["Tenengrad ratio"] == pytest.approx(np.sqrt(1 + s**2), rel=0.01)
    assert figures["Through-plane ratio"] == pytest.approx(np.sqrt(1 + s**2), rel=0.01)
    assert figures["Spectrum ratio"] == pytest.approx(1 + s**2, rel=0.03)


def test_ssim_of_two_uniform_volumes_is_its_luminance_term():
    first, second = (np.full((48, 48, 48), value) for value in (1.2, 0.8))
    figures = compare_arrays(first, second, None, 2.0, names=("SSIM", "MS-SSIM"))
    constant = (0.01 * 2.0) ** 2
    luminance = (2 * 1.2 * 0.8 + constant) / (1.2**2 + 0.8**2 + constant)
    assert figures["SSIM"] == pytest.approx(luminance, rel=1e-6)
    # Three scales: contrast and structure agree at each, luminance counts with the coarsest one's weight.
    assert figures["MS-SSIM"] == pytest.approx(luminance ** (0.3001 / 0.6305), rel=1e-6)


def test_mutual_information_of_known_dependence():
    """2 whatever the gray values are called, 1 when one tells nothing about the other."""
    rng = np.random.default_rng(12)
    tissue = rng.integers(0, 4, (40, 40, 40))
    renamed = np.array([30.0, 5.0, 80.0, 41.0])[tissue]
    unrelated = rng.integers(0, 4, tissue.shape)
    figure = [compare_arrays(made, tissue, None, 3.0, names=("NMI",))["NMI"] for made in (renamed, unrelated)]
    assert figure == pytest.approx([2.0, 1.0], abs=1e-3)


def test_whole_slice_figures_are_those_of_masked_slices():
    """What the literature measures: axial slices of a brain on black; what lies outside the brain does not count."""
    rng = np.random.default_rng(0)
    inside = np.zeros((6, 30, 32), bool)
    inside[1:5, 6:24, 8:26] = True
    real, made = rng.uniform(0, 1.2, inside.shape), rng.uniform(0, 1.2, inside.shape)
    found = compare_arrays(made, real, inside, 1.2, names=list(SLICE_METRICS))
    black = [np.where(inside, volume, 0.0) for volume in (made, real)]
    by_hand = [peak_signal_noise_ratio(black[1][z], black[0][z], data_range=1.2) for z in range(1, 5)]
    assert found["PSNR whole slice"] == pytest.approx(np.mean(by_hand))
    errors = [np.sqrt(np.mean((black[0] - black[1])[z] ** 2)) for z in range(1, 5)]
    assert found["RMSE whole slice"] == pytest.approx(np.mean(errors))
    ssim = [global_ssim(black[0][z], black[1][z], 1.2) for z in range(1, 5)]
    assert found["SSIM global"] == pytest.approx(np.mean(ssim))
    sharp = [slice_tenengrad(black[0][z], (0, 1.2)) for z in range(1, 5)]
    assert found["Tenengrad"] == pytest.approx(np.mean(sharp))
    turned = [np.moveaxis(volume, 0, 2) for volume in (made, real, inside)]
    assert compare_arrays(*turned, 1.2, names=list(SLICE_METRICS), slice_axis=2) == pytest.approx(found)
