"""DICOM folders: which series, which order, which values - and when to refuse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    generate_uid,
)

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import dicom_series, file_sha256, read_image, sniff

SHARED = Path(os.environ.get("MODALITY_SYNTHESIS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
COUNT, ROWS, COLUMNS = 12, 14, 10
PATIENT = "Secret^Patient"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stored_voxels(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, (count, ROWS, COLUMNS)).astype(np.uint16)


def write_slice(path: Path, pixels: np.ndarray, series: str, **values: object) -> FileDataset:
    modality = str(values.pop("Modality", "MR"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES.get(modality, MRImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, "1.2.3"
    dataset.Modality, dataset.PatientName, dataset.PatientID = modality, PATIENT, "Secret-7"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing = [1.25, 0.75]  # between rows, between columns
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def write_series(
    folder: Path,
    voxels: np.ndarray | None = None,
    *,
    positions: Sequence[Sequence[float]] | None = None,
    step: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    series: str | None = None,
    prefix: str = "IM",
    **values: object,
) -> str:
    """Files whose names and instance numbers run against the anatomical order. Returns the series' UID."""
    voxels = stored_voxels() if voxels is None else voxels
    series = series or generate_uid()
    row, column = np.array(orientation).reshape(2, 3)
    if positions is None:
        normal = np.cross(row, column)
        positions = [(np.array([-40.0, -30.0, 20.0]) + normal * step * index).tolist() for index in range(len(voxels))]
    for index, (pixels, position) in enumerate(zip(voxels, positions, strict=True)):
        own = {name: value[index] if isinstance(value, tuple) else value for name, value in values.items()}
        write_slice(
            folder / f"{prefix}{len(voxels) - index:03d}",
            pixels,
            series,
            **{
                "InstanceNumber": len(voxels) - index,
                "ImagePositionPatient": [round(float(value), 6) for value in position],
                "ImageOrientationPatient": list(orientation),
                **own,
            },
        )
    return series


def refusal(path: Path, name: str | None = None, **options: str) -> str:
    with pytest.raises(BadInputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert (name or path.name) in message
    assert "Secret" not in message
    assert len(message.splitlines()) <= 2
    return message


def values_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.mark.parametrize(("modality", "slope", "intercept"), [("CT", 1, -1024), ("MR", 1.5, 3), ("PT", 0.125, 0)])
def test_values_and_geometry(tmp_path: Path, modality: str, slope: float, intercept: float) -> None:
    folder = tmp_path / "Patient Müller"
    write_series(folder, Modality=modality, RescaleSlope=slope, RescaleIntercept=intercept)
    reporter = Reporter()
    image = read_image(folder, reporter=reporter)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert image.GetSize() == (COLUMNS, ROWS, COUNT)
    assert image.GetSpacing() == (0.75, 1.25, 2.5)
    assert image.GetOrigin() == (-40, -30, 20)
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert np.array_equal(values_of(image), stored_voxels() * float(slope) + intercept)
    assert reporter.warnings == []
    assert not image.GetMetaDataKeys()


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesNumber=1)
    write_series(tmp_path, stored_voxels(seed=1), SeriesNumber=2, prefix="other.dcm")
    reporter = Reporter()
    image = read_image(tmp_path / "other.dcm005", reporter=reporter)
    assert np.array_equal(values_of(image), stored_voxels(seed=1))
    (warning,) = reporter.warnings
    assert "other.dcm005 is one image" in warning
    assert f"the whole series of {COUNT} images" in warning


def test_signed_values_and_slope_per_slice(tmp_path: Path) -> None:
    stored = stored_voxels().astype(np.int16) - 900
    slopes = tuple(0.5 + index for index in range(COUNT))
    write_series(tmp_path, stored, Modality="PT", RescaleSlope=slopes, RescaleIntercept=0)
    assert np.allclose(values_of(read_image(tmp_path)), stored * np.array(slopes)[:, None, None])


