"""Synthetic volumes as DICOM: where every voxel is, what it is worth, what the header says and what it keeps quiet."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.models import find_model
from modality_synthesis.preprocessing import target_scaling
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis.dicom_export import Exported, export_dicom
from modality_synthesis.synthesis.provenance import Run, sidecar
from modality_synthesis.synthesis.record import Record
from modality_synthesis.volumes import dicom_series, read_image, same_geometry
from modality_synthesis.volumes.dicom_write import quantize

SERIES, MAP = "dicom-series", "dicom-parametric-map"
SIZE, SPACING, ORIGIN = (10, 12, 14), (0.9, 1.1, 2.5), (-37.123456789, -21.5, 11.25)
ROUTES = {"FDG-PET": ("T1w", "SUVR", "PT"), "T2w": ("CT", "signal", "MR"), "CT": ("T1w", "HU", "CT")}
SECRETS = ("Grünwald", "Anna", "7-Secret", "19441231", "St. Elsewhere", "secret-source", "ADNI")


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    return np.array(sitk.VersorTransform(axis, np.radians(degrees)).GetMatrix()).reshape(3, 3)


# Columns are where x, y and z point to, in LPS.
DIRECTIONS = {
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "left-handed LAS": np.diag([1.0, -1.0, 1.0]),
    "left-handed sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "coronal LIA": np.array([[1.0, 0, 0], [0, 0, -1], [0, -1, 0]]),
    "oblique": rotation((1, 2, 3), 25),
    "left-handed oblique": rotation((1, 0.2, 0.3), 20) @ np.diag([-1.0, 1, 1]),
    # So far from the body's axes that their names do not settle the handedness.
    "diagonal": rotation((1, 1, 1), 60),
    "left-handed diagonal": np.diag([1.0, 1, -1]) @ rotation((1, 1, 1), 60),
}


def phantom(direction: np.ndarray | None = None, low: float = -0.1, high: float = 2.7) -> sitk.Image:
    """Noise: no voxel has its neighbor's value."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).uniform(low, high, SIZE[::-1]).astype(np.float32))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    return image


def record(target: str = "FDG-PET", **changes: Any) -> dict[str, Any]:
    """What `synthesize` writes beside a volume."""
    source, quantity, _ = ROUTES[target]
    return {
        "SyntheticData": True,
        "Description": f"Synthetic {target}",
        "ModelBadge": "demonstration",
        "Model": {
            "id": "demo",
            "version": "1.2.3",
            "generator": "residual-unet",
            "weights_sha256": "ab" * 32,
            "trained_on_simulated_data": True,
        },
        "Route": {"source": source, "target": target},
        "Quantity": quantity,
        "Units": quantity,
        "ReferenceRegion": "cerebellar gray matter" if quantity == "SUVR" else None,
        "DisplayWindow": [0.0, 2.0],
        "Sources": [{"file": "Anna_Grünwald_secret-source.nii.gz", "sha256": "cd" * 32}],
        "GeneratedBy": [{"Name": "modality-synthesis", "Version": "9.8.7"}],
        "Parameters": {"device": "cpu", "seed": 3, "space": "native", "clinical": {"site": "St. Elsewhere"}},
        "Warnings": ["Anna_Grünwald_secret-source.nii.gz: slices 6 mm apart"],
        **changes,
    }


def write_volume(folder: Path, image: sitk.Image, name: str = "Anna_Grünwald.mha", **changes: Any) -> Path:
    """A volume with its record; MetaImage keeps the geometry exactly."""
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(folder / name))
    (folder / name).with_suffix(".json").write_text(json.dumps(record(**changes)), encoding="utf-8")
    return folder / name


def headers(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]


def planes(datasets: list[Dataset]) -> list[tuple[np.ndarray, np.ndarray, Dataset]]:
    """Values, position and header of every plane, in the order they are stored in; by pydicom alone."""
    if "PerFrameFunctionalGroupsSequence" not in datasets[0]:
        values = [data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept) for data in datasets]
        return [(v, np.array(d.ImagePositionPatient, float), d) for v, d in zip(values, datasets, strict=True)]
    data = datasets[0]
    shared, geometry = data.SharedFunctionalGroupsSequence[0], Dataset()
    geometry.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    geometry.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    positions = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in data.PerFrameFunctionalGroupsSequence]
    frames = data.pixel_array.astype(np.float64)
    return [(v, np.array(p, float), geometry) for v, p in zip(frames, positions, strict=True)]


