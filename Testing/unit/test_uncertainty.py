"""Several samples: their mean and standard deviation, and who may not draw them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import UsageError
from modality_synthesis.synthesis.moments import RunningMoments
from modality_synthesis.synthesis.pipeline import check_samples
from modality_synthesis.volumes import write_sidecar


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
    ("stochastic", "samples", "uncertainty", "message"),
    [
        (False, 4, "b.nii.gz", "m is deterministic"),
        (False, 2, None, "m is deterministic"),
        (True, 1, "b.nii.gz", "at least two samples"),
        (True, 0, None, "At least one sample"),
    ],
)
def test_what_does_not_go_together_is_refused(stochastic, samples, uncertainty, message):
    with pytest.raises(UsageError, match=message):
        check_samples(card(stochastic), samples, uncertainty)


def test_what_goes_together_goes():
    check_samples(card(False), 1)
    check_samples(card(True), 5, "b.nii.gz")


def test_volumes_and_their_sidecars_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    from modality_synthesis.synthesis import pipeline

    image = sitk.Image(4, 4, 4, sitk.sitkFloat32)
    files = [
        pipeline._File(tmp_path / name, image, {"SyntheticData": True}, "SYNTHETIC") for name in ("a.nrrd", "b.nrrd")
    ]
    pipeline._write(files, None)
    assert {path.name for path in tmp_path.iterdir()} == {"a.nrrd", "a.json", "b.nrrd", "b.json"}

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(path, record):
        if path.name == "b.nrrd":
            raise OSError("disk full")
        return write_sidecar(path, record)

    monkeypatch.setattr(pipeline, "write_sidecar", fail)
    with pytest.raises(OSError, match="disk full"):
        pipeline._write([replace(file, image=image + 1) for file in files], None)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
