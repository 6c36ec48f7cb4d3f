"""Where a CT was measured: padding around a round field of view is nothing, clipped air is air."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from test_volumes_dicom import write_series

from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import array, find_coverage, image_like, read_covered, read_image, write_image

SHAPE, SPACING = (24, 80, 80), (3.0, 3.0, 3.0)


def head_ct(air: float = -1000.0, noise: float = 15.0) -> sitk.Image:
    """A head of 30 HU in a skull, in noisy air; 240 mm wide."""
    z, y, x = np.indices(SHAPE)
    distance = np.hypot((y - 39.5) / 31.0, (x - 39.5) / 26.0)
    values = np.where(distance < 1.0, 900.0, air)
    values[distance < 0.93] = 30.0
    values[2 * (z - 4) > distance * 40] += 5.0
    values += np.random.default_rng(3).normal(0, noise, SHAPE)
    image = sitk.GetImageFromArray(np.rint(values).astype(np.float32))
    image.SetSpacing(SPACING)
    return image


def outside_the_circle() -> np.ndarray:
    _, y, x = np.indices(SHAPE)
    return np.hypot(y - 39.5, x - 39.5) > 40.0


def painted(image: sitk.Image, where: np.ndarray, value: float) -> sitk.Image:
    return image_like(np.where(where, np.float32(value), array(image)).astype(np.float32), image)


def clipped(image: sitk.Image, low: float) -> sitk.Image:
    return image_like(np.maximum(array(image), np.float32(low)), image)


@pytest.mark.parametrize("padding", [-1024.0, -1500.0, -2000.0, -3024.0, -32768.0])
def test_around_a_round_field_of_view_nothing_was_measured(padding: float, tmp_path: Path) -> None:
    corners = outside_the_circle()
    write_image(painted(clipped(head_ct(), -1024), corners, padding), tmp_path / "ct.nii.gz")
    covered = read_covered(tmp_path / "ct.nii.gz")[1]
    assert covered[corners].mean() < (0.001 if padding < -1024 else 0.1)  # slivers beside the circle's sides
    assert covered[~corners].mean() > 0.999  # some clipped air beside the circle


@pytest.mark.parametrize("padding", [-1024.0, -3024.0])
def test_slices_that_were_added_were_not_measured(padding: float) -> None:
    added = np.zeros(SHAPE, dtype=bool)
    added[:5] = True
    covered = find_coverage(painted(clipped(head_ct(), -1024), added, padding))
    assert not covered[added].any()
    assert covered[~added].all()


@pytest.mark.parametrize(
    "image",
    [
        clipped(head_ct(air=-1040, noise=2), -1024),  # all air at one value
        clipped(head_ct(air=-1015, noise=12), -1024),  # much of it
        clipped(head_ct(air=-1005, noise=1), -1000),
        head_ct(),
        head_ct(air=-1000, noise=0),
    ],
    ids=["all clipped", "some clipped", "clipped at -1000", "noisy", "simulated"],
)
def test_air_that_a_scanner_clips_was_measured(image: sitk.Image) -> None:
    assert find_coverage(image).all()
    # Two slices above the head, of air alone.
    values = array(image)
    values[-2:] = np.random.default_rng(0).choice(values[:, :6, :6].ravel(), (2, *SHAPE[1:]))
    assert find_coverage(image_like(values, image)).all()


def test_clipped_air_is_measured_beside_padding_of_another_value() -> None:
    corners = outside_the_circle()
    covered = find_coverage(painted(clipped(head_ct(air=-1040, noise=2), -1024), corners, -3024))
    assert covered[~corners].all()
    assert covered[corners].mean() < 0.1


def test_mixtures_of_padding_and_air_were_not_measured() -> None:
    """After resampling a border of values between them is left, which no tissue has."""
    padded = painted(head_ct(), outside_the_circle(), -3024)
    smooth = sitk.Resample(padded, [100, 100, 24], sitk.Transform(), sitk.sitkLinear, padded.GetOrigin(),
                           (2.4, 2.4, 3.0), padded.GetDirection(), -3024.0)  # fmt: skip
    covered = find_coverage(smooth)
    assert array(smooth)[covered].min() >= -1150


@pytest.mark.parametrize("padding", [-2000, -1024])
def test_padding_that_a_dicom_header_names(tmp_path: Path, padding: int) -> None:
    corners = outside_the_circle()
    image = painted(clipped(head_ct(), -1024), corners, padding)
    write_dicom(tmp_path, image, padding)
    read, covered = read_covered(tmp_path, reporter=Reporter())
    assert covered[corners].mean() < (0.001 if padding < -1024 else 0.1)
    assert covered[~corners].mean() > 0.999  # some clipped air beside the circle
    # What a step that knows nothing of coverage computes with is air.
    assert np.all(array(read)[corners] == -1024)
    assert np.all(array(read_image(tmp_path, reporter=Reporter()))[corners] == -1024)


def test_beside_tilted_slices_nothing_was_measured(tmp_path: Path) -> None:
    image = clipped(head_ct(), -1024)
    write_dicom(tmp_path, image, None, tilt_mm=1.5)
    straight, covered = read_covered(tmp_path, reporter=Reporter())
    assert straight.GetSize()[1] > SHAPE[1]
    assert not covered[0, -8:].any()
    assert not covered[-1, :8].any()
    assert covered[:, 40:60].all()


def write_dicom(folder: Path, image: sitk.Image, padding: int | None, tilt_mm: float = 0.0) -> None:
    positions = [(0.0, tilt_mm * index, 3.0 * index) for index in range(SHAPE[0])]
    write_series(folder, array(image).astype(np.int16), positions=positions, Modality="CT", PixelSpacing=[3.0, 3.0],
                 RescaleSlope=1, RescaleIntercept=0)  # fmt: skip
    for file in folder.iterdir() if padding is not None else ():
        dataset = pydicom.dcmread(file)
        dataset.add_new((0x0028, 0x0120), "SS", padding)
        dataset.save_as(file)
