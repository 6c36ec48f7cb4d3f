"""`align`: known motions of a simulated head between CT and MRI, and pairs that must not pass."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets.alignment import align_cohort, moved_volume
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.preprocessing.pair_registration import PairRegistration
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.simulation.ct import simulate_ct
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.volumes import array, image_like, read_image, write_image
from modality_synthesis.volumes.marks import read_mark


class Listening(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def warning(self, message: str) -> None:
        self.heard.append(message)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A CT with its MRI displaced, the same CT with noise for an MRI, and an MRI in place of a CT."""
    folder = tmp_path_factory.mktemp("pairs")
    labels = load_head("01")
    grid = resample_isotropic(labels, 4.0, is_mask=True)
    labels = sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)
    mri = simulate_mri(labels, "T1w", np.random.default_rng(0), Acquisition((4.0,) * 3))
    write_image(simulate_ct(labels, np.random.default_rng(1)), folder / "ct.nii.gz")
    motion = sitk.Euler3DTransform()
    motion.SetCenter(mri.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in mri.GetSize()]))
    motion.SetRotation(*np.deg2rad((12.0, -6.0, 9.0)).tolist())
    motion.SetTranslation((15.0, -10.0, 12.0))
    displaced = sitk.Image(mri)
    turned = np.array(motion.GetMatrix()).reshape(3, 3) @ np.array(mri.GetDirection()).reshape(3, 3)
    displaced.SetDirection(turned.ravel().tolist())
    displaced.SetOrigin(motion.TransformPoint(mri.GetOrigin()))
    write_image(displaced, folder / "mri.nii.gz", description="SYNTHETIC T1w, demo-ct-t1w 1.1.0, research use only")
    noise = np.abs(np.random.default_rng(2).normal(100, 20, array(mri).shape)).astype(np.float32)
    write_image(image_like(noise, mri), folder / "noise.nii.gz")
    rows = [
        {"subject": "good", "CT": "ct.nii.gz", "T1w": "mri.nii.gz", "age": "71"},
        {"subject": "noise", "CT": "ct.nii.gz", "T1w": "noise.nii.gz", "age": ""},
        {"subject": "swapped", "CT": "mri.nii.gz", "T1w": "mri.nii.gz", "age": "60"},
    ]
    with (folder / "cohort.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder, mri


@pytest.fixture(scope="module")
def aligned(pairs, tmp_path_factory):
    reporter, output = Listening(), tmp_path_factory.mktemp("aligned")
    rows = align_cohort(pairs[0] / "cohort.csv", output, fixed="CT", moving=["T1w"], jobs=1, reporter=reporter)
    return rows, output, reporter.heard


def test_a_displaced_mri_comes_back_with_its_voxels_untouched(pairs, aligned):
    (folder, truth), (rows, output, _) = pairs, aligned
    row = rows[0]
    assert row.state == "aligned"
    back = read_image(output / row.file)
    np.testing.assert_array_equal(array(back), array(read_image(folder / "mri.nii.gz")))
    corners = [[share * size for share, size in zip(where, truth.GetSize(), strict=True)]
               for where in ((0.2, 0.2, 0.2), (0.8, 0.2, 0.8), (0.2, 0.8, 0.8), (0.8, 0.8, 0.2))]  # fmt: skip
    for index in corners:
        found, expected = (image.TransformContinuousIndexToPhysicalPoint(index) for image in (back, truth))
        assert np.linalg.norm(np.subtract(found, expected)) < 1.5  # a third of a voxel
    assert row.dice > 0.9
    assert row.information_after > 2 * row.information_before
    assert row.largest_stretch == pytest.approx(1.0, abs=1e-6)
    assert (output / row.check).read_bytes().startswith(b"\x89PNG")


def test_what_was_made_from_a_synthetic_volume_says_so(aligned):
    rows, output, _ = aligned
    with (output / "alignment.csv").open() as stream:
        told = {row["visit"]: (row["synthetic"], row["model"]) for row in csv.DictReader(stream) if row["check"]}
    assert told == {"good": ("yes", "demo-ct-t1w 1.1.0")}
    assert Image.open(output / rows[0].check).info["Description"].startswith("SYNTHETIC, demo-ct-t1w 1.1.0.")
    assert read_mark(output / rows[0].file).name == "demo-ct-t1w 1.1.0"


def test_what_does_not_fit_is_left_out_with_the_reason(aligned):
    rows, output, heard = aligned
    assert [row.state for row in rows[1:]] != ["aligned", "aligned"]
    assert rows[1].state in ("rejected", "failed")
    assert rows[2].state == "failed"
    assert "air in a CT is about -1000 HU" in rows[2].reason
    assert len(heard) == 2
    table = read_cohort(output / "cohort.csv")
    assert [visit.subject for visit in table] == ["good"]
    table.require("CT", "T1w")
    assert table.visits[0].variable("age") == "71"
    with (output / "alignment.csv").open() as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == [row.state for row in rows]


def test_an_affine_is_resampled_in_one_step(pairs):
    truth = pairs[1]
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(np.diag([1.1, 1.0, 1.0]).ravel().tolist())
    found = PairRegistration(transform, (0.1, 0.5))
    assert found.stretch == pytest.approx((1.0, 1.1))
    moved = moved_volume(truth, found, truth)
    expected = sitk.Resample(truth, moved, transform, sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    inside = array(expected) > 50
    np.testing.assert_allclose(array(moved)[inside], np.clip(array(expected), 0, array(truth).max())[inside], rtol=1e-4)


def test_nothing_aligned_is_an_error(pairs, tmp_path):
    folder = pairs[0]
    (tmp_path / "cohort.csv").write_text(f"subject,CT,T1w\nx,{folder}/mri.nii.gz,{folder}/mri.nii.gz\n")
    command = ["align", str(tmp_path / "cohort.csv"), "--fixed", "CT", "--moving", "T1w", "-o", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, [*command, "--jobs", "1", "--progress", "json"])
    assert ran.exit_code == 1
    assert "could be aligned" in json.loads(ran.stdout.splitlines()[-1])["message"]
    with pytest.raises(BadInputError, match="has a T2w"):
        align_cohort(folder / "cohort.csv", tmp_path, fixed="CT", moving=["T2w"])


def test_somebody_s_sidecar_in_the_place_of_the_moved_volume_s_is_refused_first(tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((8, 8, 8)).astype(np.float32))
    for name in ("ct", "t1"):
        write_image(image, tmp_path / f"{name}.nii.gz")
    (tmp_path / "cohort.csv").write_text("subject,CT,T1w\na,ct.nii.gz,t1.nii.gz\n")
    notes = tmp_path / "out" / "a" / "a_T1w.json"
    notes.parent.mkdir(parents=True)
    notes.write_text('{"EchoTime": 0.003}')
    with pytest.raises(UsageError, match=r"a_T1w.json.* was not written by this program"):
        align_cohort(tmp_path / "cohort.csv", tmp_path / "out", fixed="CT", moving=["T1w"], jobs=1)
    assert notes.read_text() == '{"EchoTime": 0.003}'
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["a", "a_T1w.json"]