def test_oblique_sagittal_agrees_with_itk(tmp_path: Path) -> None:
    angle = np.radians(12)
    orientation = (0.0, np.cos(angle), np.sin(angle), 0.0, np.sin(angle), -np.cos(angle))
    write_series(tmp_path, orientation=[round(value, 9) for value in orientation])
    image = read_image(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    expected = sitk.Resample(sitk.Cast(reader.Execute(), sitk.sitkFloat32), image)
    assert np.array_equal(values_of(image), stored_voxels())
    assert np.linalg.det(np.array(image.GetDirection()).reshape(3, 3)) == pytest.approx(1)
    inner = (slice(1, -1),) * 3
    assert np.allclose(values_of(expected)[inner], values_of(image)[inner], atol=0.1)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_is_not_inverted(tmp_path: Path, bits: int, signed: bool) -> None:
    stored = stored_voxels().astype(np.int16) - 900 if signed else stored_voxels()
    write_series(
        tmp_path,
        stored,
        Modality="PT",
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=bits,
        HighBit=bits - 1,
        RescaleSlope=2,
        RescaleIntercept=-10,
    )
    values = values_of(read_image(tmp_path))
    assert np.array_equal(values, stored * 2.0 - 10)
    first = next(file for file in tmp_path.iterdir() if pydicom.dcmread(file).InstanceNumber == COUNT)
    assert np.array_equal(values[0], pydicom.dcmread(first).pixel_array * 2.0 - 10)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg2000_is_decoded_by_gdcm(tmp_path: Path, photometric: str, signed: bool) -> None:
    stored = stored_voxels().astype(np.int16) - 900 if signed else stored_voxels()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    write_series(plain, stored, Modality="CT", RescaleSlope=2, RescaleIntercept=-10)
    packed.mkdir()
    for file in plain.iterdir():
        compressed = tmp_path / "compressed.dcm"
        image = sitk.GetImageFromArray(pydicom.dcmread(file).pixel_array[None])
        sitk.WriteImage(image, str(compressed), True)
        dataset, source = pydicom.dcmread(compressed), pydicom.dcmread(file)
        assert dataset.file_meta.TransferSyntaxUID.is_compressed
        source.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        source.PixelData = dataset.PixelData
        source["PixelData"].is_undefined_length = True
        source.PhotometricInterpretation = photometric
        source.save_as(packed / file.name)
    assert np.array_equal(values_of(read_image(packed)), stored * 2.0 - 10)


def test_rle(tmp_path: Path) -> None:
    write_series(tmp_path, Modality="MR")
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(file)
    assert np.array_equal(values_of(read_image(tmp_path)), stored_voxels())


def test_several_series_must_be_chosen(tmp_path: Path) -> None:
    uid = write_series(tmp_path, SeriesNumber=3, SeriesDescription="T1 MPRAGE", prefix="a")
    write_series(tmp_path, stored_voxels(10, 1), SeriesNumber=12, SeriesDescription="T2 SPACE", prefix="b")
    message = refusal(tmp_path)
    assert "3: T1 MPRAGE (MR, 12 slices); 12: T2 SPACE (MR, 10 slices)" in message
    for choice in (uid, "3", "T1 MPRAGE", "t1 mprage"):
        assert np.array_equal(values_of(read_image(tmp_path, series=choice)), stored_voxels())
    assert read_image(tmp_path, series="12").GetSize()[2] == 10
    assert "no series named '99'" in refusal(tmp_path, series="99")


def test_scouts_and_other_objects_are_passed_over(tmp_path: Path) -> None:
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series(tmp_path / "1", stored_voxels(3), SeriesNumber=1, ImageType=scout)
    write_series(tmp_path / "2", SeriesNumber=2, SeriesDescription="T1")
    write_series(tmp_path / "3", stored_voxels(4), SeriesNumber=3)
    write_series(tmp_path / "4", SeriesNumber=4, Modality="SEG")
    report = write_slice(tmp_path / "report", stored_voxels()[0], generate_uid())
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.Modality = "SR"
    report.save_as(tmp_path / "report", enforce_file_format=True)
    (tmp_path / "readme.txt").write_text("hello")
    infos = dicom_series(tmp_path)
    assert [(info.number, info.slices, bool(info.problem)) for info in infos] == [
        (1, 3, True),
        (2, COUNT, False),
        (3, 4, True),
    ]
    assert np.array_equal(values_of(read_image(tmp_path)), stored_voxels())
    assert "a localizer" in refusal(tmp_path, series="1")
    assert "too few slices" in refusal(tmp_path, series="3")


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert "no DICOM images" in refusal(tmp_path)
    with pytest.raises(BadInputError, match="not a folder"):
        dicom_series(tmp_path / "a.txt")


def test_missing_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "IM006").unlink()
    message = refusal(tmp_path)
    assert "1 slice is missing between slices 7 and 5" in message
    assert "5.00 mm instead of 2.50 mm" in message
    (tmp_path / "IM005").unlink()
    assert "2 slices are missing" in refusal(tmp_path)