def largest_difference(datasets: list[Dataset], image: sitk.Image) -> float:
    """Look every DICOM pixel up in the volume, by its position in the world."""
    expected, visited = sitk.GetArrayFromImage(image), np.zeros(SIZE[::-1], int)
    to_index = np.linalg.inv(np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing()))
    largest = 0.0
    for values, position, header in planes(datasets):
        row, column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
        between_rows, between_columns = map(float, header.PixelSpacing)
        rows, columns = np.indices(values.shape)
        world = position + columns[..., None] * between_columns * row + rows[..., None] * between_rows * column
        index = (world - np.array(image.GetOrigin())) @ to_index.T
        whole = np.rint(index).astype(int)
        assert np.abs(index - whole).max() < 1e-8  # DICOM's decimals are good for 1e-12 or so
        place = (whole[..., 2], whole[..., 1], whole[..., 0])
        visited[place] += 1
        largest = max(largest, float(np.abs(values - expected[place]).max()))
    assert np.all(visited == 1)
    return largest


def write_source(folder: Path, image: sitk.Image, tilt_mm: float = 0.0, **changes: Any) -> list[Dataset]:
    """An MR series as a scanner writes it: patient data in Latin-1, files in no order, slices shifted by the tilt."""
    folder.mkdir(parents=True)
    stored = np.rint(sitk.GetArrayFromImage(image) * 1000).astype(np.int16)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    written = []
    for index, pixels in enumerate(stored):
        data = Dataset()
        data.SpecificCharacterSet = "ISO_IR 100"
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
        data.PatientName, data.PatientID = "Grünwald^Anna", "7-Secret"
        data.PatientBirthDate, data.PatientSex, data.PatientAge = "19441231", "F", "079Y"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.StudyDate, data.StudyTime, data.StudyID = "20240102", "101112", "S1"
        data.AccessionNumber, data.ReferringPhysicianName = "A1", "Müller^Max"
        data.InstitutionName, data.StationName, data.OperatorsName = "St. Elsewhere", "MR3", "Op^Erator"
        data.Modality, data.SeriesDescription, data.SeriesNumber = "MR", "ADNI MPRAGE", 4
        data.PatientPosition, data.InstanceNumber = "HFS", len(stored) - index
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelSpacing = [image.GetSpacing()[1], image.GetSpacing()[0]]
        data.ImageOrientationPatient = [round(float(value), 9) for value in direction[:, :2].T.ravel()]
        position = image.TransformIndexToPhysicalPoint((0, 0, index)) + index * tilt_mm * direction[:, 1]
        data.ImagePositionPatient = [round(value, 6) for value in position]
        data.add_new("PixelData", "OW", pixels.tobytes())
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(folder / f"IM{len(stored) - index:03d}", enforce_file_format=True)
        written.append(data)
    return written


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        export_dicom(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_series_keeps_every_voxel_in_its_place(tmp_path: Path, name: str) -> None:
    image = phantom(DIRECTIONS[name])
    folder = tmp_path / "dicom"
    result = export_dicom(write_volume(tmp_path, image), folder)
    slices = headers(folder)
    assert len(slices) == SIZE[2]
    assert result.step <= 1.01 * 2.7 / 32767
    assert 0 < largest_difference(slices, image) <= result.largest_error == result.step / 2
    # Right-handed and in order: viewers that number the slices go along the normal.
    row, column = np.reshape(np.array(slices[0].ImageOrientationPatient, float), (2, 3))
    positions = np.array([data.ImagePositionPatient for data in slices], float)
    assert np.allclose(np.diff(positions, axis=0), 2.5 * np.cross(row, column), atol=1e-9)
    assert [data.InstanceNumber for data in slices] == list(range(1, SIZE[2] + 1))
    assert {float(data.SliceThickness) for data in slices} == {2.5}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_parametric_map_is_exact(tmp_path: Path, name: str) -> None:
    image = phantom(DIRECTIONS[name])
    folder = tmp_path / "dicom"
    result = export_dicom(write_volume(tmp_path, image), folder, file_format=MAP)
    (data,) = headers(folder)
    assert largest_difference([data], image) == result.largest_error == 0.0
    assert np.asarray(data.pixel_array).dtype == np.float32
    assert data.NumberOfFrames == SIZE[2]
    numbers = [frame.FrameContentSequence[0].DimensionIndexValues for frame in data.PerFrameFunctionalGroupsSequence]
    assert [int(np.ravel(number)[0]) for number in numbers] == list(range(1, SIZE[2] + 1))


@pytest.mark.parametrize(("name", "axes"), [("RAS", "LPS"), ("coronal LIA", "LIP"), ("left-handed sagittal", "PIR")])
def test_slices_are_shown_as_radiologists_look_at_them(tmp_path: Path, name: str, axes: str) -> None:
    """The volume's own planes, but never upside down: rows run to the left or back, columns to the back or down."""
    folder = tmp_path / "dicom"
    export_dicom(write_volume(tmp_path, phantom(DIRECTIONS[name])), folder)
    ends = {"L": (1, 0, 0), "P": (0, 1, 0), "I": (0, 0, -1)}
    expected = [*ends[axes[0]], *ends[axes[1]]]
    assert np.allclose(np.array(headers(folder)[0].ImageOrientationPatient, float), expected)


@pytest.mark.parametrize("target", ROUTES)
@pytest.mark.parametrize("name", ["LPS", "left-handed oblique"])
def test_other_readers(tmp_path: Path, name: str, target: str) -> None:
    """SimpleITK (GDCM, as in 3D Slicer) and this package's own reader."""
    image = phantom(DIRECTIONS[name])
    volume, folder = write_volume(tmp_path, image, target=target), tmp_path / "dicom"
    result = export_dicom(volume, folder)
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    for back in (reader.Execute(), read_image(folder)):
        assert same_geometry(sitk.DICOMOrient(back, "LPS"), sitk.DICOMOrient(image, "LPS"), 1e-6)
        on_grid = sitk.Resample(sitk.Cast(back, sitk.sitkFloat64), image, sitk.Transform(), sitk.sitkNearestNeighbor)
        difference = sitk.GetArrayFromImage(on_grid) - sitk.GetArrayFromImage(image)
        assert np.abs(difference).max() <= result.largest_error + 3e-7  # float32
    (info,) = dicom_series(folder)
    assert info.description.endswith("(synthetic)")
    assert info.modality == ROUTES[target][2]


def test_own_reader_reads_parametric_maps(tmp_path: Path) -> None:
    image = phantom(DIRECTIONS["left-handed oblique"])
    export_dicom(write_volume(tmp_path, image), tmp_path / "dicom", file_format=MAP)
    back = read_image(tmp_path / "dicom")
    on_grid = sitk.Resample(back, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(on_grid), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_header_says_what_it_is(tmp_path: Path, file_format: str) -> None:
    folder = tmp_path / "dicom"
    export_dicom(write_volume(tmp_path, phantom()), folder, file_format=file_format)
    for data in headers(folder):
        assert data.SyntheticData == "YES"
        assert data.ImageType[0] == "DERIVED"
        assert data.SeriesDescription == "FDG-PET SUVR from T1w (synthetic)"
        for fact in ("Synthetic FDG-PET computed from T1w; not measured", "demo 1.2.3", "ab" * 32, "simulated data",
                     "reference region cerebellar gray matter", "seed 3", "not for diagnosis"):  # fmt: skip
            assert fact in data.DerivationDescription
        assert "not measured" in data.ImageComments
        (equipment,) = data.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert equipment.ManufacturerModelName == "demo 1.2.3"
        assert equipment.SoftwareVersions == "modality-synthesis 9.8.7"
        groups = data.SharedFunctionalGroupsSequence[0] if file_format == MAP else data
        (mapping,) = groups.RealWorldValueMappingSequence
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "{ratio}"
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "SUVR"
        window = groups.FrameVOILUTSequence[0] if file_format == MAP else data
        assert (float(window.WindowCenter), float(window.WindowWidth)) == (1.0, 2.0)
        assert window.VOILUTFunction == "LINEAR_EXACT"
    if file_format == MAP:
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
        assert data.ContentQualification == "RESEARCH"
        assert groups.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Brain"
    else:
        assert mapping.RealWorldValueSlope == float(data.RescaleSlope)
        assert "16-bit integers in steps of 8.24e-05 SUVR" in data.DerivationDescription
        assert "at most 4.12e-05" in data.DerivationDescription
        assert data.Units == "NONE"


def test_quantization() -> None:
    """The step is exact in the header's decimals; whole numbers are kept."""
    rng = np.random.default_rng(1)
    for scale in (1e-6, 0.37, 2.7, 999.0, 3e4, 1e7):
        values = rng.normal(0, scale, 5000)
        result = quantize(values)
        assert result.stored.dtype == np.int16
        assert np.abs(result.stored * result.step - values).max() <= result.largest_error * (1 + 1e-9)
        assert np.abs(result.stored.astype(int)).max() > 32767 / 1.02
        assert float(f"{result.step:.2e}") == result.step
    counts = rng.integers(-1024, 3071, 1000).astype(np.float32)
    exact = quantize(counts)
    assert (exact.step, exact.largest_error) == (1.0, 0.0)
    assert np.array_equal(exact.stored, counts)
    assert quantize(np.array([0.0, 40000.0])).step > 1


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_nothing_of_the_patient_without_a_source(tmp_path: Path, file_format: str) -> None:
    volume = write_volume(tmp_path / "Anna Grünwald", phantom())
    written = write_source(tmp_path / "Anna Grünwald" / "mri", phantom())
    folder = tmp_path / "dicom"
    export_dicom(volume, folder, file_format=file_format)
    forbidden = [*SECRETS, written[0].StudyInstanceUID, written[0].FrameOfReferenceUID, "Anna_Gr"]
    for path in folder.iterdir():
        content = path.read_bytes()
        for secret in forbidden:
            for encoding in ("utf-8", "latin-1"):
                assert secret.encode(encoding) not in content, secret
    data = headers(folder)[0]
    assert str(data.PatientName) == "SYNTHETIC^"
    assert data.PatientBirthDate == data.PatientSex == data.AccessionNumber == ""
    assert str(data.ReferringPhysicianName or "") == ""
    assert "SourceImageSequence" not in data
    assert "DerivationImageSequence" not in data.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
    assert "ReferencedSeriesSequence" not in data


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_each_export_is_a_patient_of_its_own(tmp_path: Path, file_format: str) -> None:
    """Fresh UIDs and patient IDs: exports of different people never end up in one study."""
    volume = write_volume(tmp_path, phantom())
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        export_dicom(volume, folder, file_format=file_format)
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    for keyword in keywords:
        values = [{getattr(data, keyword) for data in headers(folder)} for folder in (first, second)]
        assert not values[0] & values[1], keyword
    datasets = headers(first)
    assert len({data.SOPInstanceUID for data in datasets}) == len(datasets)
    assert len({data.SeriesInstanceUID for data in datasets}) == 1
    assert all(data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID for data in datasets)


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_named_patient(tmp_path: Path, file_format: str) -> None:
    export_dicom(
        write_volume(tmp_path, phantom()), tmp_path / "dicom", file_format=file_format, patient_id="sub-07",
        patient_name="Müster^Änne",
    )  # fmt: skip
    data = headers(tmp_path / "dicom")[0]
    assert (data.PatientID, data.PatientName.family_name, data.PatientName.given_name) == ("sub-07", "Müster", "Änne")


@pytest.mark.parametrize("file_format", [SERIES, MAP])
@pytest.mark.parametrize("name", ["LPS", "oblique"])
def test_source_gives_patient_study_and_space(tmp_path: Path, file_format: str, name: str) -> None:
    image = phantom(DIRECTIONS[name])
    source = write_source(tmp_path / "mri", image)
    volume, folder = write_volume(tmp_path, read_image(tmp_path / "mri")), tmp_path / "dicom"
    reporter = Reporter()
    export_dicom(volume, folder, file_format=file_format, source_dicom=tmp_path / "mri", reporter=reporter)
    assert reporter.warnings == []
    for data in headers(folder):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID",
                        "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
                        "FrameOfReferenceUID"):  # fmt: skip
            assert getattr(data, keyword) == getattr(source[0], keyword), keyword
        assert data.PatientName.family_name == "Grünwald"  # from Latin-1 into Unicode
        assert data.SpecificCharacterSet == "ISO_IR 192"
        assert data.SeriesInstanceUID != source[0].SeriesInstanceUID
        for keyword in ("InstitutionName", "StationName", "OperatorsName"):  # of another device
            assert keyword not in data
        holder = data
        if file_format == MAP:
            (holder,) = data.SharedFunctionalGroupsSequence[0].DerivationImageSequence
            (series,) = data.ReferencedSeriesSequence
            assert series.SeriesInstanceUID == source[0].SeriesInstanceUID
            assert len(series.ReferencedInstanceSequence) == len(source)
        named = {item.ReferencedSOPInstanceUID for item in holder.SourceImageSequence}
        assert named == {item.SOPInstanceUID for item in source}
        assert {item.ReferencedSOPClassUID for item in holder.SourceImageSequence} == {MRImageStorage}
    assert largest_difference(headers(folder), read_image(volume)) < 5e-5


def test_source_is_found_through_a_converted_volume(tmp_path: Path) -> None:
    """dcm2niix and others reverse axes: the grid is the same, and so is the patient."""
    write_source(tmp_path / "mri", phantom(DIRECTIONS["oblique"]))
    reversed_axes = sitk.Flip(read_image(tmp_path / "mri"), (False, True, True))
    volume = write_volume(tmp_path, reversed_axes, "converted.nrrd")
    export_dicom(volume, tmp_path / "dicom", source_dicom=tmp_path / "mri" / "IM003")
    assert headers(tmp_path / "dicom")[0].PatientID == "7-Secret"


@pytest.mark.parametrize("change", ["shifted", "turned", "coarser"])
def test_source_with_another_grid_is_refused(tmp_path: Path, change: str) -> None:
    """A volume must not come under a wrong patient's name."""
    write_source(tmp_path / "mri", phantom())
    other = phantom(rotation((0, 0, 1), 3) if change == "turned" else None)
    if change == "shifted":
        other.SetOrigin((ORIGIN[0] + 1, *ORIGIN[1:]))
    if change == "coarser":
        other.SetSpacing((1.0, 1.1, 2.5))
    message = refused(write_volume(tmp_path, other), tmp_path / "dicom", source_dicom=tmp_path / "mri")
    assert "does not lie on the grid of the DICOM series in mri" in message
    assert not (tmp_path / "dicom").exists()


def test_source_with_gantry_tilt(tmp_path: Path) -> None:
    """What `synthesize` makes of a tilted series lies on the straightened grid; it is the same series' all the same."""
    write_source(tmp_path / "mri", phantom(), tilt_mm=0.4)
    image = read_image(tmp_path / "mri")
    volume = write_volume(tmp_path, image)
    export_dicom(volume, tmp_path / "dicom", source_dicom=tmp_path / "mri")
    slices = headers(tmp_path / "dicom")
    assert slices[0].PatientID == "7-Secret"
    assert slices[0].Rows > SIZE[1]
    assert same_geometry(read_image(tmp_path / "dicom"), image, 1e-6)


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_multi_frame_source(tmp_path: Path, file_format: str) -> None:
    """One file with many frames is one source image."""
    volume = write_volume(tmp_path, phantom())
    export_dicom(volume, tmp_path / "source", file_format=MAP, patient_id="multi")
    export_dicom(volume, tmp_path / "dicom", file_format=file_format, source_dicom=tmp_path / "source")
    (source,), data = headers(tmp_path / "source"), headers(tmp_path / "dicom")[0]
    assert (data.PatientID, data.FrameOfReferenceUID) == ("multi", source.FrameOfReferenceUID)
    holder = data
    if file_format == MAP:
        (holder,) = data.SharedFunctionalGroupsSequence[0].DerivationImageSequence
    (item,) = holder.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert item.ReferencedSOPClassUID == source.SOPClassUID


def test_source_without_frame_of_reference(tmp_path: Path) -> None:
    write_source(tmp_path / "mri", phantom(), FrameOfReferenceUID="")
    reporter = Reporter()
    volume = write_volume(tmp_path, phantom())
    export_dicom(volume, tmp_path / "dicom", source_dicom=tmp_path / "mri", reporter=reporter)
    assert "no frame of reference" in reporter.warnings[0]
    assert headers(tmp_path / "dicom")[0].FrameOfReferenceUID.startswith("2.25.")


def test_records_of_synthesize_are_understood() -> None:
    """The writer of the record and its reader agree."""
    card = find_model("demo-t1w-fdg").card
    run = Run("secret.nii", "cd" * 32, "cpu", 5, "template", {"dice": 0.9}, ["secret.nii: odd"], {"age": 71},
              scaling=target_scaling(card.preprocessing.target))  # fmt: skip
    understood = Record.model_validate(json.loads(json.dumps(sidecar(card, run))))
    assert (understood.model.id, understood.model.weights_sha256) == (card.id, card.weights.sha256)
    assert (understood.quantity, understood.units) == (card.output.quantity, card.output.units)
    assert understood.display_window == card.output.display_window
    assert (understood.parameters.seed, understood.parameters.space) == (5, "template")
    assert "secret" not in repr(understood)
    assert "71" not in repr(understood.parameters)


def test_volumes_without_a_record_are_refused(tmp_path: Path) -> None:
    """A measured volume must not be marked as synthetic, and one without units has no meaning."""
    volume = write_volume(tmp_path, phantom())
    path = volume.with_suffix(".json")
    text = path.read_text(encoding="utf-8")
    path.unlink()
    assert "has no record Anna_Grünwald.json beside it" in refused(volume, tmp_path / "dicom")
    path.write_text('{"Modality": "MR", "EchoTime": 0.003}')
    assert "no record of a synthetic volume (SyntheticData: field required)" in refused(volume, tmp_path / "dicom")
    path.write_text(text.replace('"SyntheticData": true', '"SyntheticData": false'))
    assert "no record of a synthetic volume" in refused(volume, tmp_path / "dicom")
    path.write_text(text[:100])
    assert "no valid JSON" in refused(volume, tmp_path / "dicom")
    path.write_text(text.replace('"1.2.3"', '"1.2.3\\\\1"'))
    assert "Model.version" in refused(volume, tmp_path / "dicom")
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused(volume, tmp_path / "dicom")
    assert not (tmp_path / "dicom").exists()


def test_bad_volumes_are_refused(tmp_path: Path) -> None:
    broken = sitk.GetArrayFromImage(phantom())
    broken[3, 3, 3] = np.nan
    assert "not finite" in refused(write_volume(tmp_path, sitk.GetImageFromArray(broken)), tmp_path / "dicom")
    four = sitk.JoinSeries([phantom(), phantom()])
    assert "4-D" in refused(write_volume(tmp_path, four, "four.nrrd"), tmp_path / "dicom")
    assert "does not exist" in refused(tmp_path / "none.nii", tmp_path / "dicom")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "dicom"))) == []


