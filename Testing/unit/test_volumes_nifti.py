"""NIfTI headers as they are found: which orientation counts, what is said, and what ITK and FSL accept too."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_image, sniff, write_image

SHAPE = (40, 36, 30)
STEP = np.array([1.0, 1.2, 2.0])


def voxels(dtype: type = np.int16) -> np.ndarray:
    return np.random.default_rng(5).integers(-300, 1000, SHAPE).astype(dtype)


def placed(degrees: float = 0.0, shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A RAS affine with the voxel size `STEP`, turned about x."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * STEP
    matrix[:3, 3] = np.array([-20.0, -22.0, -30.0]) + shift
    return matrix


def save(
    path: Path,
    *,
    q: np.ndarray | None = None,
    s: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    data: np.ndarray | None = None,
    order: str = "<",
    **fields: object,
) -> Path:
    """A file whose qform and sform (with these codes) are exactly the given ones; None leaves one out."""
    data = voxels() if data is None else data
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(data.dtype.newbyteorder(order))
    header.set_data_shape(data.shape)
    header["magic"], header["vox_offset"], header["xyzt_units"] = b"n+1", 352, 2
    header["pixdim"][1:4] = STEP
    if q is not None:
        header.set_qform(q)
        header["qform_code"] = codes[0]
    if s is not None:
        header.set_sform(s)
        header["sform_code"] = codes[1]
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + bytes(4) + data.astype(data.dtype.newbyteorder(order)).tobytes("F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def world(image: sitk.Image, index: tuple[int, int, int]) -> np.ndarray:
    """RAS mm of a voxel."""
    return np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]


def is_at(image: sitk.Image, matrix: np.ndarray, tolerance: float = 1e-3) -> bool:
    corners = [(0, 0, 0), (39, 35, 29), (39, 0, 0), (0, 35, 29)]
    return all(np.abs(world(image, c) - (matrix @ [*c, 1])[:3]).max() < tolerance for c in corners)


def refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert path.name in message
    assert len(message.splitlines()) <= 2
    return message


AWAY = placed(12, (8, 20, -15))


@pytest.mark.parametrize(
    ("codes", "used"),
    [
        ((1, 1), "sform"),  # tied
        ((2, 2), "sform"),
        ((1, 2), "sform"),  # SPM, fslorient: aligned by a registration
        ((2, 1), "qform"),
        ((1, 4), "qform"),  # an atlas' space is not this person's
        ((4, 2), "sform"),
        ((3, 4), "sform"),
        ((1, 9), "qform"),  # not a code of the standard's first version
    ],
)
def test_the_higher_code_of_this_person_counts(tmp_path: Path, codes: tuple[int, int], used: str) -> None:
    path = save(tmp_path / "a.nii.gz", q=placed(), s=AWAY, codes=codes)
    reporter = Reporter()
    image = read_image(path, reporter=reporter)
    assert is_at(image, AWAY if used == "sform" else placed())
    (finding,) = reporter.findings
    assert (finding.code, finding.level, finding.limit) == ("orientation", "look", 1.0)
    corners = [np.array([x, y, z, 1]) for x in (0, 39) for y in (0, 35) for z in (0, 29)]
    assert finding.value == pytest.approx(max(np.linalg.norm((AWAY - placed()) @ c) for c in corners), abs=0.02)
    assert f"the {used} is used" in finding.message
    # The same file in ITK, and so in 3D Slicer:
    shown = sitk.ReadImage(str(path))
    assert ("3D Slicer" in finding.message) == (not is_at(shown, AWAY if used == "sform" else placed(), 1.0))


def test_less_than_a_millimetre_is_rounding(tmp_path: Path) -> None:
    for shift in (0.9, 1.1):
        reporter = Reporter()
        path = save(tmp_path / "a.nii", q=placed(), s=placed(0, (shift, 0, 0)), codes=(1, 2))
        read_image(path, reporter=reporter)
        assert len(reporter.findings) == (shift > 1)


def test_a_single_form_needs_no_warning(tmp_path: Path) -> None:
    for forms in ({"q": AWAY}, {"s": AWAY}, {"s": AWAY, "codes": (0, 4)}):
        reporter = Reporter()
        assert is_at(read_image(save(tmp_path / "a.nii", **forms), reporter=reporter), AWAY)
        assert reporter.warnings == []


SHEAR = np.array([[1, 0.03, 0, 0], [0, 1, -0.02, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("bend", [SHEAR, np.diag([1.1, 1.0, 0.95, 1.0])], ids=["sheared", "scaled"])
@pytest.mark.parametrize("code", [1, 2, 4])
def test_a_bent_sform_is_no_grid(tmp_path: Path, bend: np.ndarray, code: int) -> None:
    reporter = Reporter()
    path = save(tmp_path / "a.nii.gz", q=AWAY, s=bend @ AWAY, codes=(1, code))
    assert is_at(read_image(path, reporter=reporter), AWAY)
    assert "the sform is sheared or scaled, so that the qform is used" in reporter.findings[0].message
    message = refusal(save(tmp_path / "b.nii.gz", s=bend @ placed(), codes=(0, code)))
    assert ("not at right angles" if bend is SHEAR else "pixdim") in message


@pytest.mark.parametrize("mirror", [1, -1])
def test_sform_and_pixdim_must_agree(tmp_path: Path, mirror: int) -> None:
    sform = placed() @ np.diag([mirror, 1, 1, 1])
    message = refusal(save(tmp_path / "a.nii", s=sform, pixdim=[1, 1.7, 1.7, 1.7, 0, 0, 0, 0]))
    assert "1×1.2×2 mm" in message
    assert "1.7×1.7×1.7 mm" in message


def test_rounding_of_a_shear_is_accepted(tmp_path: Path) -> None:
    tiny = np.eye(4)
    tiny[0, 1] = 0.002
    path = save(tmp_path / "a.nii.gz", s=tiny @ AWAY, codes=(0, 1))
    reporter = Reporter()
    image = read_image(path, reporter=reporter)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    assert np.abs(direction.T @ direction - np.eye(3)).max() < 1e-6
    assert is_at(image, tiny @ AWAY, 1.0)
    assert reporter.warnings == []


@pytest.mark.parametrize("factor", [1 + 4e-7, 1 + 1e-4, 1.004])
def test_a_quaternion_a_little_too_long_is_a_half_turn(tmp_path: Path, factor: float) -> None:
    """MATLAB and scanner tools write b, c, d in single precision."""
    half_turn = np.diag([-1.0, 1.2, -2.0, 1.0])
    path = save(tmp_path / "a.nii.gz", q=half_turn, quatern_b=0, quatern_c=factor, quatern_d=0)
    reporter = Reporter()
    assert is_at(read_image(path, reporter=reporter), half_turn)
    assert reporter.warnings == []


def test_an_impossible_orientation_is_refused(tmp_path: Path) -> None:
    turned = {"quatern_b": 1.0, "quatern_c": 1.0, "quatern_d": 1.0}
    assert "impossible" in refusal(save(tmp_path / "a.nii", q=placed(), **turned))
    assert "impossible" in refusal(save(tmp_path / "b.nii", s=np.zeros((4, 4))))
    assert "impossible" in refusal(save(tmp_path / "c.nii", q=placed(), qoffset_x=np.nan))
    # With another one that is possible, that one counts.
    assert is_at(read_image(save(tmp_path / "d.nii", q=placed(), s=AWAY, **turned)), AWAY)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3)])
def test_metres_and_microns(tmp_path: Path, unit: int, factor: float) -> None:
    scale = np.diag([factor, factor, factor, 1])
    reporter = Reporter()
    path = save(tmp_path / "a.nii", q=scale @ AWAY, s=scale @ AWAY, xyzt_units=unit)
    assert is_at(read_image(path, reporter=reporter), AWAY)
    assert reporter.warnings == []
    path = save(tmp_path / "b.nii", q=scale @ AWAY, s=scale @ placed(), codes=(1, 2), xyzt_units=unit)
    assert is_at(read_image(path, reporter=reporter), placed())
    assert reporter.findings[0].value == pytest.approx(np.linalg.norm([8, 20, -15]), abs=15)


def test_what_is_written_like_a_doubtful_file_lies_where_that_was_read(tmp_path: Path) -> None:
    source = save(tmp_path / "a.nii.gz", q=placed(), s=AWAY, codes=(1, 2))
    image = read_image(source, reporter=Reporter())
    write_image(image, tmp_path / "b.nii.gz", like=source)
    again = read_image(tmp_path / "b.nii.gz", reporter=Reporter())
    assert again.GetOrigin() == image.GetOrigin()
    assert again.GetDirection() == image.GetDirection()
    assert bytes(nib.load(tmp_path / "b.nii.gz").header["srow_x"]) == bytes(nib.load(source).header["srow_x"])


# What else ITK and FSL accept


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float64])
def test_every_type_in_either_byte_order(tmp_path: Path, dtype: type, order: str) -> None:
    data = (voxels() % 100).astype(dtype)
    image = read_image(save(tmp_path / "a.nii.gz", q=AWAY, data=data, order=order))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, data)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(-1, 0, (-1, 0)), (-2, 5, (-2, 5)), (0, 7, (1, 0)), (np.nan, np.nan, (1, 0)), (np.inf, 0, (1, 0)), (2, 3, (2, 3))],
)
def test_slopes(tmp_path: Path, slope: float, intercept: float, expected: tuple[float, float]) -> None:
    image = read_image(save(tmp_path / "a.nii.gz", q=AWAY, scl_slope=slope, scl_inter=intercept))
    assert np.allclose(sitk.GetArrayFromImage(image).T, voxels() * expected[0] + expected[1])


@pytest.mark.parametrize("dim", [(4, *SHAPE, 0, 0, 0, 0), (5, *SHAPE, 0, 1, 0, 0), (7, *SHAPE, 1, 1, 1, 1)])
def test_further_axes_without_length(tmp_path: Path, dim: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii.gz", q=AWAY, dim=dim)
    assert np.array_equal(sitk.GetArrayFromImage(read_image(path)).T, voxels())
    assert sniff(path).size[:3] == SHAPE


@pytest.mark.parametrize("dim", [(3, 0, 36, 30, 1, 1, 1, 1), (3, 40, -36, 30, 1, 1, 1, 1), (0, *SHAPE, 1, 1, 1, 1)])
def test_spatial_axes_without_length_are_damage(tmp_path: Path, dim: tuple[int, ...]) -> None:
    assert "makes no sense" in refusal(save(tmp_path / "a.nii", q=AWAY, dim=dim))


def test_slices_along_the_fourth_axis(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", q=AWAY, data=voxels()[:, :, None], pixdim=[1, *STEP, 1, 0, 0, 0])
    reporter = Reporter()
    image = read_image(path, reporter=reporter)
    assert is_at(image, AWAY)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, voxels())
    assert [finding.code for finding in reporter.findings] == ["fourth-dimension"]
    assert "4-D" in refusal(save(tmp_path / "b.nii.gz", q=AWAY, data=voxels()[:, :, None, :5]))


def test_what_follows_a_complete_gzip_stream_is_passed_over(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.nii.gz", q=AWAY).read_bytes()
    raw = gzip.decompress(whole)
    members = b"".join(gzip.compress(raw[i : i + 6000]) for i in range(0, len(raw), 6000)) + gzip.compress(b"")
    for name, content in {
        "zeros": whole + bytes(512),
        "trailer": whole + b"\r\n--boundary--\r\n",
        "one byte": whole + b"\x1f",
        "members": members,
        "members and trailer": members + b"EOF",
        "longer": gzip.compress(raw + b"further"),
    }.items():
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(content)
        assert np.array_equal(sitk.GetArrayFromImage(read_image(path)).T, voxels()), name
    (tmp_path / "cut.nii.gz").write_bytes(members[: len(members) // 2])
    assert "truncated" in refusal(tmp_path / "cut.nii.gz")
    damaged = bytearray(members)
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "damaged.nii.gz").write_bytes(damaged)
    assert "damaged" in refusal(tmp_path / "damaged.nii.gz") or "truncated" in refusal(tmp_path / "damaged.nii.gz")


# What only stands for a file


def test_pointers_and_links_are_named(tmp_path: Path) -> None:
    lfs, annex, link, broken = (tmp_path / f"{name}.nii.gz" for name in ("lfs", "annex", "link", "broken"))
    lfs.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9876543\n")
    annex.write_text("/annex/objects/MD5E-s8675309--0.nii.gz\n")
    link.symlink_to("../.git/annex/objects/xx/yy/MD5E-s1--0.nii.gz/MD5E-s1--0.nii.gz")
    broken.symlink_to("elsewhere.nii.gz")
    assert "git lfs pull" in refusal(lfs)
    assert "datalad get" in refusal(annex)
    assert "datalad get" in refusal(link)
    assert "link to elsewhere.nii.gz, which does not exist" in refusal(broken)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in its file system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("pipe.nii.gz", "pipe.nrrd", "pipe"):
        os.mkfifo(tmp_path / name)
        command = [sys.executable, "-m", "modality_synthesis.cli", "synthesize", str(tmp_path / name), "-o", "x.nii.gz"]
        done = subprocess.run([*command, "--to", "FDG-PET"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        assert "pipe or" in done.stderr
    assert "pipe or device" in refusal(Path("/dev/null"))


@pytest.mark.parametrize("step", [1e-40, 1e38, 1e9])
def test_voxels_of_no_size_or_any(tmp_path: Path, step: float) -> None:
    for forms in ({"q": placed()}, {"s": placed()}, {}):
        message = refusal(save(tmp_path / "a.nii", **forms, pixdim=[1, step, 1, 1, 0, 0, 0, 0]))
        assert "voxel" in message


@pytest.mark.parametrize("fields", [{"datatype": 0}, {"datatype": 1}, {"vox_offset": np.inf}, {"vox_offset": np.nan}])
def test_headers_that_make_no_sense(tmp_path: Path, fields: dict[str, float]) -> None:
    refusal(save(tmp_path / "a.nii", q=placed(), **fields))
