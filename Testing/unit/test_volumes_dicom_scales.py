"""What DICOM's stored numbers mean: Modality LUTs, private scales, real world values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from test_volumes_dicom import enhanced, refusal, stored_voxels, values_of, write_series

from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import read_image

RAMP = 1 + 0.3 * np.sin(np.arange(12))


def read(path: Path) -> tuple[np.ndarray, list[Finding]]:
    reporter = Reporter()
    return values_of(read_image(path, reporter=reporter)), reporter.findings


def each(folder: Path, change: Callable[[Dataset, int], None]) -> None:
    """Change every slice's header, lowest first."""
    headers = {file: pydicom.dcmread(file) for file in folder.iterdir()}
    order = sorted(headers, key=lambda file: headers[file].ImagePositionPatient[2])
    for index, file in enumerate(order):
        change(headers[file], index)
        headers[file].save_as(file)


# Modality LUT


def lut_item(data: object, vr: str, count: int, bits: int, first: int = 0) -> Dataset:
    item = Dataset()
    item.ModalityLUTType = "HU"
    item.add_new((0x0028, 0x3002), "US", [count, first, bits])
    item.add_new((0x0028, 0x3006), vr, data)
    return item


@pytest.mark.parametrize("count", [256, 201])
@pytest.mark.parametrize("form", ["packed bytes", "packed words", "bytes", "words"])
def test_a_modality_lut_of_eight_bits(tmp_path: Path, form: str, count: int) -> None:
    """Two entries in a word, the first in its lower byte, or one: the standard has both (PS3.3 C.11.1.1)."""
    entries = (np.arange(count) * 7 % 251).astype(np.uint8)
    even = np.append(entries, np.zeros(count % 2, np.uint8))
    data: object = {
        "packed bytes": even.tobytes(),
        "packed words": even.view("<u2").tolist(),
        "bytes": entries.astype("<u2").tobytes(),
        "words": entries.tolist(),
    }[form]
    vr = "OW" if "bytes" in form else "US"
    stored = stored_voxels() % 256
    write_series(tmp_path, stored, ModalityLUTSequence=DicomSequence([lut_item(data, vr, count, 8)]))
    assert np.array_equal(read(tmp_path)[0], entries[np.minimum(stored, count - 1)])


def test_a_modality_lut_that_begins_below_zero(tmp_path: Path) -> None:
    stored = stored_voxels().astype(np.int16) % 200 - 100
    item = lut_item((np.arange(128) * 3).astype("<u2").tobytes(), "OW", 128, 16, first=0x10000 - 64)
    write_series(tmp_path, stored, ModalityLUTSequence=DicomSequence([item]))
    assert np.array_equal(read(tmp_path)[0], np.clip(stored + 64, 0, 127) * 3)


@pytest.mark.parametrize("bits", [8, 16])
def test_an_incomplete_modality_lut_is_damaged(tmp_path: Path, bits: int) -> None:
    item = lut_item(np.arange(60).astype("<u2").tobytes(), "OW", 256, bits)
    write_series(tmp_path, stored_voxels() % 256, ModalityLUTSequence=DicomSequence([item]))
    assert "Modality LUT announces 256 entries" in refusal(tmp_path, name="IM012")


# Philips


def philips_mr(folder: Path, slopes: np.ndarray) -> None:
    write_series(folder, Manufacturer="Philips Medical Systems", RescaleSlope=2, RescaleIntercept=0)

    def scale(header: Dataset, index: int) -> None:
        header.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", float(slopes[index]))

    each(folder, scale)


def test_a_constant_private_scale_is_named_in_the_record_and_changes_nothing(tmp_path: Path) -> None:
    philips_mr(tmp_path, np.full(12, 0.125))
    values, findings = read(tmp_path)
    assert np.array_equal(values, stored_voxels() * 2)
    (finding,) = findings
    assert (finding.level, finding.code, finding.value) == ("ok", "philips-scale", 4.0)
    assert "(2005,100E)" in finding.message
    assert "Rescale Slope) was used" in finding.message


def test_a_private_scale_that_varies_is_applied(tmp_path: Path) -> None:
    philips_mr(tmp_path, RAMP)
    values, findings = read(tmp_path)
    assert np.allclose(values, stored_voxels() / RAMP[:, None, None], rtol=1e-5)
    assert [(finding.level, finding.code) for finding in findings] == [("look", "philips-scale")]


@pytest.mark.parametrize("nested", [False, True])
def test_private_scales_of_frames(tmp_path: Path, nested: bool) -> None:
    signal = enhanced(tmp_path / "frames.dcm")
    header = pydicom.dcmread(tmp_path / "frames.dcm")
    header.Manufacturer = "Philips Healthcare"
    for index, frame in enumerate(header.PerFrameFunctionalGroupsSequence):
        item = Dataset() if nested else frame
        item.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 1.0 + index)
        if nested:
            frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [item])
    header.save_as(tmp_path / "frames.dcm")
    scale = (np.arange(12) + 1.0)[::-1, None, None]
    values, findings = read(tmp_path)
    assert np.allclose(values, signal / scale**2, rtol=1e-5)
    assert findings[0].code == "philips-scale"


