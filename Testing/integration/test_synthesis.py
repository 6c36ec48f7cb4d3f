"""The main job on a real head, with the shipped demonstration model."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.preprocessing.source_checks import CONTRAST_WARN_BELOW
from modality_synthesis.resources import resource
from modality_synthesis.synthesis import Synthesis, synthesize
from modality_synthesis.volumes import read_image, write_image

MODEL = "demo-t1w-fdg"


@pytest.fixture(scope="module")
def result(sample_head, tmp_path_factory) -> tuple[Synthesis, Path]:
    """The sample head's synthesis and the file it was written to."""
    output = tmp_path_factory.mktemp("synthesis") / "sub-forrest_pet.nii.gz"
    return synthesize(sample_head, output, model=MODEL, device="cpu"), output


def regions(synthesis: Synthesis) -> np.ndarray:
    """FreeSurfer labels of the registered atlas on the synthesis' grid (approximate: affine)."""
    atlas = sitk.ReadImage(str(resource("Atlases", "mni152_aparc+aseg_1mm.nii.gz")), sitk.sitkUInt16)
    to_template = synthesis.prepared.to_native.GetInverse()
    return sitk.GetArrayFromImage(sitk.Resample(atlas, synthesis.image, to_template, sitk.sitkNearestNeighbor, 0))


def gray_and_white(synthesis: Synthesis, labels: np.ndarray) -> tuple[float, float]:
    """Mean uptake of gray and white matter: what the atlas and this person's own T1w signal agree on."""
    pet, source = sitk.GetArrayFromImage(synthesis.image), sitk.GetArrayFromImage(synthesis.source)
    atlas_white = np.isin(labels, (2, 41))
    at_white = np.median(source[atlas_white])
    step = synthesis.prepared.quality["gray_white_contrast"] * at_white
    gray = (labels >= 1000) & (np.abs(source - (at_white - step)) < 0.4 * step)
    return float(pet[gray].mean()), float(pet[atlas_white & (source > at_white - 0.25 * step)].mean())


def test_geometry_is_the_input_s_bit_for_bit(result, sample_head):
    _, output = result
    given, made = nib.load(sample_head), nib.load(output)
    assert made.shape == given.shape
    for field in ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c",
                  "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):  # fmt: skip
        np.testing.assert_array_equal(made.header[field], given.header[field])
    first, second = read_image(sample_head), read_image(output)
    assert first.GetOrigin() == second.GetOrigin()
    assert first.GetDirection() == second.GetDirection()


def test_the_file_says_that_it_is_synthetic(result):
    synthesis, output = result
    assert b"SYNTHETIC" in nib.load(output).header["descrip"].item()
    record = json.loads(output.with_name("sub-forrest_pet.json").read_text())
    assert record["SyntheticData"] is True
    assert record["Units"] == "SUVR"
    assert record["ReferenceRegion"] == "cerebellar gray matter"
    assert record["Model"]["trained_on_simulated_data"] is True
    assert record["Quality"]["registration_dice"] > 0.9
    assert len(record["Sources"][0]["sha256"]) == 64
    assert record.pop("SHA256") == hashlib.sha256(output.read_bytes()).hexdigest()
    assert record == json.loads(json.dumps(synthesis.sidecar))


def test_uptake_overlays_the_brain(result):
    synthesis, _ = result
    pet = sitk.GetArrayFromImage(synthesis.image)
    brain = sitk.GetArrayFromImage(sitk.Resample(synthesis.prepared.native_mask, synthesis.image, sitk.Transform(),
                                                 sitk.sitkNearestNeighbor, 0)) > 0  # fmt: skip
    hot = pet > 0.3
    assert 2 * (hot & brain).sum() / (hot.sum() + brain.sum()) > 0.93
    spacing = np.array(synthesis.image.GetSpacing()[::-1])
    centers = [np.average(np.argwhere(brain), axis=0, weights=weight) for weight in (pet[brain], None)]
    assert np.linalg.norm((centers[0] - centers[1]) * spacing) < 6.0


