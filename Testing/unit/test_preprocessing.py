"""Preprocessing steps: known transforms are recovered, results return to the native grid exactly."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing import (
    ChainParameters,
    Normalize,
    Register,
    Reorient,
    Resample,
    TargetMapping,
    prepare,
    prepare_target,
    restore_target,
)
from modality_synthesis.preprocessing.bias_field import correct_bias_field
from modality_synthesis.preprocessing.brain_mask import brain_mask, hold_to_template
from modality_synthesis.preprocessing.normalize import tissue_levels
from modality_synthesis.preprocessing.parameters import BiasField
from modality_synthesis.preprocessing.registration import mni152, register_to_template
from modality_synthesis.preprocessing.resampling import antialias, model_grid, resample_isotropic
from modality_synthesis.resources import resource
from modality_synthesis.simulation.labels import BRAIN, load_head, membership
from modality_synthesis.simulation.mri import Acquisition, simulate_mri


def dice(first: sitk.Image, second: sitk.Image) -> float:
    a, b = (sitk.GetArrayFromImage(mask) > 0 for mask in (first, second))
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def template() -> tuple[sitk.Image, sitk.Image]:
    image = sitk.ReadImage(str(resource("Atlases", "mni152_T1w_1mm.nii.gz")), sitk.sitkFloat32)
    mask = sitk.ReadImage(str(resource("Atlases", "mni152_brainmask_1mm.nii.gz")), sitk.sitkUInt8)
    return sitk.DICOMOrient(image, "LPS"), sitk.DICOMOrient(mask, "LPS")


def moved(image: sitk.Image, degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> sitk.Image:
    """The same voxels at another place in the world (a change of header)."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad(degrees).tolist())
    turn.SetTranslation(shift)
    result = sitk.Image(image)
    result.SetOrigin(turn.TransformPoint(image.GetOrigin()))
    matrix = np.array(turn.GetMatrix()).reshape(3, 3) @ np.array(image.GetDirection()).reshape(3, 3)
    result.SetDirection(matrix.ravel().tolist())
    return result


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [
        pytest.param((0, 0, 0), (0, 0, 0), marks=pytest.mark.long),
        pytest.param((20, 0, 0), (30, -40, 20), marks=pytest.mark.long),
        ((-12, 14, 18), (5, 60, -30)),
    ],
)
def test_registration_recovers_a_known_displacement(template, degrees, shift):
    image, mask = (moved(volume, degrees, shift) for volume in template)
    found = register_to_template(image, mask)
    assert found.dice > 0.98
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad(degrees).tolist())
    turn.SetTranslation(shift)
    for point in ((0, 0, 0), (60, 0, 0), (0, 80, 0), (0, -60, 40), (0, 0, 70)):
        error = np.subtract(found.transform.TransformPoint(point), turn.TransformPoint(point))
        assert np.linalg.norm(error) < 1.0


@pytest.mark.long
def test_registration_does_not_depend_on_the_number_of_cores(template):
    image, mask = (moved(volume, (10, 5, -8), (10, 0, 0)) for volume in template)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for threads in (1, 2, 5):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            results.append(register_to_template(image, mask).transform.GetParameters())
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
def test_brain_mask_of_a_head_never_seen_in_training():
    labels = sitk.DICOMOrient(load_head("18"), "LPS")
    image = sitk.Cast(simulate_mri(labels, "T1w", np.random.default_rng(0)), sitk.sitkFloat32)
    codes = sitk.GetArrayFromImage(labels)
    brain = sitk.GetImageFromArray(membership(BRAIN)[codes].astype(np.uint8))
    brain.CopyInformation(labels)
    truth = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(brain, [5, 5, 5]))
    assert dice(brain_mask(image), truth) > 0.93


def test_air_around_the_head_does_not_change_the_brain_mask():
    """A field of view 8 cm wider along each axis is the same head."""
    labels = sitk.DICOMOrient(load_head("16"), "LPS")
    image = simulate_mri(labels, "T1w", np.random.default_rng(0), Acquisition((2.5,) * 3))
    image = sitk.Cast(image, sitk.sitkFloat32)
    wide = sitk.ConstantPad(image, [16] * 3, [16] * 3, 0.0)
    found = sitk.Resample(brain_mask(wide), image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert dice(found, brain_mask(image)) > 0.95


def test_no_brain_is_an_error_that_says_so():
    distance = np.linalg.norm(np.indices((80, 80, 80)) - 40, axis=0)
    bottle = sitk.GetImageFromArray(np.where(distance < 15, 100.0, 0.0).astype(np.float32))
    bottle.SetSpacing((2.0, 2.0, 2.0))
    with pytest.raises(BadInputError, match=r"bottle\.nii: no whole brain was found"):
        brain_mask(bottle, name="bottle.nii")


def test_gross_mask_errors_are_held_to_the_template(template):
    _, mask = template
    coarse = resample_isotropic(mask, 2.0, is_mask=True)
    array = sitk.GetArrayFromImage(coarse)
    array[array.shape[0] // 2 :] = 0  # the upper half is missing
    array[:5, :5, :5] = 1  # and a corner far outside was taken for brain
    damaged = sitk.GetImageFromArray(array)
    damaged.CopyInformation(coarse)
    repaired = hold_to_template(damaged, inside_mm=6, outside_mm=6)
    assert dice(damaged, coarse) < 0.80
    assert dice(repaired, coarse) > 0.9
    assert sitk.GetArrayFromImage(repaired)[:5, :5, :5].sum() == 0


def test_bias_field_is_removed(template):
    image, mask = template
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in image.GetSize()[::-1]], indexing="ij")
    field = np.exp(0.3 * grid[0] - 0.2 * grid[1] ** 2 + 0.2 * grid[2]).astype(np.float32)
    clean = sitk.GetArrayFromImage(image)
    biased = sitk.GetImageFromArray(clean * field)
    biased.CopyInformation(image)
    # The template's own slight bias is removed too: the two corrected images are compared with each other.
    expected = sitk.GetArrayFromImage(correct_bias_field(image, mask, BiasField()))
    corrected = sitk.GetArrayFromImage(correct_bias_field(biased, mask, BiasField()))
    inside = (sitk.GetArrayFromImage(mask) > 0) & (clean > 20)
    before = np.log(field[inside]).std()
    after = np.log(corrected[inside] / expected[inside]).std()
    assert before > 0.1
    assert after < 0.25 * before


