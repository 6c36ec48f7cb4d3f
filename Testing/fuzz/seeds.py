"""Small sound inputs of every kind that the program reads; mutations start from them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
_EXPLICIT, _DEFLATED, _RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_CT, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4.1"


@cache
def volume(ending: str, compressed: bool = False) -> bytes:
    """The bytes of a volume of 12 x 10 x 9 voxels in a format."""
    voxels = np.random.default_rng(0).integers(0, 900, (9, 10, 12)).astype(np.int16)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetOrigin((-5.0, 3.0, 8.0))
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"volume{ending}"
        sitk.WriteImage(image, str(path), compressed)
        return path.read_bytes()


def divided(content: bytes, separator: bytes) -> tuple[bytes, bytes]:
    """A file's header, the separator included, and what follows."""
    end = content.index(separator) + len(separator)
    return content[:end], content[end:]


@cache
def dicom_slices(form: str = "explicit") -> tuple[bytes, ...]:
    """Nine CT slices: `explicit`, `deflated`, or encapsulated as `rle` or `jpeg2000`."""
    return tuple(_dicom(_slice(number), form) for number in range(9))


@cache
def enhanced() -> bytes:
    """One enhanced MR object of nine frames."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    data = _common(_ENHANCED_MR, "1.2.3.99")
    data.Modality, data.NumberOfFrames = "MR", 9
    data.PixelData = np.random.default_rng(7).integers(0, 900, (9, 10, 12)).astype("<i2").tobytes()

    def group(**functional: dict[str, Any]) -> Dataset:
        item = Dataset()
        for keyword, values in functional.items():
            inner = Dataset()
            for name, value in values.items():
                setattr(inner, name, value)
            setattr(item, keyword, Sequence([inner]))
        return item

    data.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PixelMeasuresSequence={"PixelSpacing": ["1.5", "1.0"], "SliceThickness": "2"},
                PlaneOrientationSequence={"ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]},
                PixelValueTransformationSequence={"RescaleSlope": "1", "RescaleIntercept": "0"},
            )
        ]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [
            group(PlanePositionSequence={"ImagePositionPatient": ["0", "0", str(2.0 * frame)]})
            for frame in range(9)
        ]
    )  # fmt: skip
    return _dicom(data, "explicit")


def _common(sop_class: str, instance: str) -> Any:
    from pydicom.dataset import Dataset

    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = sop_class, instance, "1.2.9"
    data.SeriesNumber, data.SeriesDescription, data.Manufacturer = 2, "HEAD", "ACME"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns, data.SamplesPerPixel = 10, 12, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PatientName = "DOE^JANE"
    return data


def _slice(number: int) -> Any:
    data = _common(_CT, f"1.2.3.{number}")
    data.Modality, data.InstanceNumber = "CT", number + 1
    data.PixelSpacing, data.ImagePositionPatient = ["1.5", "1.0"], ["0", "0", str(2.0 * number)]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    data.PixelData = np.random.default_rng(number).integers(0, 900, (10, 12)).astype("<i2").tobytes()
    return data


def _dicom(data: Any, form: str) -> bytes:
    from pydicom.dataset import FileMetaDataset

    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = _EXPLICIT
    if form == "rle":
        data.compress(_RLE, generate_instance_uid=False)
    elif form == "jpeg2000":
        _compress(data)
    elif form == "deflated":
        data.file_meta.TransferSyntaxUID = _DEFLATED
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _compress(data: Any) -> None:
    """Pixel data as GDCM compresses it."""
    import pydicom

    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.dcm"
        pixels = np.frombuffer(data.PixelData, "<i2").reshape(1, data.Rows, data.Columns)
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path), True)
        packed = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    data.PixelData = packed.PixelData
    data["PixelData"].is_undefined_length = True


def deflated_again(header: bytes, mutated: bytes) -> bytes:
    """A deflated DICOM file whose data set is `mutated`."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return header + packer.compress(mutated) + packer.flush()


def deflated_parts() -> tuple[bytes, bytes]:
    """Of a deflated DICOM file: what is not compressed, and the data set."""
    content = dicom_slices("deflated")[0]
    length = int.from_bytes(content[140:144], "little")
    return content[: 144 + length], zlib.decompress(content[144 + length :], wbits=-zlib.MAX_WBITS)


