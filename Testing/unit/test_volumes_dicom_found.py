"""DICOM as it is found: anonymized, copied from CDs, exported by odd programs, scaled in private elements."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from test_volumes_dicom import refusal, stored_voxels, values_of, write_series
from typer.testing import CliRunner

from modality_synthesis.cli import app
from modality_synthesis.datasets.cohort import read_cohort
from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import dicom_series, file_sha256, read_image, scanner_manufacturer, sniff


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Values, and the findings' texts."""
    reporter = Reporter()
    return values_of(read_image(path, reporter=reporter)), reporter.warnings


def patch(folder: Path, old: bytes, new: bytes) -> None:
    """Write into the files what no library would."""
    assert len(old) == len(new)
    for file in folder.iterdir():
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new))


def edit(folder: Path, **values: object) -> None:
    """Set elements of every file; None removes one."""
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        for keyword, value in values.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(file, enforce_file_format=False)


# Identifiers


def test_one_instance_uid_for_all_slices(tmp_path: Path) -> None:
    write_series(tmp_path, SOPInstanceUID="1.2.3.4")
    values, said = read(tmp_path)
    assert np.array_equal(values, stored_voxels())
    assert "SOP Instance UIDs are missing or repeated" in said[0]


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "SOPInstanceUID", "StudyInstanceUID", "InstanceNumber"])
def test_missing_and_empty_identifiers(tmp_path: Path, keyword: str, value: str | None) -> None:
    write_series(tmp_path, SeriesNumber=4)
    edit(tmp_path, **{keyword: value})
    values, said = read(tmp_path)
    assert np.array_equal(values, stored_voxels())
    assert bool(said) == (keyword in ("SeriesInstanceUID", "SOPInstanceUID"))


def test_two_series_without_uid_are_told_apart(tmp_path: Path) -> None:
    for number in (3, 8):
        write_series(tmp_path / str(number), stored_voxels(seed=number), SeriesNumber=number)
        edit(tmp_path / str(number), SeriesInstanceUID=None)
    assert "holds several series" in refusal(tmp_path)
    assert np.array_equal(values_of(read_image(f"{tmp_path}#8", reporter=Reporter())), stored_voxels(seed=8))


def test_one_series_uid_for_a_whole_study(tmp_path: Path) -> None:
    for number in (3, 8):
        write_series(tmp_path / str(number), stored_voxels(seed=number), series="1.2.3", SeriesNumber=number)
    assert [info.number for info in dicom_series(tmp_path)] == [3, 8]
    assert np.array_equal(values_of(read_image(tmp_path, series="3")), stored_voxels(seed=3))


def test_a_series_sent_twice_under_new_uids(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "a")
    write_series(tmp_path / "b", series=uid)
    values, said = read(tmp_path)
    assert np.array_equal(values, stored_voxels())
    assert "12 slices are there twice" in said[0]


def test_two_volumes_under_one_instance_uid_are_no_copies(tmp_path: Path) -> None:
    uid = write_series(tmp_path / "a", SOPInstanceUID="1.2.3.4")
    write_series(tmp_path / "b", stored_voxels(seed=1), series=uid, SOPInstanceUID="1.2.3.4")
    assert "lie where another one lies" in refusal(tmp_path)


# Numbers and texts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.25\\0.75 ", b"1,25\\0,75 "),
        (b"\x20\x00\x11\x00IS\x04\x004.00", b"\x20\x00\x11\x00IS\x04\x004.0 "),
    ],
    ids=["decimal comma", "integer with a point"],
)
def test_numbers_as_other_programs_write_them(tmp_path: Path, old: bytes, new: bytes) -> None:
    write_series(tmp_path, SeriesNumber="4000")
    patch(tmp_path, b"\x20\x00\x11\x00IS\x04\x004000", b"\x20\x00\x11\x00IS\x04\x004.00")
    patch(tmp_path, old, new)
    image = read_image(tmp_path, reporter=Reporter())
    assert np.array_equal(values_of(image), stored_voxels())
    assert image.GetSpacing()[:2] == (0.75, 1.25)
    assert dicom_series(tmp_path)[0].number == 4
    assert any("decimal commas" in text for text in read(tmp_path)[1]) == (b"," in new)