def test_tissue_normalization_undoes_gain_and_offset(template):
    image, mask = (resample_isotropic(volume, 2.0, is_mask=index == 1) for index, volume in enumerate(template))
    gray, white = tissue_levels(image, mask)
    assert gray < white
    changed = tissue_levels(image * 3.5 + 20.0, mask)
    np.testing.assert_allclose(changed, [gray * 3.5 + 20, white * 3.5 + 20], rtol=1e-4)


def test_antialiasing_keeps_the_mean_and_removes_what_the_grid_cannot_hold():
    checker = (np.indices((40, 40, 40)).sum(axis=0) % 2).astype(np.float32)
    smooth = sitk.GetArrayFromImage(antialias(sitk.GetImageFromArray(checker), (4.0, 4.0, 4.0)))[8:-8, 8:-8, 8:-8]
    assert smooth.mean() == pytest.approx(0.5, abs=0.01)
    assert smooth.std() < 0.01


def test_the_way_back_is_exact_for_a_linear_volume_and_keeps_the_geometry_bit_for_bit(template):
    image, _mask = template
    native = moved(resample_isotropic(image, 2.5), (9, -7, 15), (12, 5, -8))
    native = sitk.Flip(native, [True, False, True])
    state = prepare(native, ChainParameters(source=(Reorient(),)))
    displacement = sitk.AffineTransform(3)
    displacement.Rotate(0, 1, 0.3)
    displacement.Scale(1.1)
    state.to_native = displacement
    state.image = sitk.Resample(native, model_grid(Resample()), displacement, sitk.sitkLinear, 0.0)
    ramp = sitk.PhysicalPointSource(sitk.sitkVectorFloat32, state.image.GetSize(), state.image.GetOrigin(),
                                    state.image.GetSpacing(), state.image.GetDirection())  # fmt: skip
    x_of_template = sitk.VectorIndexSelectionCast(ramp, 0)
    back = state.to_native_grid(x_of_template, background=-999.0)
    assert back.GetSize() == native.GetSize()
    assert back.GetSpacing() == native.GetSpacing()
    assert back.GetOrigin() == native.GetOrigin()
    assert back.GetDirection() == native.GetDirection()
    inverse = displacement.GetInverse()
    checked = 0
    for index in np.random.default_rng(0).integers(0, native.GetSize(), (200, 3)).tolist():
        value = back[index]
        if value > -900:
            expected = inverse.TransformPoint(native.TransformIndexToPhysicalPoint(index))[0]
            assert value == pytest.approx(expected, abs=0.01)
            checked += 1
    assert checked > 50


def test_target_mapping_and_its_inverse(template):
    image, mask = (resample_isotropic(volume, 3.0, is_mask=index == 1) for index, volume in enumerate(template))
    state = prepare(image, ChainParameters())
    state.mask = mask
    mapping = TargetMapping(scale=0.5, offset=0.2, mask_margin_mm=6.0)
    suvr = sitk.Cast(mask, sitk.sitkFloat32) * 1.4
    network = prepare_target(suvr, state, mapping)
    inside = sitk.GetArrayFromImage(mask) > 0
    np.testing.assert_allclose(sitk.GetArrayFromImage(network)[inside], (1.4 - 0.2) / 0.5, rtol=1e-5)
    restored = sitk.GetArrayFromImage(restore_target(network, state, mapping))
    np.testing.assert_allclose(restored[inside], 1.4, rtol=1e-5)
    assert restored[~inside].max() == pytest.approx(0.0, abs=1e-6)


def test_a_step_without_the_mask_it_needs_says_which():
    image = sitk.Image([20, 20, 20], sitk.sitkFloat32)
    with pytest.raises(BadInputError, match="brain-mask"):
        prepare(image, ChainParameters(source=(Register(),)))
    with pytest.raises(BadInputError, match="brain-mask"):
        prepare(image, ChainParameters(source=(Normalize(),)))


def test_template_brain_and_mask_agree():
    template = mni152()
    brain, mask = (sitk.GetArrayFromImage(volume) for volume in (template.brain, template.mask))
    assert (brain[mask == 0] > 20).mean() < 0.02
    assert mask.sum() * 8 / 1000 == pytest.approx(1880, rel=0.05)