def test_missing_second_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "IM002").unlink()
    assert "1 slice is missing between slices 3 and 1" in refusal(tmp_path)


def test_uneven_distances_are_evened_out(tmp_path: Path) -> None:
    """Two blocks, 2 and 3.3 mm: what is linear along the stack stays what it is, everywhere."""
    heights = np.cumsum([0, *[2.0] * 6, *[3.3] * 5])
    row, column = np.indices((ROWS, COLUMNS))
    stored = np.stack([100 + 10 * height + 5 * row + 3 * column for height in heights])
    write_series(tmp_path, stored.round().astype(np.uint16), positions=[(0, 0, height) for height in heights])
    reporter = Reporter()
    image = read_image(tmp_path, reporter=reporter)
    assert "12 slices lie 2.00 to 3.30 mm apart" in reporter.warnings[0]
    assert "15 planes every 2.04 mm" in reporter.warnings[0]
    assert image.GetSize() == (COLUMNS, ROWS, 15)
    assert 14 * image.GetSpacing()[2] == pytest.approx(heights[-1])  # from the first slice to the last
    depth, row, column = np.indices((15, ROWS, COLUMNS))
    expected = 100 + 10 * image.GetSpacing()[2] * depth + 5 * row + 3 * column
    assert np.abs(values_of(image) - expected).max() <= 0.5  # the stored values' rounding
    assert sniff(tmp_path).size == image.GetSize()


def test_slices_too_far_apart(tmp_path: Path) -> None:
    heights = np.cumsum([0, *[4.0] * 6, 11.0, *[7.0] * 4])
    write_series(tmp_path, positions=[(0, 0, height) for height in heights])
    message = refusal(tmp_path)
    assert "varies from 4.00 to 11.00 mm" in message
    assert "between slices 6 and 5" in message


def test_rounded_positions_are_accepted(tmp_path: Path) -> None:
    write_series(tmp_path, positions=[(0, 0, round(0.625 * index, 1)) for index in range(COUNT)])
    assert read_image(tmp_path).GetSpacing()[2] == pytest.approx(0.625, abs=0.005)


def test_repeated_positions(tmp_path: Path) -> None:
    uid = write_series(tmp_path, prefix="a")
    write_series(tmp_path, stored_voxels(seed=1), series=uid, prefix="b")
    assert "12 of 24 slices lie where another one lies" in refusal(tmp_path)


def test_the_same_file_twice_is_no_problem(tmp_path: Path) -> None:
    write_series(tmp_path)
    shutil.copy(tmp_path / "IM003", tmp_path / "copy of IM003")
    reporter = Reporter()
    assert np.array_equal(values_of(read_image(tmp_path, reporter=reporter)), stored_voxels())
    assert "1 slices are there twice" in reporter.warnings[0]