def test_decimal_commas_in_positions_and_scale(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleSlope="1.500", RescaleIntercept="3.00")
    for file in tmp_path.iterdir():
        content = file.read_bytes().replace(b"1.500", b"1,500").replace(b"3.00", b"3,00")
        for index in range(12):
            height = f"{20 + 2.5 * index}"
            content = content.replace(f"\\{height}".encode(), f"\\{height.replace('.', ',')}".encode())
        file.write_bytes(content)
    assert np.allclose(read(tmp_path)[0], stored_voxels() * 1.5 + 3)


def test_texts_that_no_character_set_fits(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesDescription="abcdef", SpecificCharacterSet="ISO_IR 192")
    patch(tmp_path, b"abcdef", "Schädel".encode("latin-1")[:6])
    assert np.array_equal(read(tmp_path)[0], stored_voxels())


def test_no_size_is_no_guess(tmp_path: Path) -> None:
    write_series(tmp_path, ImagerPixelSpacing=[1.25, 0.75])
    edit(tmp_path, PixelSpacing=None)
    assert "no PixelSpacing" in refusal(tmp_path)


# Files


@pytest.mark.parametrize("explicit", [True, False])
def test_no_preamble_and_no_ending(tmp_path: Path, explicit: bool) -> None:
    write_series(tmp_path)
    for file in list(tmp_path.iterdir()):
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = not explicit, True
        write_dataset(buffer, pydicom.dcmread(file))
        file.unlink()
        (tmp_path / f"I{file.name[2:]}").write_bytes(buffer.getvalue())
    assert next(tmp_path.iterdir()).read_bytes()[:2] == b"\x08\x00"
    values, _ = read(tmp_path)
    assert np.array_equal(values, stored_voxels())


def test_a_cd_with_its_viewer(tmp_path: Path) -> None:
    from pydicom.fileset import FileSet

    write_series(tmp_path / "export", PatientBirthDate="", StudyDate="20200101", StudyTime="120000", StudyID="1",
                 SeriesNumber=1, AccessionNumber="", PatientSex="", InstanceNumber=tuple(range(1, 13)))  # fmt: skip
    disc = FileSet()
    for file in sorted((tmp_path / "export").iterdir()):
        disc.add(file)
    root = tmp_path / "cd"
    disc.write(root)
    (root / "viewer.exe").write_bytes(b"MZ" + bytes(400))
    (root / "AUTORUN.INF").write_text("[autorun]\nopen=viewer.exe\n")
    (root / "data.bin").write_bytes(b"\x08\x00\x05\x00\x0a\x00\x00\x00" + bytes(500))
    (root / "dangling").symlink_to("nowhere")
    assert (root / "DICOMDIR").is_file()
    assert np.array_equal(read(root)[0], stored_voxels())


# Values


def ct(folder: Path, stored: np.ndarray, **values: object) -> None:
    write_series(folder, stored, Modality="CT", **values)


def hounsfield() -> np.ndarray:
    return np.random.default_rng(2).integers(-1000, 1500, (12, 14, 10)).astype(np.int16)


@pytest.mark.parametrize("compress", [False, True])
def test_an_overlay_in_the_high_bits_is_no_value(tmp_path: Path, compress: bool) -> None:
    stored = (hounsfield() + 1024).astype(np.uint16)
    marked = stored.copy()
    marked[:, 3:6, 3:6] |= 1 << 12
    ct(tmp_path, marked, BitsStored=12, HighBit=11, RescaleSlope=1, RescaleIntercept=-1024)
    if compress:
        for file in tmp_path.iterdir():
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(file)
    assert np.array_equal(read(tmp_path)[0], hounsfield())


def test_twelve_signed_bits(tmp_path: Path) -> None:
    values = hounsfield()
    ct(tmp_path, (values.view(np.uint16) & 0x0FFF).view(np.int16), BitsStored=12, HighBit=11)
    assert np.array_equal(read(tmp_path)[0], values)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_modality_lut_is_applied(tmp_path: Path, factor: int) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "HU"
    table.add_new((0x0028, 0x3006), "OW", (np.arange(4096) * factor).astype("<u2").tobytes())
    stored = (hounsfield() + 1024).astype(np.uint16)
    ct(tmp_path, stored, BitsStored=12, HighBit=11, ModalityLUTSequence=DicomSequence([table]))
    assert np.array_equal(read(tmp_path)[0], stored * factor)