@cache
def cards() -> list[dict[str, Any]]:
    """The shipped models' cards."""
    return [
        json.loads((ROOT / "Resources/Models" / name / "model.json").read_text())
        for name in ("demo-t1w-fdg", "demo-pasta", "demo-ct-t1w")
    ]


@cache
def weights() -> bytes:
    """A safetensors file of two tensors, 17 numbers."""
    import torch
    from safetensors.torch import save

    return save({"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.float16)})


def card_of(content: bytes) -> dict[str, Any]:
    """A card that declares this file of weights."""
    declared = {"file": "weights.safetensors", "sha256": hashlib.sha256(content).hexdigest(), "parameters": 17}
    return {**cards()[0], "id": "fuzzed", "weights": declared}


@cache
def package_zip() -> bytes:
    """A package as a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", json.dumps(card_of(weights())))
        archive.writestr("weights.safetensors", weights())
    return stream.getvalue()


@cache
def recipes() -> list[str]:
    """Shipped recipes of every system, each with what it builds on."""
    import yaml

    from modality_synthesis.training.recipe import merged_recipe

    found = [merged_recipe(path) for path in sorted((ROOT / "Training/recipes").rglob("*.yaml"))]
    by_generator = {facts["generator"]["name"]: facts for facts in found if {"name", "package", "losses"} <= set(facts)}
    return [yaml.safe_dump(facts, sort_keys=False) for _, facts in sorted(by_generator.items())]


SIDECAR: dict[str, Any] = {
    "SyntheticData": True,
    "Model": {"id": "m-1", "version": "1.0.0", "weights_sha256": "0" * 64, "badge": "demonstration"},
    "Route": {"source": "T1w", "target": "FDG-PET"},
    "Quantity": "SUVR", "Units": "SUVR", "ReferenceRegion": "cerebellum", "DisplayWindow": [0, 2],
    "GeneratedBy": [{"Name": "modality-synthesis", "Version": "1"}],
    "Parameters": {"seed": 1}, "Manufacturer": "GE", "Modality": "MR", "EchoTime": 0.003, "RepetitionTime": 2.3,
    "Fingerprint": "0" * 64, "Findings": [{"code": "a", "level": "look", "message": "m", "action": "", "value": 1.0}],
    "Warnings": ["w"], "Sources": [{"Name": "a.nii.gz", "SHA256": "0" * 64}], "Quality": {"mask_ml": 1400.0},
}  # fmt: skip
COHORT = "subject,session,split,T1w,FDG-PET,age,sex,manufacturer\n" + "".join(
    f"s{n},v{n},train,s{n}/t1.nii.gz,s{n}/p.nii.gz,{60 + n},F,GE\n" for n in range(12)
)
NORMAL = "region,hemisphere,suvr,sd\n" + "".join(f"r{n},left,{1 + n / 10},0.1\n" for n in range(9))
PEOPLE = "subject,region,hemisphere,suvr,covered_percent\n" + "".join(
    f"s{person},r{n},left,{1 + n / 10 + person / 50},100\n" for n in range(3) for person in range(6)
)
QC = "subject\tsession\tmodality\tcode\tlevel\tmessage\tvalue\tdecision\n" + "".join(
    f"s{n}\tv{n}\tT1w\tcontrast\tlook\todd\t0.5\taccept\n" for n in range(5)
)
REGIONS = (
    "region,name,hemisphere,kind,volume_ml,covered_percent,suvr,suvr_low,suvr_high,sd,p10,p90,z,asymmetry_percent,"
    "flags,synthetic,model\n"
    + "".join(f"r{n},Region {n},left,cortex,{n + 3},100,1.{n},,,0.1,0.9,1.4,-0.5,1.0,small,no,\n" for n in range(9))
)
LOG = "epoch,step,train/loss,validation/MAE,learning_rate\n" + "".join(
    f"{n},{n * 10},0.{n},0.{n},0.001\n" for n in range(6)
)
PARTICIPANTS = "participant_id\tage\tsex\n" + "".join(f"sub-{n}\t{60 + n}\tF\n" for n in range(3))