def test_mixed_orientation_size_and_spacing(tmp_path: Path) -> None:
    for name, change in (
        ("orientations", {"orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}),
        ("image sizes", {"voxels": stored_voxels()[:, :, :9]}),
        ("pixel sizes", {"PixelSpacing": [1.0, 1.0]}),
    ):
        folder = tmp_path / name
        uid = write_series(folder, prefix="a")
        positions = [(0, 0, 200 + 2.5 * index) for index in range(COUNT)]
        other = {"voxels": stored_voxels(), "positions": positions, **change}
        write_series(folder, series=uid, prefix="b", **other)
        assert f"mixes slices of 2 {name} (12, 12 slices)" in refusal(folder)


def test_no_positions(tmp_path: Path) -> None:
    write_series(tmp_path, ImagePositionPatient=None)
    assert "its slices have no position" in refusal(tmp_path)


def test_colour(tmp_path: Path) -> None:
    write_series(tmp_path, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    assert "colour images" in refusal(tmp_path)


@pytest.mark.parametrize("tilt_mm", [0.6, -0.6])
def test_gantry_tilt_is_corrected(tmp_path: Path, tilt_mm: float) -> None:
    """A ball, scanned with slices that move along y, comes out as a ball in the same place."""
    count, rows, columns, step, center = 20, 48, 32, 1.5, np.array([1.0, 2.0, 14.0])

    def ball(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        distance = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
        return 1000 * np.exp(-((distance / 6) ** 2))

    positions = [(-12.0, -20.0 + tilt_mm * index, step * index) for index in range(count)]
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    voxels = np.stack([ball(x + 0.75 * column, y + 1.25 * row, np.array(z)) for x, y, z in positions])
    stored = voxels.round().astype(np.uint16)
    write_series(tmp_path, stored, positions=positions, Modality="CT", RescaleIntercept=-1000)
    reporter = Reporter()
    image = read_image(tmp_path, reporter=reporter)
    assert "tilted by 21.8 degrees" in reporter.warnings[0]
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert image.GetSpacing() == pytest.approx((0.75, 1.25, 1.5))
    assert image.GetSize() == (columns, rows + 10, count)  # 19 slices × 0.6 mm / 1.25 mm, rounded up
    depth, height, width = np.indices(image.GetSize()[::-1])
    axes = zip(image.GetOrigin(), image.GetSpacing(), (width, height, depth), strict=True)
    world = [start + size * index for start, size, index in axes]
    assert np.abs(values_of(image) + 1000 - ball(*world)).max() < 30
    untilted = read_untilted(tmp_path)
    assert np.abs(untilted + 1000 - ball(*world)[:, :rows]).max() > 300  # what ignoring the tilt would give


def read_untilted(folder: Path) -> np.ndarray:
    files = sorted(folder.iterdir(), reverse=True)
    return np.stack([pydicom.dcmread(file).pixel_array.astype(float) - 1000 for file in files])


def test_irregular_shifts(tmp_path: Path) -> None:
    positions = [(0, 3.0 if index in (4, 5) else 0, 2.0 * index) for index in range(COUNT)]
    write_series(tmp_path, positions=positions)
    assert "shifted against each other irregularly (up to 3.0 mm)" in refusal(tmp_path)


def test_truncated_and_corrupt_files(tmp_path: Path) -> None:
    write_series(tmp_path)
    whole = (tmp_path / "IM004").read_bytes()
    (tmp_path / "IM004").write_bytes(whole[:-100])
    assert "IM004 is a damaged DICOM file" in refusal(tmp_path, "IM004")
    (tmp_path / "IM004").write_bytes(whole[:300])
    assert "IM004 is a damaged DICOM file" in refusal(tmp_path, "IM004")
    (tmp_path / "IM004").write_bytes(whole[:200])
    assert "IM004 is a damaged DICOM file" in refusal(tmp_path, "IM004")


def test_constant_and_tiny(tmp_path: Path) -> None:
    write_series(tmp_path / "flat", np.full((COUNT, ROWS, COLUMNS), 5, np.uint16))
    assert "all its voxels are 5" in refusal(tmp_path / "flat")
    write_series(tmp_path / "tiny", stored_voxels()[:, :6, :6])
    assert "6×6×12 voxels" in refusal(tmp_path / "tiny")
    write_series(tmp_path / "thick", step=25.0)
    assert "0.75×1.25×25 mm" in refusal(tmp_path / "thick")


def enhanced(path: Path, *, step_after_5: float = 2.5) -> np.ndarray:
    stored = stored_voxels()
    dataset = write_slice(path, stored[0], generate_uid())
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames = COUNT
    del dataset.PixelSpacing
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [1.25, 0.75]
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = DicomSequence([measures])
    shared.PlaneOrientationSequence = DicomSequence([plane])
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for index in range(COUNT):
        frame, position, scaling = Dataset(), Dataset(), Dataset()
        # Frames are stored from top to bottom.
        position.ImagePositionPatient = [0, 0, 100 - 2.5 * index - (step_after_5 - 2.5 if index > 5 else 0)]
        scaling.RescaleSlope, scaling.RescaleIntercept = index + 1, -5
        frame.PlanePositionSequence = DicomSequence([position])
        frame.PixelValueTransformationSequence = DicomSequence([scaling])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return (stored * (np.arange(COUNT) + 1)[:, None, None] - 5.0)[::-1]


def test_enhanced_multi_frame(tmp_path: Path) -> None:
    expected = enhanced(tmp_path / "good" / "one.dcm")
    for path in (tmp_path / "good", tmp_path / "good" / "one.dcm"):
        reporter = Reporter()
        image = read_image(path, reporter=reporter)
        assert reporter.warnings == []
        assert np.array_equal(values_of(image), expected)
        assert image.GetOrigin() == (0, 0, 72.5)
        assert image.GetSpacing() == (0.75, 1.25, 2.5)
    enhanced(tmp_path / "gap" / "one.dcm", step_after_5=5.0)
    assert "1 slice is missing between slices 7 and 6" in refusal(tmp_path / "gap")


def test_sniff_and_hash(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    info = sniff(tmp_path / "a")
    assert (info.format, info.size, info.spacing) == ("DICOM", (COLUMNS, ROWS, COUNT), (0.75, 1.25, 2.5))
    before = file_sha256(tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    (tmp_path / "a" / "IM001").rename(tmp_path / "a" / "renamed")
    assert file_sha256(tmp_path / "a") == before
    (tmp_path / "a" / "IM002").unlink()
    assert file_sha256(tmp_path / "a") != before


@pytest.mark.parametrize("tilt", [0.3, -0.3])
def test_tilted_blocks(tmp_path: Path, tilt: float) -> None:
    """A slanted plane of values in world coordinates, seen by tilted slices of two distances, stays where it is."""
    heights = np.cumsum([0, *[2.0] * 6, *[4.0] * 5])
    positions = [(0.0, tilt * height, height) for height in heights]
    row, column = np.indices((ROWS, COLUMNS))
    stored = np.stack([1000 + 4 * (y + 1.25 * row) + 8 * 0.75 * column + 10 * z for _, y, z in positions])
    write_series(tmp_path, stored.round().astype(np.uint16), positions=positions)
    image = read_image(tmp_path)
    assert image.GetSize()[2] == 17  # every 2 mm
    depth, row, column = np.indices(image.GetSize()[::-1])
    y, z = image.GetOrigin()[1] + 1.25 * row, 2.0 * depth
    inside = (y >= tilt * z) & (y <= tilt * z + 1.25 * (ROWS - 1)) & (z % 4 == 0)  # where both neighbors hold values
    errors = np.abs(values_of(image) - (1000 + 4 * y + 8 * 0.75 * column + 10 * z))
    assert inside.sum() > 500
    assert errors[inside].max() <= 1.0


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the sample data is not in {SHARED}")
def test_real_ct_with_tilt_and_uneven_distances() -> None:
    """28 slices, 4 and 7 mm apart, gantry tilted: a head 14.4 cm high with bone, brain and air at their HU."""
    reporter = Reporter()
    image = read_image(SHARED / "dicom" / "ct_ge_head", reporter=reporter)
    assert "tilted by 18.5 degrees" in reporter.warnings[0]
    assert "28 slices lie 1.08 to 7.00 mm apart" in reporter.warnings[1]
    assert image.GetSize() == (512, 611, 37)
    assert image.GetSpacing() == pytest.approx((0.488, 0.488, 4.0), abs=0.01)
    assert 36 * image.GetSpacing()[2] == pytest.approx(144.09, abs=0.01)
    # Each pixel lies where DICOM's equation (PS3.3 C.7.6.2.1-1) puts it.
    for file in ("01.dcm", "14.dcm", "28.dcm"):
        plane = pydicom.dcmread(SHARED / "dicom" / "ct_ge_head" / file)
        row, column = np.meshgrid(np.arange(100, 420, 7), np.arange(100, 420, 7), indexing="ij")
        along, down = np.array(plane.ImageOrientationPatient).reshape(2, 1, 1, 3)
        height, width = plane.PixelSpacing
        world = plane.ImagePositionPatient + along * width * column[..., None] + down * height * row[..., None]
        there = [image.EvaluateAtPhysicalPoint(point, sitk.sitkLinear) for point in world.reshape(-1, 3).tolist()]
        stored = plane.pixel_array[row, column].astype(float).ravel()
        assert np.corrcoef(np.clip(there, -100, 1000), np.clip(stored, -100, 1000))[0, 1] > 0.99