@pytest.mark.parametrize("padding", [-2000, -32768, 30000])
def test_padding_of_a_ct_becomes_air(tmp_path: Path, padding: int) -> None:
    values = hounsfield()
    values[:, :3] = padding
    ct(tmp_path, values)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new((0x0028, 0x0120), "SS", padding)
        dataset.save_as(file)
    expected = hounsfield()
    expected[:, :3] = -1024
    assert np.array_equal(read(tmp_path)[0], expected)


def test_padding_that_tissue_could_have_stays(tmp_path: Path) -> None:
    values = hounsfield()
    values[:, :3] = 0
    ct(tmp_path, values)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new((0x0028, 0x0120), "SS", 0)
        dataset.save_as(file)
    assert np.array_equal(read(tmp_path)[0], values)


def test_padding_written_in_the_wrong_sign(tmp_path: Path) -> None:
    values = hounsfield()
    values[:, :3] = -2000
    ct(tmp_path, values)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new((0x0028, 0x0120), "US", 65536 - 2000)
        dataset.save_as(file)
    assert read(tmp_path)[0].min() == -1024


def philips(folder: Path, slopes: np.ndarray, *, without: int = 0) -> np.ndarray:
    """A Philips MR whose true scale is private; returns its true signal."""
    signal = stored_voxels().astype(float)
    stored = np.rint(signal * slopes[:, None, None] * 10).astype(np.uint16)
    write_series(folder, stored, Manufacturer="Philips Medical Systems", RescaleSlope=1, RescaleIntercept=0)
    for index, file in enumerate(sorted(folder.iterdir(), reverse=True)):  # the slices' order is that of the names
        dataset = pydicom.dcmread(file)
        if index >= without:
            block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", float(slopes[index] * 10))
        dataset.save_as(file)
    return signal


def test_philips_private_scale(tmp_path: Path) -> None:
    slopes = 1 + 0.3 * np.sin(np.arange(12))
    signal = philips(tmp_path / "a", slopes)
    values, said = read(tmp_path / "a")
    assert np.allclose(values, signal, atol=0.1)
    assert "Philips' private scale" in said[0]
    philips(tmp_path / "b", slopes, without=3)
    assert "only 9 of 12 slices" in refusal(tmp_path / "b")
    philips(tmp_path / "c", np.ones(12))
    values, said = read(tmp_path / "c")
    assert np.array_equal(values, stored_voxels() * 10)
    assert said == []


def test_an_inverted_gray_scale_is_said(tmp_path: Path) -> None:
    write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
    values, said = read(tmp_path)
    assert np.array_equal(values, stored_voxels())
    assert "MONOCHROME1" in said[0]