def test_wrong_use(tmp_path: Path) -> None:
    volume, folder = write_volume(tmp_path, phantom()), tmp_path / "dicom"
    with pytest.raises(UsageError, match="dicom-series or dicom-parametric-map"):
        export_dicom(volume, folder, file_format="dicom")
    with pytest.raises(UsageError, match="leave out patient ID"):
        export_dicom(volume, folder, source_dicom=tmp_path, patient_id="1")
    for identity in ({"patient_id": "a\\b"}, {"patient_id": "x" * 65}, {"patient_name": "a\nb"}):
        with pytest.raises(UsageError, match="at most 64 characters"):
            export_dicom(volume, folder, **identity)


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    volume, folder = write_volume(tmp_path, phantom()), tmp_path / "dicom"
    folder.mkdir()
    export_dicom(volume, folder)  # an empty one is fine
    before = sorted(folder.iterdir())
    assert "is not an empty folder" in refused(volume, folder)
    assert sorted(folder.iterdir()) == before
    assert "is not an empty folder" in refused(volume, volume)


@pytest.mark.parametrize("file_format", [SERIES, MAP])
def test_an_interrupted_export_leaves_nothing(
    tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = write_volume(tmp_path / "in", phantom())
    original, written = Dataset.save_as, []

    def interrupted(data: Dataset, path: Path, **options: Any) -> None:
        original(data, path, **options)
        written.append(path)
        if file_format == MAP or len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "save_as", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_dicom(volume, tmp_path / "out" / "dicom", file_format=file_format)
    assert written
    assert not (tmp_path / "out").exists()


def test_parametric_map_without_highdicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    volume = write_volume(tmp_path, phantom())
    assert "pip install 'modality-synthesis[dicom]'" in refused(volume, tmp_path / "dicom", file_format=MAP)
    export_dicom(volume, tmp_path / "dicom")  # a series needs it not


def test_command_line(tmp_path: Path) -> None:
    volume = write_volume(tmp_path / "Volumes with spaces", phantom())
    command = [sys.executable, "-m", "modality_synthesis.cli", "export", str(volume), "-o", str(tmp_path / "dicom")]
    ran = subprocess.run([*command, "--progress", "json"], capture_output=True, text=True, check=True)
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {message["type"] for message in messages} == {"progress", "result"}
    assert messages[-1]["files"] == {"folder": str(tmp_path / "dicom")}
    assert messages[-1]["largest_error"] == messages[-1]["step"] / 2 > 0
    assert len(headers(tmp_path / "dicom")) == SIZE[2]
    again = subprocess.run([*command, "--progress", "json"], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert json.loads(again.stdout.splitlines()[-1])["code"] == "BAD_INPUT"
    wrong = subprocess.run([*command, "--format", "jpeg"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "dicom-parametric-map" in wrong.stderr


def tool(name: str) -> str:
    """A program that comes with a package of the `dev` extra."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed (Linux on x86-64 only)")
    return found


def export_with_source(tmp_path: Path, target: str, file_format: str, with_source: bool) -> tuple[Path, Exported]:
    image = phantom(DIRECTIONS["left-handed oblique" if not with_source else "oblique"])
    options: dict[str, Any] = {}
    if with_source:
        # dcentvfy compares bytes, so that one name in two character sets would be two names to it.
        write_source(tmp_path / "mri", image, PatientName="Green^Ann", ReferringPhysicianName="Miller^Max")
        options["source_dicom"] = tmp_path / "mri"
    volume = write_volume(tmp_path, image, target=target)
    return volume, export_dicom(volume, tmp_path / "dicom", file_format=file_format, **options)


@pytest.mark.parametrize("with_source", [False, True])
@pytest.mark.parametrize(("target", "file_format"), [*((target, SERIES) for target in ROUTES), ("FDG-PET", MAP)])
def test_dicom_validator_finds_no_error(tmp_path: Path, target: str, file_format: str, with_source: bool) -> None:
    """dciodvfy and dcentvfy, the reference validators: each object by itself, and all of them together."""
    objects, entities = tool("dciodvfy"), tool("dcentvfy")
    _, result = export_with_source(tmp_path, target, file_format, with_source)
    files = sorted(result.folder.iterdir())
    said = subprocess.run([objects, "-new", str(files[-1])], capture_output=True, check=False)
    lines = (said.stdout + said.stderr).decode(errors="replace").splitlines()
    assert {"PT": "PETImage", "MR": "MRImage", "CT": "CTImage"}[ROUTES[target][2]] in lines or "ParametricMap" in lines
    # Known and meant: SUVR has a private code, and MR values are rescaled as all vendors do today.
    known = ("<99MODSYN>", "RescaleSlope", "RescaleIntercept")
    assert [line for line in lines if line.startswith(("Error", "Warning")) and not any(k in line for k in known)] == []
    assert not any(line.startswith("Error") for line in lines)
    sources = sorted((tmp_path / "mri").glob("*"))
    together = subprocess.run([entities, *map(str, [*files, *sources])], capture_output=True, check=False)
    assert b"Error" not in together.stdout + together.stderr


@pytest.mark.parametrize("with_source", [False, True])
def test_slicers_importer_reads_the_parametric_map(tmp_path: Path, with_source: bool) -> None:
    """3D Slicer loads parametric maps through dcmqi: it must not crash, mirror or lose the codes."""
    importer = tool("paramap2itkimage")
    volume, result = export_with_source(tmp_path, "FDG-PET", MAP, with_source)
    out = tmp_path / "itk"
    out.mkdir()
    (file,) = result.folder.iterdir()
    command = [importer, "--inputDICOM", str(file), "--outputDirectory", str(out), "--outputType", "nrrd"]
    subprocess.run(command, capture_output=True, check=True)
    facts = json.loads((out / "meta.json").read_text())
    assert facts["QuantityValueCode"]["CodeValue"] == "SUVR"
    assert facts["MeasurementUnitsCode"]["CodeValue"] == "{ratio}"
    assert facts["SeriesDescription"].endswith("(synthetic)")
    image = read_image(volume)
    back = sitk.ReadImage(str(out / "pmap.nrrd"))
    assert same_geometry(sitk.DICOMOrient(back, "LPS"), sitk.DICOMOrient(image, "LPS"), 1e-3)
    on_grid = sitk.Resample(back, image, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(on_grid), sitk.GetArrayFromImage(image))