def test_uptake_is_that_of_fdg(result):
    synthesis, _ = result
    pet, labels = sitk.GetArrayFromImage(synthesis.image), regions(synthesis)
    source = sitk.GetArrayFromImage(synthesis.source)

    def mean(*codes: int) -> float:
        return float(pet[np.isin(labels, codes)].mean())

    gray, white = gray_and_white(synthesis, labels)
    cerebellum = mean(8, 47)
    assert gray > 1.3 * white
    # An affine atlas overlaps small ventricles only roughly: of its ventricles, what is dark in this person's T1w.
    fluid = np.isin(labels, (4, 43)) & (source < 0.4 * np.median(source[np.isin(labels, (2, 41))]))
    assert fluid.sum() > 500
    assert pet[fluid].mean() < 0.75 * white
    assert 0.8 < cerebellum < 1.15
    assert mean(12, 51) > cerebellum  # putamen
    assert mean(1025, 2025) > cerebellum  # precuneus
    neck = np.zeros(pet.shape, dtype=bool)
    neck[: pet.shape[0] // 5] = True
    assert source[neck].max() > 50  # the neck is in the picture
    assert pet[neck].max() < 0.05


@pytest.mark.long
def test_the_same_run_gives_the_same_voxels(result, sample_head):
    synthesis, _ = result
    again = synthesize(sample_head, model=MODEL, device="cpu")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again.image), sitk.GetArrayFromImage(synthesis.image))


@pytest.mark.slow
def test_a_turned_flipped_thick_sliced_int16_copy_gives_the_same_pet_in_the_world(result, sample_head, tmp_path):
    synthesis, _ = result
    original = read_image(sample_head)
    turn = sitk.Euler3DTransform()
    turn.SetCenter(original.TransformContinuousIndexToPhysicalPoint([n / 2 for n in original.GetSize()]))
    turn.SetRotation(*np.deg2rad([14.0, 0.0, 14.0]).tolist())  # 20 degrees in all
    grid = sitk.Image([260, 280, 90], sitk.sitkUInt8)
    grid.SetSpacing((0.9, 0.9, 3.0))
    matrix = np.array(turn.GetMatrix()).reshape(3, 3)
    grid.SetDirection(matrix.ravel().tolist())
    center = np.array(original.TransformContinuousIndexToPhysicalPoint([n / 2 for n in original.GetSize()]))
    grid.SetOrigin((center - matrix @ (np.array(grid.GetSpacing()) * np.array(grid.GetSize()) / 2)).tolist())
    smooth = sitk.RecursiveGaussian(original, 1.2, False, sitk.RecursiveGaussianImageFilter.ZeroOrder, 2)
    turned = sitk.Flip(sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear, 0.0), [True, False, True])
    path = tmp_path / "turned.nii.gz"
    write_image(turned, path)
    stored = nib.load(path)
    values = stored.get_fdata()
    slope = float(values.max()) / 30000
    header = stored.header.copy()
    header.set_data_dtype(np.int16)
    scaled = nib.Nifti1Image(np.round(values / slope).astype(np.int16), stored.affine, header)
    scaled.header.set_slope_inter(slope, 0.0)
    nib.save(scaled, path)

    other = synthesize(path, model=MODEL, device="cpu")
    assert other.image.GetSize() == (260, 280, 90)
    back = sitk.Resample(other.image, synthesis.image, sitk.Transform(), sitk.sitkLinear, 0.0)
    first, second = sitk.GetArrayFromImage(synthesis.image), sitk.GetArrayFromImage(back)
    inside = first > 0.3
    assert np.corrcoef(first[inside], second[inside])[0, 1] > 0.93
    assert np.abs(first[inside] - second[inside]).mean() < 0.08


