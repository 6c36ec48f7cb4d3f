"""Writing: geometry survives bit for bit where the format can hold it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes import check_writable, image_like, read_image, same_geometry, write_image

SHARED = Path(os.environ.get("MODALITY_SYNTHESIS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
GEOMETRY_FIELDS = (
    *("pixdim", "qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def oblique(seed: int, *, flip: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, 25, 3), degrees=True).as_matrix() * [
        0.9375,
        0.9375,
        1.2,
    ]
    if flip:
        matrix[:3, 0] *= -1
    matrix[:3, 3] = rng.normal(0, 70, 3)
    return matrix


def nifti_source(path: Path, seed: int, codes: tuple[int, int], *, flip: bool = False) -> Path:
    data = np.random.default_rng(seed).integers(0, 900, (9, 10, 11)).astype(np.int16)
    image = nib.Nifti1Image(data, None)
    image.set_qform(oblique(seed, flip=flip), codes[0])
    image.set_sform(oblique(seed, flip=flip), codes[1])
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4:] = [2.5, 0, 0, 0]
    nib.save(image, path)
    return path


def geometry(image: sitk.Image) -> tuple[tuple[float, ...], ...]:
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


@pytest.mark.parametrize("codes", [(1, 0), (1, 1), (0, 2), (2, 4), (0, 0)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nifti_to_nifti_bit_for_bit(tmp_path: Path, codes: tuple[int, int], flip: bool, ending: str) -> None:
    for seed in range(4):
        source = nifti_source(tmp_path / "in.nii.gz", seed, codes, flip=flip)
        image = read_image(source)
        result = image_like(sitk.GetArrayFromImage(image) / 3, image)
        write_image(result, tmp_path / f"out{ending}", like=source, description="synthetic")
        written = read_image(tmp_path / f"out{ending}")
        assert geometry(written) == geometry(image)
        assert np.array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(result))
        old, new = nib.load(source).header, nib.load(tmp_path / f"out{ending}").header
        for field in GEOMETRY_FIELDS:
            assert old[field].tobytes() == new[field].tobytes(), field


@pytest.mark.parametrize("flip", [False, True])
def test_nifti_without_like_keeps_single_precision(tmp_path: Path, flip: bool) -> None:
    for seed in range(4):
        image = read_image(nifti_source(tmp_path / "in.nii.gz", seed, (1, 1), flip=flip))
        write_image(image, tmp_path / "out.nii.gz")
        written = read_image(tmp_path / "out.nii.gz")
        assert geometry(written)[:3] == geometry(image)[:3]
        assert written.GetDirection() == pytest.approx(image.GetDirection(), abs=2e-7)


def test_nifti_to_nrrd_to_nifti(tmp_path: Path) -> None:
    for seed in range(4):
        source = nifti_source(tmp_path / "in.nii.gz", seed, (1, 1))
        image = read_image(source)
        write_image(image, tmp_path / "middle.nrrd", like=source)
        middle = read_image(tmp_path / "middle.nrrd")
        assert middle.GetOrigin() == image.GetOrigin()
        # NRRD stores direction times spacing in one vector: a rounding in the last digit.
        assert middle.GetSpacing() == pytest.approx(image.GetSpacing(), rel=1e-7)
        assert middle.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-7)
        assert np.array_equal(sitk.GetArrayFromImage(middle), sitk.GetArrayFromImage(image))
        write_image(middle, tmp_path / "back.nii.gz", like=source)
        assert geometry(read_image(tmp_path / "back.nii.gz")) == geometry(image)


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_nrrd_to_nrrd_bit_for_bit(tmp_path: Path, ending: str) -> None:
    for seed in range(6):
        image = double_precision_image(seed)
        source = tmp_path / f"in{ending}"
        sitk.WriteImage(image, str(source))
        read = read_image(source)
        write_image(read, tmp_path / "out.nrrd", like=source)
        assert geometry(read_image(tmp_path / "out.nrrd")) == geometry(read)


def test_metaimage_is_exact(tmp_path: Path) -> None:
    image = double_precision_image(1)
    write_image(image, tmp_path / "out.mha", description="synthetic FDG-PET")
    assert geometry(read_image(tmp_path / "out.mha")) == geometry(image)
    assert b"Comment = synthetic FDG-PET" in (tmp_path / "out.mha").read_bytes()[:2000]


def test_nrrd_to_nifti_within_single_precision(tmp_path: Path) -> None:
    image = double_precision_image(2)
    write_image(image, tmp_path / "in.nrrd")
    write_image(read_image(tmp_path / "in.nrrd"), tmp_path / "out.nii.gz", like=tmp_path / "in.nrrd")
    written = read_image(tmp_path / "out.nii.gz")
    assert written.GetSpacing() == pytest.approx(image.GetSpacing(), rel=1e-7)
    assert written.GetOrigin() == pytest.approx(image.GetOrigin(), rel=1e-7)
    assert written.GetDirection() == pytest.approx(image.GetDirection(), abs=2e-7)
    assert same_geometry(written, image, 1e-4)


def test_space_of_a_nrrd_in_ras_is_kept(tmp_path: Path) -> None:
    data = np.arange(9 * 10 * 11, dtype="<i2")
    source = tmp_path / "ras.nrrd"
    source.write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 9 10 11\n"
        b"space directions: (0.1,0.99,0) (-0.99,0.1,0) (0,0,1.3)\nkinds: domain domain domain\n"
        b"endian: little\nencoding: raw\nspace origin: (1.1,2.2,3.3)\n\n" + data.tobytes()
    )
    image = read_image(source)
    assert image.GetOrigin() == (-1.1, -2.2, 3.3)
    write_image(image, tmp_path / "out.nrrd", like=source)
    assert geometry(read_image(tmp_path / "out.nrrd")) == geometry(image)


def test_like_on_another_grid_is_not_copied(tmp_path: Path) -> None:
    source = nifti_source(tmp_path / "in.nii.gz", 1, (1, 1))
    image = read_image(source)
    image.SetOrigin((1.0, 2.0, 3.0))
    write_image(image, tmp_path / "out.nii.gz", like=source)
    assert read_image(tmp_path / "out.nii.gz").GetOrigin() == (1.0, 2.0, 3.0)
    smaller = image[:, :, :9]
    write_image(smaller, tmp_path / "out.nii.gz", like=source)
    assert read_image(tmp_path / "out.nii.gz").GetSize() == (9, 10, 9)


def test_both_nifti_readers_agree(tmp_path: Path) -> None:
    image = double_precision_image(5)
    write_image(image, tmp_path / "out.nii.gz")
    affine = nib.load(tmp_path / "out.nii.gz").affine
    for index in ((0, 0, 0), (8, 3, 7)):
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert affine[:3] @ [*index, 1] == pytest.approx(world, abs=1e-4)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_voxel_types(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    values = np.arange(9 * 10 * 11).reshape(11, 10, 9) % 250
    for dtype in ("uint8", "int16", "uint16", "int32", "uint32", "float32"):
        image = sitk.GetImageFromArray(values.astype(dtype))
        write_image(image, path)
        stored = sitk.ReadImage(str(path))
        assert stored.GetPixelID() == image.GetPixelID(), dtype
        assert np.array_equal(sitk.GetArrayFromImage(stored), values)
    write_image(sitk.GetImageFromArray(values.astype(np.float64)), path)
    assert sitk.ReadImage(str(path)).GetPixelID() == sitk.sitkFloat32


def test_description(tmp_path: Path) -> None:
    image = double_precision_image(0)
    write_image(image, tmp_path / "a.nii.gz", description="synthetic TAU-PET; model demo 1.0 – " + "x" * 100)
    written = bytes(nib.load(tmp_path / "a.nii.gz").header["descrip"])
    assert written.startswith(b"synthetic TAU-PET; model demo 1.0 ?")
    assert written.endswith(b"xxx\0")
    assert len(written) == 80
    write_image(image, tmp_path / "a.nrrd", description="synthetic\nTAU-PET")
    assert b"content: synthetic TAU-PET\n" in (tmp_path / "a.nrrd").read_bytes()[:1000]


def test_same_volume_gives_same_bytes(tmp_path: Path) -> None:
    image = double_precision_image(0)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        write_image(image, tmp_path / f"a{ending}")
        write_image(image, tmp_path / f"b{ending}")
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_gzip_is_complete(tmp_path: Path) -> None:
    write_image(double_precision_image(0), tmp_path / "a.nii.gz")
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + 9 * 10 * 11 * 4


def test_folders_are_created_and_names_may_be_unusual(tmp_path: Path) -> None:
    path = tmp_path / "neuer Ordner" / "Übung 1" / "Bild ä.nii.gz"
    write_image(double_precision_image(0), path)
    assert [file.name for file in path.parent.iterdir()] == ["Bild ä.nii.gz"]


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "folder.nii.gz", "is a folder"),
        (tmp_path / "a.png", "a.png cannot be written: its ending"),
        (tmp_path / "a.mhd", "ending"),
        (tmp_path / "file" / "a.nii.gz", "cannot be written to"),
        (tmp_path / ("a" * 249 + ".nii.gz"), "too long"),
        (tmp_path / "new" / ("a" * 256) / "a.nii.gz", "too long"),
    ):
        with pytest.raises(BadInputError, match=words):
            check_writable(path)
    check_writable(tmp_path / "a.png", endings=[".png"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadInputError, match="permission denied"):
            check_writable(tmp_path / "a.nii.gz")
    finally:
        tmp_path.chmod(0o700)


def test_only_scalar_volumes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3-D scalar"):
        write_image(sitk.Image([9, 9], sitk.sitkUInt8), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the sample data is not in {SHARED}")
@pytest.mark.parametrize("name", ["subjects/sub-ms04_T1w.nii.gz", "subjects/sub-stroke_T1w.nii.gz"])
def test_real_oblique_volumes(tmp_path: Path, name: str) -> None:
    image = read_image(SHARED / name)
    write_image(image, tmp_path / "out.nii.gz", like=SHARED / name)
    assert geometry(read_image(tmp_path / "out.nii.gz")) == geometry(image)


def double_precision_image(seed: int) -> sitk.Image:
    """A grid whose numbers do not fit single precision."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.random((11, 10, 9)).astype(np.float32))
    image.SetSpacing((1 / 3, 0.7, 1.1))
    image.SetOrigin(rng.normal(0, 70, 3).tolist())
    image.SetDirection(Rotation.random(random_state=seed).as_matrix().ravel().tolist())
    return image
