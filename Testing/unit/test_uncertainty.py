"""Several samples: their mean and standard deviation, and who may not draw them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import UsageError
from modality_synthesis.synthesis.moments import RunningMoments
from modality_synthesis.synthesis.pipeline import check_samples


def card(stochastic: bool) -> SimpleNamespace:
    """As much of a card as is asked for."""
    return SimpleNamespace(id="m", inference=SimpleNamespace(stochastic=stochastic))


def test_running_moments_are_numpy_s():
    samples = np.random.default_rng(0).normal(50, 0.1, (9, 3, 4, 5)).astype(np.float32)
    moments = RunningMoments()
    for sample in samples:
        moments.add(sample)
    exact = samples.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.standard_deviation, exact.std(0, ddof=1), rtol=2e-3)
    assert moments.mean.dtype == moments.standard_deviation.dtype == np.float32


def test_samples_are_not_changed_and_one_has_no_deviation():
    sample = np.ones((2, 2), dtype=np.float32)
    moments = RunningMoments()
    moments.add(sample)
    with pytest.raises(ValueError, match="two samples"):
        _ = moments.standard_deviation
    moments.add(np.zeros_like(sample))
    assert (sample == 1).all()
    assert moments.standard_deviation[0, 0] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(
    ("stochastic", "samples", "output", "uncertainty", "message"),
    [
        (False, 4, "a.nii.gz", "b.nii.gz", "m is deterministic"),
        (False, 2, None, None, "m is deterministic"),
        (True, 1, "a.nii.gz", "b.nii.gz", "at least two samples"),
        (True, 0, None, None, "At least one sample"),
        (True, 3, "a.nii.gz", "./a.nii.gz", "files of their own"),
    ],
)
def test_what_does_not_go_together_is_refused(stochastic, samples, output, uncertainty, message):
    with pytest.raises(UsageError, match=message):
        check_samples(card(stochastic), samples, output, uncertainty)


def test_what_goes_together_goes():
    check_samples(card(False), 1)
    check_samples(card(True), 5, "a.nii.gz", "b.nii.gz")


def test_volumes_and_their_sidecars_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    from modality_synthesis.synthesis import pipeline

    image = sitk.Image(4, 4, 4, sitk.sitkFloat32)
    files = [
        pipeline._File(tmp_path / name, image, {"SyntheticData": True}, "SYNTHETIC") for name in ("a.nrrd", "b.nrrd")
    ]
    pipeline._write(files, None)
    assert {path.name for path in tmp_path.iterdir()} == {"a.nrrd", "a.json", "b.nrrd", "b.json"}

    def fail(record, path):
        if path.name == "b.json":
            raise OSError("disk full")

    monkeypatch.setattr(pipeline, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        pipeline._write(files, None)
    assert not any(tmp_path.iterdir())