def start(source: Path, output: Path) -> subprocess.Popen:
    """The command in a process of its own, once it has begun to compute."""
    command = [sys.executable, "-m", "modality_synthesis.cli", "synthesize", str(source), "--model", MODEL]
    process = subprocess.Popen(
        [*command, "-o", str(output), "--progress", "json", "--device", "cpu"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("stage") == "Finding the brain":
            return process
    raise AssertionError("the command ended before it began")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_leaves_nothing(sample_head, tmp_path, number):
    process = start(sample_head, tmp_path / "out" / "pet.nii.gz")
    process.send_signal(number)
    rest, _ = process.communicate()
    assert process.returncode == 130
    assert json.loads(rest.splitlines()[-1])["code"] == "CANCELLED"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_write_its_sidecar_leaves_no_volume(result, sample_head, tmp_path, monkeypatch):
    from modality_synthesis.synthesis import pipeline

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write_sidecar", fail)
    with pytest.raises(KeyboardInterrupt):
        pipeline._write([pipeline._File(tmp_path / "pet.nii.gz", result[0].image, {}, "")], None)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_leaves_is_cleaned_by_the_next(sample_head, tmp_path):
    from modality_synthesis.volumes import atomic_output

    code = (
        "import os, signal, sys\nfrom modality_synthesis.volumes import atomic_output\n"
        "with atomic_output(sys.argv[1]) as temporary:\n    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    output = tmp_path / "pet.nii.gz"
    process = subprocess.run([sys.executable, "-c", code, str(output)], check=False)
    assert process.returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert left
    assert all(path.name.startswith(".ms-") for path in left)
    with atomic_output(output) as temporary:
        temporary.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["pet.nii.gz"]


def test_the_preview_names_what_it_shows(result, tmp_path):
    from modality_synthesis.evaluation import save_preview

    path = tmp_path / "preview.png"
    save_preview(result[0], path)
    image = read_png(path)
    assert image.shape[0] > 800
    assert image[..., :3].std() > 20


def read_png(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return (imread(path) * 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ecog", "ms04", *(pytest.param(name, marks=pytest.mark.long) for name in ("colin27", "ms12", "stroke"))]
)
def test_every_real_head_is_overlaid(shared_subjects, name):
    synthesis = synthesize(shared_subjects / f"sub-{name}_T1w.nii.gz", model=MODEL, device="cpu")
    pet, labels = sitk.GetArrayFromImage(synthesis.image), regions(synthesis)
    assert pet.shape == sitk.GetArrayFromImage(synthesis.source).shape
    to_template = synthesis.prepared.to_native.GetInverse()
    moved = sitk.Resample(mni152().mask, synthesis.image, to_template, sitk.sitkNearestNeighbor, 0)
    brain, hot = sitk.GetArrayFromImage(moved) > 0, pet > 0.3
    assert 2 * (hot & brain).sum() / (hot.sum() + brain.sum()) > 0.9
    assert np.isfinite(pet).all()
    if synthesis.prepared.quality["gray_white_contrast"] > CONTRAST_WARN_BELOW:
        gray, white = gray_and_white(synthesis, labels)
        assert gray > 1.15 * white
        # Narrow ventricles hold the blur of what surrounds them, and the atlas' cortex some fluid.
        assert pet[np.isin(labels, (4, 43))].mean() < 0.85 * pet[labels >= 1000].mean()
    else:  # the product itself says that there is little to synthesize from
        assert any("differ by only" in warning for warning in synthesis.sidecar["Warnings"])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ms04_T2w", pytest.param("stroke_FLAIR", marks=pytest.mark.long)])
def test_other_contrasts_are_refused(shared_subjects, name):
    from modality_synthesis.errors import BadInputError

    with pytest.raises(BadInputError, match="does not look like a T1w"):
        synthesize(shared_subjects / f"sub-{name}.nii.gz", model=MODEL, device="cpu")