def philips_pet(folder: Path, units: str, **factors: float) -> None:
    write_series(folder, Modality="PT", Manufacturer="Philips", Units=units, RescaleSlope=2, RescaleIntercept=0)

    def scale(header: Dataset, _: int) -> None:
        block = header.private_block(0x7053, "Philips PET Private Group", create=True)
        for name, factor in factors.items():
            block.add_new({"suv": 0x00, "activity": 0x09}[name], "DS", factor)

    each(folder, scale)


@pytest.mark.parametrize(
    ("factors", "factor", "unit"),
    [
        ({"activity": 3.0, "suv": 0.001}, 3.0, "Bq/mL"),
        ({"suv": 0.001}, 0.001, "SUV"),
        ({"activity": 0.0, "suv": 0.001}, 0.001, "SUV"),
    ],
)
def test_counts_of_a_philips_pet_become_a_unit(
    tmp_path: Path, factors: dict[str, float], factor: float, unit: str
) -> None:
    philips_pet(tmp_path, "CNTS", **factors)
    values, findings = read(tmp_path)
    assert np.allclose(values, stored_voxels() * 2 * factor, rtol=1e-6)
    assert unit in findings[0].message
    assert "(7053,10" in findings[0].message


def test_a_philips_pet_in_becquerel_stays(tmp_path: Path) -> None:
    philips_pet(tmp_path, "BQML", activity=3.0, suv=0.001)
    values, findings = read(tmp_path)
    assert np.array_equal(values, stored_voxels() * 2)
    assert findings == []


def test_counts_with_a_factor_on_some_slices_are_refused(tmp_path: Path) -> None:
    philips_pet(tmp_path, "CNTS", activity=3.0)

    def unscale(header: Dataset, index: int) -> None:
        if index < 4:
            del header.private_block(0x7053, "Philips PET Private Group")[0x09]

    each(tmp_path, unscale)
    assert "only 8 of 12 slices hold Philips' private factor (7053,1009)" in refusal(tmp_path)


# Real world values


def with_real_world(folder: Path, slopes: np.ndarray, intercept: float = 0.0, items: int = 1) -> None:
    def mapped(header: Dataset, index: int) -> None:
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = float(slopes[index]), intercept
        header.RealWorldValueMappingSequence = DicomSequence([item] * items)

    each(folder, mapped)


def test_a_constant_real_world_value_mapping_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleSlope=2, RescaleIntercept=0)
    with_real_world(tmp_path, np.full(12, 0.5))
    values, findings = read(tmp_path)
    assert np.array_equal(values, stored_voxels() * 2)
    assert [(finding.level, finding.code, finding.value) for finding in findings] == [("ok", "real-world-values", 0.25)]


def test_real_world_values_are_the_only_scale(tmp_path: Path) -> None:
    write_series(tmp_path)
    with_real_world(tmp_path, np.full(12, 0.5), intercept=-3.0)
    values, findings = read(tmp_path)
    assert np.allclose(values, stored_voxels() * 0.5 - 3.0)
    assert "(0040,9096) was applied" in findings[0].message


def test_real_world_values_that_vary_are_applied_in_mri_and_refused_elsewhere(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", RescaleSlope=2, RescaleIntercept=0)
    with_real_world(tmp_path / "mr", RAMP)
    assert np.allclose(read(tmp_path / "mr")[0], stored_voxels() * RAMP[:, None, None], rtol=1e-5)
    write_series(tmp_path / "pet", Modality="PT", RescaleSlope=2, RescaleIntercept=0)
    with_real_world(tmp_path / "pet", RAMP)
    message = refusal(tmp_path / "pet")
    assert "(0040,9096) and the public scale" in message
    assert "from 0.35 to 0.648" in message


def test_several_real_world_mappings_mean_several_quantities(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleSlope=2, RescaleIntercept=0)
    with_real_world(tmp_path, RAMP, items=2)
    assert np.array_equal(read(tmp_path)[0], stored_voxels() * 2)


# Rescale


@pytest.mark.parametrize("written", [b"  nan", b"  inf", b"abcde", b"0.000"])
def test_a_slope_that_is_no_number_is_named(tmp_path: Path, written: bytes) -> None:
    """Taken for 1, as other programs do, it would give other values than the scanner's, without a word."""
    write_series(tmp_path, RescaleSlope="1.500", RescaleIntercept="3.00")
    files = sorted(tmp_path.iterdir())
    files[4].write_bytes(files[4].read_bytes().replace(b"1.500", written))
    message = refusal(tmp_path, name=files[4].name)
    assert "Slope is" in message


def test_a_negative_slope_is_applied(tmp_path: Path) -> None:
    write_series(tmp_path, RescaleSlope="-1.5", RescaleIntercept="3")
    assert np.array_equal(read(tmp_path)[0], 3 - 1.5 * stored_voxels())


def test_a_frame_without_scale_among_frames_with_one_is_refused(tmp_path: Path) -> None:
    enhanced(tmp_path / "frames.dcm")
    header = pydicom.dcmread(tmp_path / "frames.dcm")
    del header.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence
    header.save_as(tmp_path / "frames.dcm")
    assert "1 of 12 slices do not say" in refusal(tmp_path)


@pytest.mark.parametrize("wanted", ["None", " "])
def test_a_series_without_number_is_not_chosen_by_no_name(tmp_path: Path, wanted: str) -> None:
    write_series(tmp_path)
    assert "holds no series named" in refusal(tmp_path, series=wanted)
