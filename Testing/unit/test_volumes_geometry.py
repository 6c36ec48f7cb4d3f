"""Grids, arrays, JSON and hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import (
    array,
    describe_geometry,
    file_sha256,
    image_like,
    resample_like,
    same_geometry,
    sidecar_path,
    write_json,
)


def image(size: tuple[int, int, int] = (8, 9, 10)) -> sitk.Image:
    made = sitk.GetImageFromArray(np.arange(np.prod(size), dtype=np.float32).reshape(size[::-1]))
    made.SetSpacing((1.0, 2.0, 3.0))
    made.SetOrigin((10.0, 20.0, 30.0))
    return made


def test_same_geometry_measures_positions() -> None:
    a, b = image(), image()
    b.SetOrigin((10.0, 20.0, 30.0009))
    assert same_geometry(a, b)
    assert not same_geometry(a, b, 1e-4)
    # A small change of the voxel size adds up to the far corner: 9 steps of 0.0002 mm.
    c = image()
    c.SetSpacing((1.0, 2.0, 3.0002))
    assert not same_geometry(a, c)
    assert same_geometry(a, c, 2e-3)
    assert not same_geometry(a, image((8, 9, 11)))


def test_describe_geometry() -> None:
    made = image()
    assert describe_geometry(made) == "8×9×10 voxels of 1×2×3 mm, LPS"
    turned = np.radians(10)
    made.SetDirection([-np.cos(turned), np.sin(turned), 0, -np.sin(turned), -np.cos(turned), 0, 0, 0, 1])
    assert describe_geometry(made) == "8×9×10 voxels of 1×2×3 mm, RAS, oblique by 10°"


def test_array_and_image_like() -> None:
    made = image()
    values = array(made)
    assert values.shape == (10, 9, 8)
    values[:] = 0
    assert array(made).max() > 0  # a copy
    back = image_like(values.astype(np.float64), made)
    assert back.GetPixelID() == sitk.sitkFloat32
    assert same_geometry(back, made, 0)
    assert image_like(values > 0, made).GetPixelID() == sitk.sitkUInt8
    assert image_like(values.astype(np.int16), made).GetPixelID() == sitk.sitkInt16
    with pytest.raises(ValueError, match="does not fit"):
        image_like(values.T, made)


def test_resample_like() -> None:
    made = image()
    half = sitk.Image([8, 9, 10], sitk.sitkUInt8)
    half.CopyInformation(made)
    half.SetOrigin((10.5, 20.0, 30.0))
    moved = resample_like(made, half, default=-1)
    assert array(moved)[0, 0, 0] == pytest.approx(0.5)
    assert array(moved)[0, 0, -1] == -1
    assert moved.GetOrigin() == half.GetOrigin()
    assert moved.GetPixelID() == sitk.sitkFloat32
    nearest = resample_like(sitk.Cast(made, sitk.sitkInt16), half, interpolator="nearest")
    assert nearest.GetPixelID() == sitk.sitkInt16
    shifted = resample_like(made, made, transform=sitk.TranslationTransform(3, (1.0, 0.0, 0.0)))
    assert array(shifted)[4, 4, 4] == array(made)[4, 4, 5]
    assert np.array_equal(array(resample_like(made, made)), array(made))


@pytest.mark.parametrize(
    ("volume", "sidecar"),
    [
        ("a/x.nii.gz", "a/x.json"),
        ("x.v2.nrrd", "x.v2.json"),
        ("X.NII", "X.json"),
        ("dicom.1", "dicom.1.json"),
    ],
)
def test_sidecar_path(volume: str, sidecar: str) -> None:
    assert sidecar_path(volume) == Path(sidecar)


def test_write_json(tmp_path: Path) -> None:
    @dataclass
    class Facts:
        score: float

    path = tmp_path / "new" / "a.json"
    data = {
        "b": np.float32(0.5),
        "a": [Path("x"), float("nan"), np.arange(2)],
        "ü": Facts(np.inf),
        3: (True, None),
    }
    write_json(data, path)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"b"')
    assert "\n  " in text
    assert "ü" in text
    expected = {"b": 0.5, "a": ["x", None, [0, 1]], "ü": {"score": None}, "3": [True, None]}
    assert json.loads(text) == expected
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == expected


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc" * 1_000_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    with pytest.raises(BadInputError, match="no DICOM files"):
        file_sha256(tmp_path)
    with pytest.raises(BadInputError, match=r"gone\.nii"):
        file_sha256(tmp_path / "gone.nii")


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_hash_covers_detached_voxels(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image(), str(path))
    before = file_sha256(path)
    sitk.WriteImage(image() + 1, str(path))
    assert file_sha256(path) != before


def test_import_stays_light() -> None:
    heavy = ("torch", "pydicom", "scipy", "nibabel")
    code = f"import sys, modality_synthesis.volumes; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
