"""NRRD and MetaImage are read without ITK: the same volume as ITK's from good files, one line from bad ones."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import affine, read_image, sniff

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64]


def volume(dtype: type = np.int16, seed: int = 0) -> sitk.Image:
    """Any grid: turned about all axes, uneven voxels."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.integers(0, 100, (9, 10, 12)).astype(dtype))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*rng.uniform(-3, 3, 3).tolist())
    image.SetDirection(turn.GetMatrix())
    image.SetSpacing((0.8, 1.5, 2.25))
    image.SetOrigin((-5.5, 3.25, 80.0))
    return image


def assert_same(path: Path) -> None:
    ours, theirs = read_image(path, reporter=Reporter()), sitk.ReadImage(str(path), sitk.sitkFloat32)
    assert ours.GetSize() == theirs.GetSize()[:3]
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs).reshape(ours.GetSize()[::-1]))
    assert np.allclose(affine(ours), affine(theirs), atol=1e-9)
    assert sniff(path).size[:3] == theirs.GetSize()[:3]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", TYPES)
def test_as_itk_reads_it(tmp_path: Path, dtype: type, ending: str, compress: bool) -> None:
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(volume(dtype, seed=len(ending)), str(path), compress)
    assert_same(path)


def nrrd(path: Path, data: bytes, **fields: str) -> Path:
    """A header with these fields in place of the usual ones; an empty one is left out."""
    usual = {
        "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "12 10 9",
        "space directions": "(1,0,0) (0,1.5,0) (0,0,2)", "kinds": "domain domain domain", "endian": "little",
        "encoding": "raw", "space origin": "(-4,5,6.5)",
    }  # fmt: skip
    header = usual | {name.replace("_", " "): value for name, value in fields.items()}
    text = "NRRD0005\n# a comment: with a colon\n" + "".join(
        f"{key}: {value}\n" for key, value in header.items() if value
    )
    path.write_bytes(text.encode() + b"\n" + data)
    return path


def stored(order: str = "<") -> bytes:
    return np.random.default_rng(1).integers(-500, 500, 12 * 10 * 9).astype(f"{order}i2").tobytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"space": "right-anterior-superior"},
        {"space": "RAS"},
        {"space": "left-anterior-superior"},
        {"space": "LPS"},
        {"space_directions": "(0,1,0) (0,0,-1.5) (2,0,0)"},
        {"space_origin": ""},
        {"space": "", "space_directions": "", "space_origin": "", "spacings": "0.5 2 3"},
        {"dimension": "4", "sizes": "1 12 10 9", "kinds": "list domain domain domain",
         "space_directions": "none (1,0,0) (0,1.5,0) (0,0,2)"},
    ],
    ids=str,
)  # fmt: skip
def test_nrrd_geometry_as_itk_reads_it(tmp_path: Path, fields: dict[str, str]) -> None:
    path = nrrd(tmp_path / "a.nrrd", stored(), **fields)
    ours = read_image(path, reporter=Reporter())
    theirs = sitk.ReadImage(str(path), sitk.sitkVectorFloat32 if "dimension" in fields else sitk.sitkFloat32)
    assert np.allclose(affine(ours), affine(theirs), atol=1e-12)
    assert np.array_equal(sitk.GetArrayFromImage(ours).ravel(), sitk.GetArrayFromImage(theirs).ravel())


def test_nrrd_big_endian_and_bytes_to_skip(tmp_path: Path) -> None:
    assert_same(nrrd(tmp_path / "a.nrrd", stored(">"), endian="big"))
    for skip, content in (("7", b"7 bytes" + stored()), ("-1", b"a header of another program" + stored())):
        (tmp_path / "b.raw").write_bytes(content)
        assert_same(nrrd(tmp_path / "b.nhdr", b"", byte_skip=skip, data_file="b.raw"))


def mha(path: Path, data: bytes, **fields: str) -> Path:
    usual = {"ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
             "CompressedData": "False", "TransformMatrix": "0 1 0 0 0 -1 1 0 0", "Offset": "-4 5 6.5",
             "ElementSpacing": "1 1.5 2", "DimSize": "12 10 9", "ElementType": "MET_SHORT"}  # fmt: skip
    header = usual | fields | {"ElementDataFile": fields.get("ElementDataFile", "LOCAL")}
    text = "".join(f"{key} = {value}\n" for key, value in header.items() if value)
    path.write_bytes(text.encode() + data)
    return path


@pytest.mark.parametrize(
    "fields",
    [{}, {"BinaryDataByteOrderMSB": "", "ElementByteOrderMSB": "True"}, {"BinaryDataByteOrderMSB": "True"},
     {"TransformMatrix": "", "Rotation": "0 0 1 1 0 0 0 1 0"}, {"Offset": "", "Position": "1 2 3"},
     {"TransformMatrix": "", "Offset": ""}],
    ids=str,
)  # fmt: skip
def test_metaimage_as_itk_reads_it(tmp_path: Path, fields: dict[str, str]) -> None:
    assert_same(mha(tmp_path / "a.mha", stored(), **fields))


