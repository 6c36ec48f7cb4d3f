"""What synthetic volumes are worth downstream: classification, fairness, sensitivity, surface projections."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from modality_synthesis.evaluation.classification import classify, roi_features, scores
from modality_synthesis.evaluation.fairness import age_group, fairness
from modality_synthesis.evaluation.sensitivity import sensitivity
from modality_synthesis.evaluation.surface import Normals, brain_surface, project, save_surface
from modality_synthesis.evaluation.volume_classifier import VolumeClassifier


def cohort(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twenty patients of each class with two visits each: informative features, labels, patients."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(40), 2)
    labels = (patients >= 20).astype(int)
    return labels[:, None] * 3.0 + rng.normal(size=(80, 4)), labels, patients


def test_figures_are_scikit_learn_s():
    rng = np.random.default_rng(1)
    truth, probabilities = rng.integers(0, 2, 60), rng.random(60).round(1)
    found = scores(truth, probabilities)
    assert found["balanced accuracy"] == pytest.approx(balanced_accuracy_score(truth, probabilities >= 0.5))
    assert found["F1"] == pytest.approx(f1_score(truth, probabilities >= 0.5))
    assert found["AUC"] == pytest.approx(roc_auc_score(truth, probabilities))


def test_informative_inputs_classify_and_noise_does_not():
    features, labels, patients = cohort()
    noise = np.random.default_rng(5).normal(size=features.shape)
    found = classify({"signal": features, "noise": noise}, labels, patients, draws=200)
    assert found["signal"].figures["AUC"].value > 0.95
    interval = found["noise"].figures["AUC"]
    assert interval.low < interval.value < interval.high
    assert interval.high < found["signal"].figures["AUC"].low


def test_a_patient_is_not_recognized_from_another_visit():
    _, _, patients = cohort()
    rng = np.random.default_rng(2)
    identity = rng.normal(size=(40, 200))[patients]  # the same for both visits: leaks if a patient is in two folds
    labels = rng.permutation(np.repeat([0, 1], 20))[patients]
    found = classify({"identity": identity}, labels, patients, draws=50)
    assert found["identity"].figures["AUC"].value < 0.75


def test_unknown_features_are_filled_in_and_too_few_people_refused():
    features, labels, patients = cohort()
    features[::3, 1] = np.nan
    features[:, 3] = np.nan
    assert classify({"a": features}, labels, patients, draws=50)["a"].figures["AUC"].value > 0.9
    with pytest.raises(ValueError, match="as many patients"):
        classify({"a": features[:44]}, labels[:44], patients[:44])


def test_region_means():
    labels = np.zeros((4, 4, 4), dtype=np.uint16)
    labels[0], labels[1] = 7, 9
    means = roi_features(np.arange(64.0).reshape(4, 4, 4), labels, (9, 7, 11))
    assert means[:2].tolist() == [23.5, 7.5]
    assert np.isnan(means[2])


def test_the_small_network_finds_a_bright_corner():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 8)
    volumes = rng.normal(0, 0.3, (16, 12, 12, 12)).astype(np.float32)
    volumes[labels == 1, :5, :5, :5] += 3
    made = VolumeClassifier(channels=4, epochs=25, learning_rate=5e-3).fit(volumes[:12], labels[:12])
    probabilities = made.predict_proba(volumes[12:])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert ((probabilities[:, 1] > 0.5) == (labels[12:] == 1)).all()


def test_a_gap_between_groups_is_found_and_chance_is_not_taken_for_one():
    rng = np.random.default_rng(0)
    groups = ["F"] * 30 + ["M"] * 30 + [None, "other"]
    errors = np.concatenate([rng.normal(0.10, 0.01, 30), rng.normal(0.13, 0.01, 30), [9.0, 9.0]])
    found = fairness("sex", groups, errors)
    assert [(row.group, row.people) for row in found.rows] == [("F", 30), ("M", 30)]
    assert found.low < 0.03 < found.high
    assert found.p_value < 0.01
    alike = fairness("sex", groups, rng.normal(0.1, 0.01, 62))
    assert alike.p_value > 0.05
    with pytest.raises(ValueError, match="two groups"):
        fairness("sex", ["F"] * 9, [0.0] * 9)


def test_age_groups():
    assert [age_group(age) for age in (64.9, 65, 74.9, 75, None)] == [
        "below 65", "65 to 74", "65 to 74", "75 and above", None,
    ]  # fmt: skip


def test_sensitivity_ranks_variables_and_keeps_the_sign():
    brain = np.ones((2, 2, 2))
    region = np.zeros_like(brain)
    region[0] = 1

    def predict(values):
        age, mmse = (0.0 if np.isnan(value) else value for value in values)
        return np.full((2, 2, 2), 1 - 0.01 * age) + 0.1 * mmse * region

    found = sensitivity(predict, [0.5, float("nan")], ["age", "mmse"], brain, region)
    assert [one.variable for one in found] == ["mmse", "age"]
    assert found[0].change == pytest.approx(0.2)
    assert found[0].absolute == pytest.approx(0.1)
    assert found[0].unknown == pytest.approx(0.0)
    assert found[1].change == pytest.approx(-0.02)
    assert found[1].unknown == pytest.approx(0.005)


@pytest.fixture(scope="module")
def ball():
    """A ball of 40 mm radius on a 4 mm grid (24, 26, 24), its surface, and each voxel's distance from the center."""
    size, spacing = (24, 26, 24), np.array([4.0, 4.0, 4.0])
    center = (np.array(size) - 1) / 2
    distance = np.linalg.norm((np.indices(size).transpose(1, 2, 3, 0) - center) * spacing, axis=-1)
    return brain_surface(distance < 40, spacing), distance


