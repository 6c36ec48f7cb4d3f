"""Statistics against published tables, other packages' figures and simulated people with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from modality_synthesis.evaluation.calibration import calibrate
from modality_synthesis.evaluation.statistics import (
    agreement,
    bootstrap_interval,
    grouping,
    holm,
    icc_2_1,
    independent_test,
    paired_tests,
    per_patient,
    subgroups,
)


def test_bootstrap_interval_covers_the_mean_at_about_its_level():
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(1.0, 0.5, 25), seed=index, draws=400) for index in range(200)]
    covered = np.mean([found.low <= 1.0 <= found.high for found in intervals])
    assert 0.88 <= covered <= 0.98


def test_bootstrap_interval_has_the_standard_error_s_width():
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = bootstrap_interval(values)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert bootstrap_interval(values) == found
    alone = bootstrap_interval(np.array([1.0, np.nan]))
    assert (alone.value, alone.count) == (1.0, 1)
    assert np.isnan(alone.low)


def test_visits_are_averaged_before_people_are_counted():
    order, means = per_patient([1.0, 3.0, 5.0, np.nan, 7.0], ["a", "a", "b", "b", "c"])
    assert order == ["a", "b", "c"]
    np.testing.assert_allclose(means, [2.0, 5.0, 7.0])


def test_holm_equals_statsmodels():
    # statsmodels.stats.multitest.multipletests([.01, .04, .03, .005], method="holm")
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.04, np.nan, 0.9]), [0.08, np.nan, 0.9])


def test_wilcoxon_and_paired_t_of_textbook_data():
    # R: wilcox.test(x, y, paired = TRUE) and t.test(x, y, paired = TRUE) of the depression scale data of
    # Hollander & Wolfe 1973 (?wilcox.test): V = 40, p = 0.03906 two-sided; the t-test gives p = 0.01618.
    first = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    second = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    (found,) = paired_tests({"A": {"MAE": first}, "B": {"MAE": second}})
    assert found.wilcoxon_p == pytest.approx(0.03906, abs=1e-5)
    t = (first - second).mean() / ((first - second).std(ddof=1) / 3)
    assert t == pytest.approx(3.0354, abs=1e-4)
    assert found.t_p == pytest.approx(0.01618, abs=1e-4)
    assert found.wilcoxon_p_holm == found.wilcoxon_p
    assert found.difference.value == pytest.approx(0.43189, abs=1e-4)


def test_five_patients_cannot_reach_a_small_wilcoxon_p():
    """The DRUNet paper reports P < 0.001 with five test patients: a paired test cannot."""
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    (found,) = paired_tests({"A": {"m": first}, "B": {"m": first - [10.0, 11.0, 12.0, 13.0, 14.0]}})
    assert found.wilcoxon_p == found.smallest_possible_p == 0.0625


def test_all_tests_of_a_study_are_one_holm_family():
    rng = np.random.default_rng(1)
    scores = {name: {m: rng.normal(size=12) for m in ("MAE", "SSIM")} for name in ("A", "B", "C")}
    tests = paired_tests(scores)
    assert [(t.first, t.second, t.metric) for t in tests][:2] == [("A", "B", "MAE"), ("A", "B", "SSIM")]
    np.testing.assert_allclose([t.wilcoxon_p_holm for t in tests], holm([t.wilcoxon_p for t in tests]))
    assert len(paired_tests(scores, pairs=[("A", "C")])) == 2


def test_independent_t_test_of_student_s_sleep_data():
    # R: t.test(extra ~ group, data = sleep): Welch p = 0.07939; var.equal = TRUE: t = -1.8608, p = 0.07919,
    # 95 % interval -3.363874 to 0.203874.
    drug1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    drug2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    found = independent_test(drug1, drug2)
    assert found.t == pytest.approx(-1.8608, abs=1e-4)
    assert found.p == pytest.approx(0.07919, abs=1e-5)
    assert found.welch_p == pytest.approx(0.07939, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-3.363874, 0.203874), abs=1e-5)


def test_icc_of_shrout_and_fleiss():
    """Table 2 and 4 of Shrout 1979: ICC(2,1) = .29; its interval by McGraw 1996 is .02 to .76."""
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    found = icc_2_1(table)
    assert found.value == pytest.approx(0.2898, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.0188, 0.7611), abs=1e-4)


def test_bland_altman_limits_of_the_original_paper():
    """Peak flow of Bland and Altman 1986 (Lancet): bias -2.1, SD 38.8, limits -79.7 and 75.5 l/min."""
    wright = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427], float)
    mini = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451], float)
    found = agreement(wright, mini)
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    # The paper uses +- 2 SD; 1.96 SD is meant today.
    assert found.limits == pytest.approx((-2.1 - 1.96 * 38.8, -2.1 + 1.96 * 38.8), abs=0.2)
    # Interval of the bias in the paper: -22.0 to 17.8 (t = 2.12).
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.15)


def test_regression_to_the_mean_shows_as_a_slope_below_one():
    rng = np.random.default_rng(2)
    measured = rng.normal(1.4, 0.3, 200)
    synthetic = 1.4 + 0.6 * (measured - 1.4) + rng.normal(0, 0.05, 200)
    found = agreement(synthetic, measured)
    assert found.slope == pytest.approx(0.6, abs=0.03)
    assert found.slope_interval[0] < 0.6 < found.slope_interval[1] < 0.7
    assert found.bias.value == pytest.approx(0, abs=0.02)
    assert found.proportional_slope < -0.3
    assert found.proportional_p < 1e-6
    same = agreement(measured, measured)
    assert (same.slope, same.icc.value, same.mae) == pytest.approx((1.0, 1.0, 0.0))
    assert agreement(measured[:2], measured[:2]) is None


def test_calibrated_uncertainty_covers_its_levels_and_ranks_the_errors():
    rng = np.random.default_rng(4)
    spread = rng.uniform(0.1, 1.0, (30, 30, 30))
    error = rng.normal(0, spread)
    inside = np.ones(error.shape, dtype=bool)
    right = calibrate(error, spread, inside)
    assert right.coverage == pytest.approx(right.levels, abs=0.01)
    assert right.width[-1] == pytest.approx(2 * 1.96 * spread.mean(), rel=1e-3)
    timid, bold = calibrate(error, 2 * spread, inside), calibrate(error, spread / 2, inside)
    assert timid.coverage[2] > 0.95
    assert bold.coverage[2] < 0.6
    assert right.ause == pytest.approx(bold.ause)  # a ranking does not know the scale
    assert right.sparsification[-1] < 0.3 * right.sparsification[0]
    shuffled = calibrate(error, rng.permutation(spread.ravel()).reshape(spread.shape), inside)
    assert abs(shuffled.spearman) < 0.02 < 0.3 < right.spearman
    flat = calibrate(error, np.full(error.shape, 0.5), inside)
    assert flat.sparsification == pytest.approx([np.abs(error).mean()] * 20)
    assert np.isnan(flat.spearman)
    assert calibrate(error, np.abs(error), inside).ause == pytest.approx(0, abs=1e-12)
    assert shuffled.ause > 2 * right.ause


def test_a_disadvantaged_group_stands_out():
    rng = np.random.default_rng(5)
    sex = ["F", "M"] * 30 + [None]
    errors = np.where([s == "F" for s in sex], 0.3, 0.2) + rng.normal(0, 0.02, 61)
    rows = {(row.group, row.metric): row for row in subgroups({"MAE": errors}, {"sex": sex})}
    assert rows["F", "MAE"].gap == pytest.approx(0.1, abs=0.02)
    assert rows["M", "MAE"].gap == pytest.approx(-0.1, abs=0.02)
    assert rows["F", "MAE"].p_holm < 1e-6
    assert rows["F", "MAE"].value.count == 30
    # In equal groups few tests reach 5 %: the test itself is honest.
    fair = [subgroups({"MAE": rng.normal(size=60)}, {"sex": sex[:60]})[0].p for _ in range(100)]
    assert np.mean(np.array(fair) < 0.05) < 0.12


def test_columns_become_groups():
    assert grouping(["F", "M", "F", None]) == ["F", "M", "F", None]
    ages = [str(age) for age in range(60, 80)]
    assert grouping(ages)[:2] == ["up to 69.5", "up to 69.5"]
    assert set(grouping(ages)) == {"up to 69.5", "above 69.5"}
    assert grouping(["x", "x", "x"]) is None
    assert grouping(["a", "b", "c"]) is None  # a name for each patient is no group


def test_no_interval_under_five_patients():
    four, five = np.array([1.0, 1.2, 0.9, 1.1]), np.array([1.0, 1.2, 0.9, 1.1, 1.3])
    assert bootstrap_interval(four).value == pytest.approx(1.05)
    for found, known in ((bootstrap_interval(four), False), (bootstrap_interval(five), True)):
        assert np.isfinite([found.low, found.high]).all() == known
    few, enough = agreement(four + 0.1, four), agreement(five + np.array([0.1, 0.2, 0.1, 0.0, 0.1]), five)
    assert few.bias.value == pytest.approx(0.1)
    assert np.isnan([few.bias.low, few.icc.low, few.slope_interval[0]]).all()
    assert np.isfinite([enough.bias.low, enough.icc.low, enough.slope_interval[0]]).all()
    assert np.isnan(independent_test(four, five).low)


def test_the_terminal_shows_a_figure_without_an_interval():
    from modality_synthesis.evaluation.document import interval

    assert "[" not in interval(0.1, float("nan"), float("nan"))
    assert interval(0.1, 0.05, 0.15).replace("\N{NO-BREAK SPACE}", " ") == "0.100 [0.050, 0.150]"
