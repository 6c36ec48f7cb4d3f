"""Reading: good files give the right values and geometry, bad files a clear refusal."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_image, sniff, write_image

SHAPE = (12, 11, 10)  # x, y, z


def voxels(dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 1000, SHAPE).astype(dtype)


def grid(shift_x: float = 0.0) -> np.ndarray:
    matrix = np.diag([0.9, 1.0, 2.0, 1.0])
    matrix[:3, 3] = [-5 + shift_x, -6, -7]
    return matrix


def save_nifti(
    path: Path,
    data: np.ndarray | None = None,
    *,
    qform: tuple[np.ndarray, int] | None = None,
    sform: tuple[np.ndarray, int] | None = None,
    units: int = 2,
    **fields: object,
) -> Path:
    """Write header and voxels by hand, so that the header holds exactly what the test wants."""
    data = voxels() if data is None else data
    header = nib.Nifti1Header(endianness="<")
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["pixdim"][1:4] = [0.9, 1.0, 2.0]
    if qform is not None:
        header.set_qform(*qform)
    if sform is not None:
        header.set_sform(*sform)
    header["xyzt_units"] = units
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + data.tobytes("F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def good_nifti(path: Path, data: np.ndarray | None = None, **fields: object) -> Path:
    return save_nifti(path, data, qform=(grid(), 1), sform=(grid(), 1), **fields)


def as_image(data: np.ndarray | None = None) -> sitk.Image:
    image = sitk.GetImageFromArray((voxels() if data is None else data).T)
    image.SetSpacing((0.9, 1.0, 2.0))
    image.SetOrigin((5.0, 6.0, -7.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(BadInputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert path.name in message
    assert len(message.splitlines()) <= 2
    return message


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "Müller, Jörg ü 脑.nii.gz", "A.NII.GZ"])
def test_nifti_values_and_lps_geometry(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "Ordner mit Leerzeichen"
    folder.mkdir()
    image = read_image(str(good_nifti(folder / name)))
    assert image.GetPixelID() == sitk.sitkFloat32
    assert image.GetSize() == SHAPE
    assert image.GetSpacing() == (np.float32(0.9), 1.0, 2.0)
    assert image.GetOrigin() == (5.0, 6.0, -7.0)
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, voxels())
    assert not image.GetMetaDataKeys()


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compress", [True, False])
def test_other_formats(tmp_path: Path, ending: str, compress: bool) -> None:
    path = tmp_path / f"ein bild{ending}"
    sitk.WriteImage(as_image(voxels(np.int16)), str(path), compress)
    reporter = Reporter()
    image = read_image(path, reporter=reporter)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert np.array_equal(sitk.GetArrayFromImage(image).T, voxels())
    assert image.GetSpacing() == pytest.approx((0.9, 1.0, 2.0), abs=1e-12)
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    assert reporter.warnings == []


def test_scaled_int16_is_rescaled(tmp_path: Path) -> None:
    data = voxels(np.int16)
    image = read_image(good_nifti(tmp_path / "a.nii.gz", data, scl_slope=0.25, scl_inter=-1024))
    assert np.allclose(sitk.GetArrayFromImage(image).T, data * 0.25 - 1024, atol=1e-4)


def test_trailing_singleton_axis_is_dropped(tmp_path: Path) -> None:
    image = read_image(good_nifti(tmp_path / "a.nii.gz", voxels()[..., None]))
    assert image.GetSize() == SHAPE
    mha = tmp_path / "a.mha"
    sitk.WriteImage(sitk.JoinSeries([as_image()]), str(mha))
    assert read_image(mha).GetSize() == SHAPE


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.nii.gz")


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.mgz", "mri_convert a.mgz a.nii.gz"), ("a.img", "Analyze"), ("a.png", "ending"), ("a", "ending")],
)
def test_unsupported_ending(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 500)
    assert words in refusal(tmp_path / name)


def test_empty_and_foreign_content(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        empty, text = tmp_path / f"empty{ending}", tmp_path / f"text{ending}"
        empty.write_bytes(b"")
        text.write_text("<html>404 Not Found</html>\n" * 20)
        assert "empty" in refusal(empty)
        assert "is not a" in refusal(text)


def test_truncated_gzip(tmp_path: Path) -> None:
    path = good_nifti(tmp_path / "a.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert sitk.ReadImage(str(path)).GetSize() == SHAPE  # the trap: ITK reads it
    assert "truncated" in refusal(path)
    path.write_bytes(whole[:100])
    assert "damaged" in refusal(path)


def test_gzip_that_ends_well_but_too_early(tmp_path: Path) -> None:
    path = good_nifti(tmp_path / "a.nii.gz")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-100]))
    assert "truncated" in refusal(path)


def test_corrupted_gzip(tmp_path: Path) -> None:
    path = good_nifti(tmp_path / "a.nii.gz")
    content = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(content, 0))  # not compressed: only the checksum can tell
    stored[len(stored) // 2] ^= 0xFF
    path.write_bytes(stored)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("kept", [348, 352, 2000])
def test_header_only_and_truncated_nii(tmp_path: Path, kept: int) -> None:
    path = good_nifti(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:kept])
    assert "truncated" in refusal(path)


def test_nifti2_and_misnamed_gzip(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(voxels(), grid()), tmp_path / "two.nii.gz")
    assert "NIfTI-2" in refusal(tmp_path / "two.nii.gz")
    packed = good_nifti(tmp_path / "b.nii.gz").rename(tmp_path / "b.nii")
    assert "Rename it to b.nii.gz" in refusal(packed)


def test_damaged_nifti_header(tmp_path: Path) -> None:
    path = good_nifti(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[40:48] = b"\x03\x00\xf6\xff\x0b\x00\x0a\x00"  # dim: 3, -10, 11, 10
    path.write_bytes(content)
    assert "header makes no sense" in refusal(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("compress", [True, False])
def test_truncated_nrrd_and_metaimage(tmp_path: Path, ending: str, compress: bool) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(as_image(), str(path), compress)
    path.write_bytes(path.read_bytes()[:-200])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize(("ending", "checksum_at"), [(".nrrd", -6), (".mha", -3)])
def test_corrupted_nrrd_and_metaimage(tmp_path: Path, ending: str, checksum_at: int) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(as_image(), str(path), True)
    content = bytearray(path.read_bytes())
    content[checksum_at] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_missing_and_short_detached_data(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(as_image(), str(path), False)
    data = next(file for file in tmp_path.iterdir() if file != path)
    data.write_bytes(data.read_bytes()[:-50])
    assert "truncated" in refusal(path)
    data.unlink()
    assert f"data file {data.name} is missing" in refusal(path)


def test_4d_2d_and_colour(tmp_path: Path) -> None:
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"] = voxels(np.uint8)
    assert "4-D (12×11×10×2)" in refusal(good_nifti(tmp_path / "a.nii.gz", np.stack([voxels()] * 2, -1)))
    assert "5-D" in refusal(good_nifti(tmp_path / "b.nii", np.stack([voxels()] * 3, -1)[:, :, :, None]))
    assert "3 numbers per voxel" in refusal(good_nifti(tmp_path / "c.nii.gz", colour))
    assert "2 numbers per voxel" in refusal(good_nifti(tmp_path / "d.nii.gz", voxels().astype(np.complex64)))
    assert "single slice" in refusal(good_nifti(tmp_path / "e.nii.gz", voxels()[:, :, 0]))
    assert "single slice" in refusal(good_nifti(tmp_path / "f.nii.gz", voxels()[:, :, :7]))
    for ending in (".nrrd", ".mha"):
        path = tmp_path / f"g{ending}"
        sitk.WriteImage(sitk.Compose([as_image()] * 3), str(path))
        assert "3 numbers per voxel" in refusal(path)
        sitk.WriteImage(sitk.JoinSeries([as_image()] * 2), str(path))
        assert "4-D" in refusal(path)
        sitk.WriteImage(as_image()[:, :, 3], str(path))
        assert "single slice" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    data = voxels()
    data[3:5, 4, 5] = value
    path = good_nifti(tmp_path / "a.nii.gz", data)
    # The trap: ITK makes them zero.
    assert np.isfinite(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).all()
    assert "2 voxels that are not finite" in refusal(path)
    for ending in (".nrrd", ".mha"):
        sitk.WriteImage(as_image(data), str(tmp_path / f"a{ending}"))
        assert "2 voxels that are not finite" in refusal(tmp_path / f"a{ending}")


def test_constant(tmp_path: Path) -> None:
    assert "all its voxels are 7" in refusal(good_nifti(tmp_path / "a.nii.gz", np.full(SHAPE, 7, np.int16)))


@pytest.mark.parametrize("step", [0.04, 20.5])
def test_absurd_spacing(tmp_path: Path, step: float) -> None:
    matrix = np.diag([1.0, 1.0, step, 1.0])
    path = save_nifti(tmp_path / "a.nii", qform=(matrix, 1), sform=(matrix, 1))
    assert f"1×1×{step:.4g} mm" in refusal(path)
    image = as_image()
    image.SetSpacing((1.0, 1.0, step))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert f"1×1×{step:.4g} mm" in refusal(tmp_path / "a.mha")


@pytest.mark.parametrize("step", [0.0, np.nan, np.inf])
def test_no_voxel_size(tmp_path: Path, step: float) -> None:
    pixdim = [1, 1, step, 1, 0, 0, 0, 0]
    assert "no voxel size" in refusal(save_nifti(tmp_path / "a.nii", sform=(grid(), 1), pixdim=pixdim))


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (3, 0.001)])
def test_metre_and_micron_units_become_mm(tmp_path: Path, code: int, factor: float) -> None:
    matrix = np.diag([0.5 / factor, 1 / factor, 2 / factor, 1])
    matrix[:3, 3] = np.array([-5, -6, -7]) / factor
    reporter = Reporter()
    path = save_nifti(tmp_path / "a.nii.gz", qform=(matrix, 1), sform=(matrix, 1), units=code)
    image = read_image(path, reporter=reporter)
    assert image.GetSpacing() == pytest.approx((0.5, 1.0, 2.0), rel=1e-6)
    assert image.GetOrigin() == pytest.approx((5.0, 6.0, -7.0), rel=1e-6)
    assert reporter.warnings == []


def test_metres_written_as_mm_are_refused(tmp_path: Path) -> None:
    assert "900×1000×2000 mm" in refusal(good_nifti(tmp_path / "a.nii.gz", units=1))


def test_sheared_metaimage(tmp_path: Path) -> None:
    image = as_image()
    image.SetDirection((1, 0.05, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert "not at right angles" in refusal(tmp_path / "a.mha")


def test_unknown_orientation_warns(tmp_path: Path) -> None:
    reporter = Reporter()
    image = read_image(save_nifti(tmp_path / "a.nii.gz"), reporter=reporter)
    assert image.GetOrigin() == (0, 0, 0)
    assert "does not say how it is oriented" in reporter.warnings[0]


def test_unknown_orientation_of_nrrd_warns(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    head = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 12 11 10\nspacings: 1 1 2\n"
    path.write_bytes(head + b"endian: little\nencoding: raw\n\n" + voxels().tobytes("F"))
    reporter = Reporter()
    assert read_image(path, reporter=reporter).GetSpacing() == (1, 1, 2)
    assert "does not say how it is oriented" in reporter.warnings[0]


def test_big_endian_nifti(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(np.int16), grid(), nib.Nifti1Header(endianness=">"))
    image.header["scl_slope"], image.header["scl_inter"] = 1, 0
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "a.nii.gz")).T, voxels())


def test_series_of_a_nifti_is_refused(tmp_path: Path) -> None:
    assert "no DICOM" in refusal(good_nifti(tmp_path / "a.nii.gz"), series="3")


def test_sniff_reads_the_header_only(tmp_path: Path) -> None:
    path = good_nifti(tmp_path / "a.nii.gz", voxels(np.int16))
    info = sniff(path)
    assert (info.format, info.size, info.spacing[1:]) == ("NIfTI", SHAPE, (1.0, 2.0))
    assert info.dtype == "16-bit signed integer"


def test_no_half_file_is_left_when_the_source_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with pytest.raises(BadInputError):
        write_image(read_image(path), tmp_path / "b.nii.gz")
    assert list(tmp_path.iterdir()) == []