def test_the_maximum_below_the_surface_is_seen_and_what_lies_deeper_is_not(ball):
    surface, distance = ball
    shell = np.where((distance < 34) & (distance > 28), 2.0, 1.0)
    deep = np.where(distance < 18, 5.0, 1.0)
    for name in ("left lateral", "superior", "anterior"):
        seen = project(shell, surface)[name]
        middle = seen[seen.shape[0] // 2 - 2 : seen.shape[0] // 2 + 2, seen.shape[1] // 2 - 2 : seen.shape[1] // 2 + 2]
        assert middle.min() > 1.8
        assert np.nanmax(project(deep, surface)[name]) == pytest.approx(1.0)
    assert np.isnan(seen[0, 0])


def test_each_view_shows_its_own_side(ball):
    surface, distance = ball
    volume = np.ones(distance.shape)
    volume[:, :, :8] = 3.0  # x grows toward the left: this is the right side
    made = project(volume, surface)
    center = {name: values[values.shape[0] // 2, values.shape[1] // 2] for name, values in made.items()}
    assert center["right lateral"] == pytest.approx(3.0)
    assert center["left lateral"] == pytest.approx(1.0)
    assert center["right medial"] == center["left medial"] == pytest.approx(1.0)
    volume = np.ones(distance.shape)
    volume[:, :, 14:16] = 3.0  # near the midline, on the left
    made = project(volume, surface)
    rows, columns = (size // 2 for size in made["left medial"].shape)
    assert made["left medial"][rows, columns] == pytest.approx(3.0)
    assert made["right medial"][rows, columns] == pytest.approx(1.0)


def test_z_scores_are_positive_where_uptake_is_low(ball, tmp_path):
    surface, distance = ball
    normals = [project(np.full(distance.shape, level), surface) for level in (0.9, 1.0, 1.1)]
    patient = np.full(distance.shape, 1.0)
    patient[:, :, :8] = 0.8
    scores_ = Normals.of(normals).z_scores(project(patient, surface))
    rows, columns = (size // 2 for size in scores_["right lateral"].shape)
    assert scores_["right lateral"][rows, columns] == pytest.approx(2.0)
    assert scores_["left lateral"][rows, columns] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="at least 3"):
        Normals.of(normals[:2])
    save_surface(scores_, surface, tmp_path / "z.png", window=(0, 5), title="z-score", units="SD")
    assert (tmp_path / "z.png").read_bytes().startswith(b"\x89PNG")


def test_variables_that_a_diagnosis_is_made_from_are_named():
    from modality_synthesis.evaluation.downstream import clinical_label, defines_groups

    named = ("MMSE", "ADAS-Cog-13", "cdr_sb", "Diagnosis", "group")
    assert [defines_groups(name, "group") for name in named] == [True] * 5
    assert not any(defines_groups(name, "diagnosis") for name in ("age", "sex", "education", "APOE-e4"))
    assert clinical_label(["MMSE"]) == "clinical variables (define the groups: MMSE)"
    assert clinical_label([]) == "clinical variables"
