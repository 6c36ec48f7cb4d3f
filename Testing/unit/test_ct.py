"""CT preprocessing on simulated heads whose brain is known, and on a real head CT."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing import ChainParameters, prepare, prepare_target
from modality_synthesis.preprocessing.ct import AIR_HU, anchor_shift, ct_brain_mask, remove_surroundings, window
from modality_synthesis.preprocessing.parameters import CTAnchor, CTBrainMask, CTHead
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.simulation.ct import simulate_ct
from modality_synthesis.simulation.labels import BRAIN, load_head, membership
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.volumes import image_like

CSF = 24


@pytest.fixture(scope="module")
def labels() -> sitk.Image:
    fine = load_head("11")
    grid = resample_isotropic(fine, 2.0, is_mask=True)
    return sitk.DICOMOrient(sitk.Resample(fine, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0), "LPS")


@pytest.fixture(scope="module")
def head_ct(labels) -> sitk.Image:
    return sitk.Cast(simulate_ct(labels, np.random.default_rng(0)), sitk.sitkFloat32)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def intracranial(labels: sitk.Image) -> np.ndarray:
    return membership((*BRAIN, CSF))[sitk.GetArrayFromImage(labels)].astype(bool)


def test_the_watershed_finds_the_simulated_brain(labels, head_ct):
    found = sitk.GetArrayFromImage(ct_brain_mask(head_ct, CTBrainMask())) > 0
    brain = membership(BRAIN)[sitk.GetArrayFromImage(labels)].astype(bool)
    assert (found & brain).sum() / brain.sum() > 0.97
    assert dice(found, intracranial(labels)) > 0.93


def test_a_skull_with_a_hole_falls_back_to_the_network(labels, head_ct):
    """A large craniectomy joins brain and scalp; what comes back is still this brain, not brain and scalp."""
    voxels = sitk.GetArrayFromImage(head_ct)
    x = np.arange(voxels.shape[2])[None, None, :]
    voxels[(voxels > 150) & (x > 0.6 * voxels.shape[2])] = 40.0
    found = sitk.GetArrayFromImage(ct_brain_mask(image_like(voxels, head_ct), CTBrainMask())) > 0
    assert dice(found, intracranial(labels)) > 0.8


def test_table_and_head_holder_become_air_and_the_head_stays(head_ct):
    voxels = sitk.GetArrayFromImage(head_ct)
    head = voxels > -300
    lowest_row = int(np.nonzero(head.any(axis=(0, 2)))[0].max())
    with_table = np.pad(voxels, ((0, 0), (0, 20), (0, 0)), constant_values=AIR_HU)
    with_table[:, lowest_row + 6 : lowest_row + 8, 10:-10] = 150.0
    image = sitk.GetImageFromArray(with_table)
    image.SetSpacing(head_ct.GetSpacing())
    cleaned = sitk.GetArrayFromImage(remove_surroundings(image, CTHead()))
    assert (cleaned[:, lowest_row + 6 :, :] == AIR_HU).all()
    inner = sitk.GetArrayFromImage(sitk.BinaryErode(image_like(head.astype(np.uint8), head_ct), [2, 2, 2])) > 0
    kept = cleaned[:, : voxels.shape[1]]
    assert np.array_equal(kept[inner], voxels[inner])


def test_window_maps_its_ends_to_zero_and_one():
    image = sitk.GetImageFromArray(np.array([[[-1000.0, 0.0, 20.0, 80.0, 900.0]]], np.float32))
    assert sitk.GetArrayFromImage(window(image, 0, 80)).ravel().tolist() == pytest.approx([0, 0, 0.25, 1, 1])


def test_another_calibration_is_brought_back(labels, head_ct):
    """The simulator's deep brain lies near 31 HU; a CT 8 HU lower ends where the original does."""
    mask = image_like(intracranial(labels).astype(np.uint8), head_ct)
    own = anchor_shift(head_ct, mask, CTAnchor())
    assert abs(own) < 2
    assert anchor_shift(head_ct - 8.0, mask, CTAnchor()) == pytest.approx(own + 8, abs=0.5)
    # Wide ventricles, a bleeding and bone do not move it.
    voxels = sitk.GetArrayFromImage(head_ct)
    deep = np.argwhere(intracranial(labels)).mean(axis=0).astype(int)
    for offset, value in ((0, 5.0), (8, 75.0)):
        part = tuple(slice(center - 4, center + 4) for center in (deep[0], deep[1], deep[2] + offset))
        voxels[part] = value
    assert anchor_shift(image_like(voxels, head_ct), mask, CTAnchor()) == pytest.approx(own, abs=1)
    with pytest.raises(BadInputError, match=r"the deep brain lies at 5\d HU"):
        anchor_shift(head_ct + 22.0, mask, CTAnchor(), "scan.nii.gz")
    with pytest.raises(BadInputError, match="no brain was found"):
        anchor_shift(head_ct, mask * 0, CTAnchor(), "scan.nii.gz")


CHAIN = {
    "source": [
        {"step": "reorient"},
        {"step": "ct-head"},
        {"step": "ct-brain-mask"},
        {"step": "ct-anchor"},
        {"step": "window"},
        {"step": "register"},
        {"step": "resample", "size": [56, 64, 56], "spacing": [3, 3, 3], "center": [0, 18, 6]},
        {"step": "refine-mask"},
    ],
    "target": {"normalization": {"method": "white-matter", "bias_field": {}}, "mask_margin_mm": 3.0},
}


@pytest.mark.long
def test_a_ct_registers_to_the_template_and_its_reference_mri_gets_a_common_scale(labels, head_ct):
    chain = ChainParameters.model_validate(CHAIN)
    prepared = prepare(head_ct, chain, name="scan.nii.gz")
    assert prepared.quality["registration_dice"] > 0.92
    assert 900 < prepared.quality["brain_ml"] < 2000
    mri = simulate_mri(labels, "T1w", np.random.default_rng(1), Acquisition((2.0,) * 3))
    once = sitk.GetArrayFromImage(prepare_target(mri, prepared, chain.target))
    brighter = sitk.GetArrayFromImage(prepare_target(mri * 3.7, prepared, chain.target))
    assert np.allclose(once, brighter, atol=1e-4)
    white = sitk.Resample(labels, prepared.image, prepared.to_native, sitk.sitkNearestNeighbor, 0)
    white = sitk.GetArrayFromImage(sitk.BinaryErode(sitk.Cast((white == 2) + (white == 41), sitk.sitkUInt8), [1, 1, 1]))
    assert np.median(once[white > 0]) == pytest.approx(1.0, abs=0.05)


def test_a_real_head_ct_with_its_head_holder(shared_subjects):
    path = shared_subjects.parent / "gpl" / "ct_cranium_HU.nii.gz"
    if not path.is_file():
        pytest.skip(f"the real head CT is not at {path}")
    chain = ChainParameters.model_validate(CHAIN)
    prepared = prepare(sitk.ReadImage(str(path)), chain, name=path.name)
    assert 1200 < prepared.quality["brain_ml"] < 1700
    assert prepared.quality["registration_dice"] > 0.93
    assert 5 < prepared.quality["hu_shift"] < 11  # its whole brain lies lower than usual
