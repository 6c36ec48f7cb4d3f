"""Rigid co-registration of a reference: known motions of a real head, and what cannot be aligned."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation import compare
from modality_synthesis.evaluation.alignment import align
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, image_like, read_image, same_geometry


@pytest.fixture(scope="module")
def head(sample_head) -> sitk.Image:
    return resample_isotropic(read_image(sample_head), 4.0)


def moved(image: sitk.Image, degrees: tuple[float, ...], shift: tuple[float, ...]) -> tuple[sitk.Image, sitk.Transform]:
    """The head in another place, and the transform from the head's world to that place."""
    motion = sitk.Euler3DTransform()
    motion.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()]))
    motion.SetRotation(*np.deg2rad(degrees).tolist())
    motion.SetTranslation(shift)
    grid = sitk.ConstantPad(image, [6] * 3, [6] * 3, 0.0)
    return sitk.Resample(image, grid, motion.GetInverse(), sitk.sitkLinear, 0.0), motion


def test_a_known_motion_is_found_and_undone(head, tmp_path):
    reference, motion = moved(head, (12.0, -6.0, 9.0), (15.0, -10.0, 12.0))
    # A synthesis is not the reference itself: another contrast, some noise.
    noise = np.random.default_rng(0).normal(0, 3, array(head).shape)
    synthetic = image_like(np.sqrt(np.maximum(array(head), 0)) * 8 + noise, head)
    result = compare(synthetic, reference, tmp_path, register=True)
    found = result.alignment
    corners = [head.TransformIndexToPhysicalPoint(index) for index in ((5, 5, 5), (40, 50, 40), (10, 50, 30))]
    for point in corners:
        expected = np.array(motion.TransformPoint(point))
        assert np.linalg.norm(np.array(found.transform.TransformPoint(point)) - expected) < 0.5
        assert np.allclose((found.matrix @ [*point, 1])[:3], found.transform.TransformPoint(point), atol=1e-6)
    assert found.correlation[0] < 0.8 < 0.9 < found.correlation[1]
    assert same_geometry(result.difference, synthetic)
    aligned = read_image(tmp_path / "reference_aligned.nii.gz")
    assert same_geometry(aligned, synthetic)
    assert np.corrcoef(array(aligned).ravel(), array(head).ravel())[0, 1] > 0.97
    record = json.loads((tmp_path / "metrics.json").read_text())["registration"]
    assert np.allclose(record["transform"]["matrix"], found.matrix)
    assert record["mutual_information_after"] > 2 * record["mutual_information_before"]


def test_the_same_volumes_give_the_same_transform(head):
    reference, _ = moved(head, (3.0, 2.0, -4.0), (4.0, 5.0, -6.0))
    first, second = (align(reference, head).transform.GetParameters() for _ in range(2))
    assert first == second


def test_volumes_in_place_stay_in_place(head):
    found = align(head, head)
    assert found.shift_mm < 0.1
    assert found.rotation_degrees < 0.1
    np.testing.assert_allclose(array(found.image), array(head), atol=0.02 * array(head).max())


def test_what_does_not_agree_is_refused(head):
    noise = image_like(np.random.default_rng(1).normal(100, 20, array(head).shape), head)
    with pytest.raises(BadInputError, match="same person"):
        align(noise, head)
    with pytest.raises(BadInputError, match="constant"):
        align(head, head * 0.0)


def test_another_person_s_head_is_aligned_with_a_warning(head, shared_subjects):
    other = resample_isotropic(read_image(shared_subjects / "sub-colin27_T1w.nii.gz"), 4.0)
    reporter = Reporter()
    align(other, head, reporter)
    assert any("agrees poorly" in warning for warning in reporter.warnings)
