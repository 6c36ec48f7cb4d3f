"""Baselines against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from modality_synthesis.evaluation.baselines import COPY, LINEAR, MEAN, TISSUE, Baselines, fit_baselines


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
    np.testing.assert_allclose(predicted[LINEAR], unseen["target"], atol=0.05)
    np.testing.assert_allclose(predicted[MEAN], intercept + 0.5 * slope, atol=0.4)
    worse = np.abs(predicted[MEAN] - unseen["target"]).mean()
    assert np.abs(predicted[LINEAR] - unseen["target"]).mean() < 0.1 * worse


def test_the_copy_of_the_input_has_one_scale_for_everybody(tmp_path):
    rng = np.random.default_rng(5)
    ones = np.ones((8, 8, 8), dtype=np.uint8)

    def sample() -> dict[str, np.ndarray]:
        source = rng.uniform(0, 1, (8, 8, 8))
        return {"source": source, "target": 0.5 + 2.0 * source, "region": ones, "brain": ones}

    baselines = fit_baselines(sample() for _ in range(10))
    assert baselines.scale == pytest.approx([0.5, 2.0], abs=1e-3)
    unseen = sample()
    predicted = baselines.predict(unseen)
    np.testing.assert_allclose(predicted[COPY], unseen["target"], atol=1e-3)
    assert TISSUE in predicted
    assert TISSUE not in baselines.predict(unseen, tissue=False)
    baselines.save(tmp_path / "fitted.safetensors")
    again = Baselines.load(tmp_path / "fitted.safetensors").predict(unseen)
    for name, volume in predicted.items():
        np.testing.assert_array_equal(again[name], volume)