# Choosing a series


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two kernels and a scout."""
    folder = tmp_path / "head"
    for number, kernel, maker in ((2, "H30s", "ACME"), (3, "H60s", "Other")):
        write_series(folder / str(number), stored_voxels(seed=number), SeriesNumber=number,
                     SeriesDescription=f"Head {kernel}", Manufacturer=maker)  # fmt: skip
    write_series(folder / "scout", stored_voxels(1), SeriesNumber=1, SeriesDescription="Topogram",
                 ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])  # fmt: skip
    return folder


def test_several_series_are_listed_with_the_way_to_choose(study: Path) -> None:
    message = refusal(study)
    for part in ("1: Topogram (MR, 1 slices) - a localizer", "2: Head H30s (MR, 12 slices)", "3: Head H60s"):
        assert part in message
    assert "--series NUMBER, or as head#NUMBER" in message


def test_a_folder_and_a_number_stand_for_a_series_everywhere(study: Path, tmp_path: Path) -> None:
    assert np.array_equal(read(Path(f"{study}#3"))[0], stored_voxels(seed=3))
    assert sniff(f"{study}#2").size == (10, 14, 12)
    assert scanner_manufacturer(f"{study}#3") == "Other"
    assert file_sha256(f"{study}#3") == file_sha256(study / "3") != file_sha256(f"{study}#2")
    for wanted in ("9", "1"):
        message = refusal(Path(f"{study}#{wanted}"), name="head")
        assert "Topogram" in message
    assert "does not exist" in refusal(Path(f"{tmp_path}/nowhere#2"))
    assert "no DICOM" in refusal(Path(f"{_volume(tmp_path)}#2"), name="volume.nii.gz")


def test_a_path_with_this_sign_in_its_name_is_read_as_it_is(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "2", tmp_path / "head#7")
    assert np.array_equal(read(tmp_path / "head#7")[0], stored_voxels(seed=2))
    assert np.array_equal(read(Path(f"{tmp_path}/head#7#2"))[0], stored_voxels(seed=2))


@pytest.mark.parametrize("cell", ["head#3,", "head,3"])
def test_a_cohort_table_chooses_a_series(study: Path, cell: str) -> None:
    table = study.parent / "cohort.csv"
    table.write_text(f"subject,CT,CT_series\n1,{cell}\n", encoding="utf-8")
    (visit,) = (cohort := read_cohort(table)).visits
    cohort.require("CT")
    assert np.array_equal(read(visit.volumes["CT"])[0], stored_voxels(seed=3))
    assert "CT_series" not in visit.variables
    table.write_text("subject,CT\n1,nowhere#3\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="nowhere#3"):
        read_cohort(table).require("CT")


def _volume(folder: Path) -> Path:
    image = sitk.GetImageFromArray(stored_voxels().astype(np.float32))
    sitk.WriteImage(image, str(folder / "volume.nii.gz"))
    return folder / "volume.nii.gz"


@pytest.mark.parametrize(
    "command",
    [
        ["synthesize", "{study}", "--to", "FDG-PET", "-o", "{out}.nii.gz"],
        ["suvr", "{study}", "--template-space", "-o", "{out}.csv"],
        ["compare", "{volume}", "{study}"],
    ],
    ids=lambda command: command[0],
)
def test_commands_take_a_series(study: Path, tmp_path: Path, command: list[str]) -> None:
    volume = _volume(tmp_path)
    filled = [part.format(study=study, out=tmp_path / "out", volume=volume) for part in command]
    alone = CliRunner().invoke(app, filled)
    assert alone.exit_code == 1
    assert "holds several series" in alone.stderr
    for way in ([*filled, "--series", "9"], [part.replace(str(study), f"{study}#9") for part in filled]):
        named = CliRunner().invoke(app, way)
        assert named.exit_code == 1
        assert "head holds no series named '9'" in named.stderr
    assert not list(tmp_path.glob("out*"))


def test_transfer_syntaxes_give_the_same_values(tmp_path: Path) -> None:
    values = {}
    for name, syntax in (
        ("explicit", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("big endian", pydicom.uid.ExplicitVRBigEndian),
        ("deflated", pydicom.uid.DeflatedExplicitVRLittleEndian),
    ):
        write_series(tmp_path / name)
        for file in (tmp_path / name).iterdir():
            dataset = pydicom.dcmread(file)
            if name == "big endian":
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax
            pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        values[name] = read(tmp_path / name)[0]
    for found in values.values():
        assert np.array_equal(found, stored_voxels())


@pytest.mark.parametrize("every", [2, 40])
def test_slices_without_a_scale_among_slices_with_one_are_refused(tmp_path: Path, every: int) -> None:
    ct(tmp_path / "ct", hounsfield().astype(np.int16) + 1024, RescaleSlope=1, RescaleIntercept=-1024)
    files = sorted((tmp_path / "ct").iterdir())
    left_out = files[:: min(every, len(files) - 1)]
    for file in left_out:
        dataset = pydicom.dcmread(file)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(file)
    with pytest.raises(BadInputError, match=f"{len(left_out)} of {len(files)} slices .*Rescale Slope and Intercept"):
        read_image(tmp_path / "ct")


def test_two_patients_in_one_series_are_said(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", stored_voxels())
    values, messages = read(tmp_path / "mr")
    assert not any("patients" in message for message in messages)
    files = sorted((tmp_path / "mr").iterdir())
    for file in files[: len(files) // 2]:
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "another"
        dataset.save_as(file)
    mixed, messages = read(tmp_path / "mr")
    assert np.array_equal(mixed, values)
    assert any("name 2 patients" in message for message in messages)