def test_metaimage_intensity_function_is_applied(tmp_path: Path) -> None:
    path = mha(
        tmp_path / "a.mha", stored(), ElementToIntensityFunctionSlope="0.5", ElementToIntensityFunctionOffset="-1024"
    )
    reporter = Reporter()
    values = sitk.GetArrayFromImage(read_image(path, reporter=reporter))
    assert np.allclose(values.ravel(), np.frombuffer(stored(), "<i2") * 0.5 - 1024)
    assert [finding.code for finding in reporter.findings] == ["intensity-function"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nrrd", {"space_directions": "(1,0,0) (0,nan,0) (0,0,2)"}),
        ("a.nrrd", {"space_directions": "(1,0) (0,1) (0,0)"}),
        ("a.nrrd", {"space_directions": "(1,0,0)"}),
        ("a.nrrd", {"space_origin": "(a,b,c)"}),
        ("a.nrrd", {"byte_skip": "many"}),
        ("a.nrrd", {"byte_skip": "-7"}),
        ("a.nrrd", {"sizes": "12 10 -9"}),
        ("a.nrrd", {"sizes": "12 10 99999999999999999999"}),
        ("a.nrrd", {"encoding": "bzip2"}),
        ("a.nrrd", {"content": "x" * 3_000_000}),
        ("a.mha", {"TransformMatrix": "1 0 0"}),
        ("a.mha", {"TransformMatrix": "0 0 0 0 0 0 0 0 0"}),
        ("a.mha", {"ElementSpacing": "1 nan 1"}),
        ("a.mha", {"HeaderSize": "x"}),
        ("a.mha", {"ElementDataFile": "y" * 5000}),
        ("a.mha", {"DimSize": "12 10 9999999999999999999"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, name: str, content: dict[str, str]) -> None:
    path = (nrrd if name.endswith("nrrd") else mha)(tmp_path / name, stored(), **content)
    if "content" in content:
        assert_read(path)
        return
    with pytest.raises(ModalitySynthesisError) as caught:
        read_image(path)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 600


def assert_read(path: Path) -> None:
    assert np.array_equal(sitk.GetArrayFromImage(read_image(path)).ravel(), np.frombuffer(stored(), "<i2"))


def test_data_named_by_a_path_of_another_computer(tmp_path: Path) -> None:
    (tmp_path / "volume.raw").write_bytes(stored())
    path = mha(tmp_path / "a.mhd", b"", ElementDataFile="C:\\data\\volume.raw")
    with pytest.raises(ModalitySynthesisError, match=r"volume\.raw lies beside it"):
        read_image(path)


def test_data_in_several_files_is_refused(tmp_path: Path) -> None:
    for path in (
        nrrd(tmp_path / "a.nhdr", b"", data_file="slices/s%03d.raw 0 8 1 2"),
        nrrd(tmp_path / "b.nhdr", b"", data_file="LIST"),
        mha(tmp_path / "c.mhd", b"s0.raw\ns1.raw\n", ElementDataFile="LIST"),
    ):
        with pytest.raises(ModalitySynthesisError, match="several data files"):
            read_image(path)


def test_lines_end_as_windows_ends_them(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", b"")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + stored())
    assert_read(path)
    path = mha(tmp_path / "a.mha", b"")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + stored())
    assert_read(path)


@pytest.mark.parametrize("kind", ["nrrd", "mha"])
def test_damaged_headers_never_crash(tmp_path: Path, kind: str) -> None:
    """ITK's parsers end the process on some of these."""
    numbers = ["0", "-1", "nan", "inf", "1e308", "9" * 400, "", "x", "(1,0,0)", "none", "LIST", "\0", "65536"]
    rng = random.Random(kind)
    path = (nrrd if kind == "nrrd" else mha)(tmp_path / f"a.{kind}", stored())
    head, separator, data = path.read_bytes().partition(b"\n\n" if kind == "nrrd" else b"LOCAL\n")
    accepted = 0
    for _ in range(400):
        lines = head.decode().split("\n")
        for _ in range(rng.choice([1, 2])):
            index = rng.randrange(len(lines))
            lines[index] = rng.choice(
                [
                    re.sub(r"[-\d.]+", lambda found: rng.choice([*numbers, found.group()]), lines[index]),
                    lines[index] * rng.choice([2, 3000]),
                    lines[rng.randrange(len(lines))],
                    lines[index].replace(rng.choice([":", "=", ",", " "]), rng.choice(["", "::", "\t", "\r"])),
                ]
            )
        path.write_bytes("\n".join(lines).encode() + separator + data)
        refused = None
        try:
            read_image(path, reporter=Reporter())
            accepted += 1
        except ModalitySynthesisError as error:
            refused = error
        assert refused is None or path.name in str(refused)
    assert 10 < accepted < 390
