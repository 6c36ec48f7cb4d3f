"""Per-slice figures and the table of folds on images whose answers are known."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.folds import read_fold_table, write_fold_table
from modality_synthesis.evaluation.slicewise import (
    SLICE_DEFINITIONS,
    global_ssim,
    local_ssim,
    psnr,
    rmse,
    score_slices,
    tenengrad,
    write_slice_scores,
)
from modality_synthesis.volumes import write_image


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    """A smooth random volume in 0..1 inside a ball, 0 outside, and the ball."""
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.standard_normal((12, 60, 64)), (0.8, 1.5, 1.5))
    texture = (texture - texture.min()) / np.ptp(texture)
    z, y, x = np.ogrid[-1:1:12j, -1:1:60j, -1:1:64j]
    ball = z**2 + y**2 + x**2 < 0.8
    return np.where(ball, texture, 0.0).astype(np.float32), ball


def test_tenengrad_of_a_ramp_and_of_an_edge():
    # 8 times the slope: the Sobel operator's weights 1, 2, 1 over a distance of two pixels.
    ramp = np.tile(np.arange(64.0), (20, 1))
    assert tenengrad(ramp[:, 1:-1], (0, 255)) == pytest.approx(8 * (60 + 1) / 62, rel=1e-12)
    edge = np.zeros((20, 50))
    edge[:, 25:] = 1.0
    # Two of fifty columns see the edge, each at 4 x 255.
    assert tenengrad(edge, (0, 1)) == pytest.approx(4 * 255 * 2 / 50)
    assert tenengrad(edge, (0, 1), threshold=4 * 255) == 0
    with pytest.raises(ValueError, match="value_range"):
        tenengrad(edge, (1, 1))


def _sobel_sum(levels: np.ndarray, threshold: float = 300) -> float:
    """The sum over pixels off the border, product by product."""
    total = 0.0
    for i in range(levels.shape[0] - 2):
        for j in range(levels.shape[1] - 2):
            patch = levels[i : i + 3, j : j + 3]
            gx = (patch * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum()
            gy = (patch * [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]).sum()
            magnitude = np.sqrt(gx**2 + gy**2)
            total += magnitude if magnitude > threshold else 0.0
    return total


def test_tenengrad_takes_8_bits_of_the_stated_range():
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 1, (30, 30))
    # A dark rim: the border's own pixels have no gradient.
    image = np.pad(image[2:-2, 2:-2], 2, mode="constant", constant_values=0)
    expected = _sobel_sum(np.round(255 * image)) / image.size
    assert tenengrad(image, (0, 1), threshold=300) == pytest.approx(expected)
    assert tenengrad(1000 * image - 500, (-500, 500), threshold=300) == pytest.approx(expected)


def test_psnr_and_ssim_equal_scikit_image(head):
    volume = head[0][6]
    made = volume + 0.1 * np.random.default_rng(4).standard_normal(volume.shape).astype(np.float32)
    assert psnr(made, volume, 1.0) == pytest.approx(peak_signal_noise_ratio(volume, made, data_range=1.0))
    expected = structural_similarity(
        volume.astype(float), made.astype(float), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )[1].mean()  # fmt: skip
    assert local_ssim(made, volume, 1.0) == pytest.approx(expected, rel=1e-9)


def test_global_ssim_is_wang_s_formula_with_one_window():
    x, y = np.array([[0.0, 1], [2, 3]]), np.array([[1.0, 1], [3, 5]])
    mx, my, vx, vy, cov = 1.5, 2.5, 1.25, 2.75, 1.75
    c1, c2 = (0.01 * 5) ** 2, (0.03 * 5) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert global_ssim(x, y, 5) == pytest.approx(expected)
    assert global_ssim(y, y, 5) == pytest.approx(1)


def test_masked_background_flatters_psnr_by_the_brain_s_share(head):
    volume, ball = head
    z = 6
    made = np.where(ball, volume + 0.1, 0.0)
    share = ball[z].mean()
    inside, whole = psnr(made[z], volume[z], 1.0, ball[z]), psnr(made[z], volume[z], 1.0)
    assert inside == pytest.approx(20, rel=1e-5)
    assert whole - inside == pytest.approx(-10 * np.log10(share), rel=1e-5)


def test_scores_of_a_patient(head):
    volume, ball = head
    low, high = -1.0, 3.0
    real = low + (high - low) * volume
    made = np.where(ball, real + 0.2, real)
    scores = score_slices(made, real, ball, (low, high))
    assert list(scores) == list(SLICE_DEFINITIONS)
    assert scores["RMSE"] == pytest.approx(0.2, rel=1e-4)
    assert scores["PSNR"] == pytest.approx(20 * np.log10(4 / 0.2), rel=1e-4)
    assert scores["PSNR whole slice"] > scores["PSNR"]
    assert scores["RMSE whole slice"] < scores["RMSE"]
    blurred = score_slices(gaussian_filter(real, (0, 1, 1)), real, ball, (low, high))
    assert blurred["Tenengrad ratio"] < 0.85
    perfect = score_slices(real, real, ball, (low, high))
    assert perfect["SSIM"] == perfect["SSIM global"] == pytest.approx(1)
    assert perfect["Tenengrad ratio"] == 1
    assert perfect["PSNR"] == float("inf")


def test_a_real_mri_is_brought_to_the_synthetic_one_s_signal(head, tmp_path):
    volume, ball = head
    files = {"made": volume, "real": 700 * volume, "brain": ball.astype(np.float32)}
    for name, values in files.items():
        write_image(sitk.GetImageFromArray(values), tmp_path / f"{name}.nii.gz")
    (tmp_path / "made.json").write_text('{"Quantity": "signal"}')
    paths = [tmp_path / f"{name}.nii.gz" for name in files]
    scores = write_slice_scores(*paths, (0, 1), tmp_path / "slices.json")
    assert scores["SSIM global"] == pytest.approx(1, abs=1e-6)
    assert scores["Tenengrad ratio"] == pytest.approx(1, abs=0.01)
    assert json.loads((tmp_path / "slices.json").read_text())["reference_multiplied_by"] == pytest.approx(1 / 700)


@pytest.mark.parametrize("scale", [1.0, 255.0, 4095.0])
def test_psnr_and_rmse_share_their_scale(scale, head):
    volume = scale * head[0]
    made = volume + 0.02 * scale
    assert psnr(made, volume, scale) == pytest.approx(20 * np.log10(scale / rmse(made, volume)))


def test_scores_refuse_what_cannot_be_compared(head):
    volume, ball = head
    with pytest.raises(ValueError, match="shapes"):
        score_slices(volume[:5], volume, ball, (0, 1))
    with pytest.raises(ValueError, match="empty"):
        score_slices(volume, volume, np.zeros_like(ball), (0, 1))


def write_scores(folder, rows, contenders=("tiny",)) -> None:
    """What an evaluation writes, for some of its columns: patient, predictor and figures of one visit."""
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as stream:
        table = [[f"{row[0]}_ses-{number}", *row] for number, row in enumerate(rows)]
        csv.writer(stream).writerows([["subject", "patient", "predictor", "RMSE", "NCC"], *table])
    (folder / "metrics.json").write_text(json.dumps({"contenders": contenders}))


@pytest.fixture
def folds(tmp_path):
    """Three folds of 2, 2 and 1 patients, p1 with two visits; the second is given by its evaluation folder."""
    first = [["p1", "tiny", 1, 0.5], ["p1", "tiny", 1.5, 0.7], ["p2", "tiny", 1.75, ""], ["p1", "mean", 9, 9]]
    write_scores(tmp_path / "a" / "evaluation", first)
    write_scores(tmp_path / "b", [["p3", "tiny", 3, 0.4], ["p4", "tiny", 4, 0.2]])
    write_scores(tmp_path / "c" / "evaluation", [["p5", "tiny", 5, ""]])
    return [tmp_path / name for name in "abc"]


def test_fold_means_and_the_spread_over_patients(folds, tmp_path):
    table = read_fold_table(folds)
    assert table.patients == [2, 2, 1]
    assert table.figures["RMSE"] == [1.5, 3.5, 5.0]
    assert table.average["RMSE"] == pytest.approx(10 / 3)
    # Over patients, not over visits or fold means: a small fold does not count as much as a large one.
    assert table.mean["RMSE"] == pytest.approx(3)
    assert table.deviation["RMSE"] == pytest.approx(np.std([1.25, 1.75, 3, 4, 5], ddof=1))
    # Not defined for two patients, nor for any of the last fold.
    assert table.figures["NCC"][:2] == pytest.approx([0.6, 0.3])
    assert np.isnan(table.figures["NCC"][2])
    assert (table.mean["NCC"], table.counted["NCC"]) == (pytest.approx(0.4), 3)
    assert table.summary()["NCC"]["folds"][2] is None
    write_fold_table(table, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    named = ["average of folds", "mean over patients", "SD over patients", "patients"]
    assert rows[0] == ["metric", "fold 1", "fold 2", "fold 3", *named]
    assert rows[2] == ["NCC", "0.6", "0.3", "", "0.45", "0.4", "0.2", "3"]
    write_fold_table(table, tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[3] == "| NCC | 0.6 | 0.3 | – | 0.45 | 0.4 | 0.2 | 3 |"


def test_folds_that_are_none_are_refused(folds, tmp_path):
    write_scores(tmp_path / "d", [["p3", "tiny", 3, 0.1]])
    with pytest.raises(BadInputError, match="p3 is a test patient of both"):
        read_fold_table([*folds, tmp_path / "d"])
    with pytest.raises(BadInputError, match="no test scores"):
        read_fold_table([folds[0], tmp_path])
    with pytest.raises(BadInputError, match="at least two"):
        read_fold_table(folds[:1])
    with pytest.raises(BadInputError, match="no scores of 'linear'; it has tiny, mean"):
        read_fold_table(folds, predictor="linear")
    write_scores(tmp_path / "e", [["p6", "other", 3, 0.1]], ["other"])
    with pytest.raises(BadInputError, match=r"several models \(tiny, other\)"):
        read_fold_table([*folds, tmp_path / "e"])
    write_scores(tmp_path / "f", [["p7", "tiny", 3, 0.1]], ["tiny", "other"])
    with pytest.raises(BadInputError, match="--predictor"):
        read_fold_table([*folds, tmp_path / "f"])
    assert read_fold_table([*folds, tmp_path / "f"], predictor="tiny").patients == [2, 2, 1, 1]
