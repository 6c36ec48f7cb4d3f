"""A synthetic volume as a DICOM series, one file per slice: PET, MR or CT Image Storage, which every program reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.dicom_content import (
    MANUFACTURER,
    SERIES_NUMBER,
    WINDOW_FUNCTION,
    Content,
    quantity_item,
    reference_items,
    say_synthetic,
)
from modality_synthesis.volumes.dicom_context import Context, dicom_date, dicom_time, new_uid
from modality_synthesis.volumes.dicom_planes import Planes, planes_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LARGEST = 32767
_SOP_CLASSES = {
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CT": "1.2.840.10008.5.1.4.1.1.2",
}


@dataclass(frozen=True)
class Quantized:
    """Values as 16-bit integers.

    Attributes:
        stored: int16; value = step x stored.
        step: the values' distance, in their unit; exact in DICOM's 16 characters.
    """

    stored: np.ndarray
    step: float

    @property
    def largest_error(self) -> float:
        """How far a stored value can be from the given one, in its unit; single-precision readers add 1e-7 of it."""
        return 0.0 if self.step == 1 else self.step / 2


def quantize(values: np.ndarray) -> Quantized:
    """Store values as 16-bit integers, as finely as their largest magnitude allows.

    Whole numbers that fit are stored as they are. Otherwise the step is the largest magnitude / 32767, rounded up to
    three digits so that its decimal text in the header is exact.

    Args:
        values: finite.
    """
    largest = float(np.abs(values).max())
    whole = largest <= _LARGEST and bool(np.all(values == np.rint(values)))
    step = 1.0 if whole or largest == 0 else _rounded_up(largest / _LARGEST)
    stored = np.rint(values.astype(np.float64) / step)
    return Quantized(stored.astype(np.int16), step)


def _rounded_up(value: float) -> float:
    exponent = math.floor(math.log10(value)) - 2
    return float(f"{math.ceil(value / 10.0**exponent)}e{exponent}")


def write_dicom_series(
    image: sitk.Image, folder: Path, content: Content, context: Context, reporter: Reporter
) -> Quantized:
    """Write a volume as one DICOM series with new UIDs: `0001.dcm`, `0002.dcm`... along the slices' normal.

    Slices, rows and columns may be numbered differently than in `image` (see `planes_of`); every voxel keeps its place.

    Args:
        image: float32, LPS world in mm.
        folder: exists and is empty.
        content: what the files say.
        context: whose they are.
        reporter: receives progress.

    Returns:
        the values as they were stored.
    """
    planes = planes_of(image)
    quantized = quantize(planes.voxels)
    shared = _shared_attributes(planes, quantized, content, context)
    for index in reporter.track(range(len(planes)), "Writing slices"):
        path = folder / f"{index + 1:04d}.dcm"
        _slice(shared, index, planes.positions[index], quantized.stored[index]).save_as(path, enforce_file_format=True)
    return quantized


def _shared_attributes(planes: Planes, quantized: Quantized, content: Content, context: Context) -> Dataset:
    """What all slices have in common."""
    from pydicom.dataset import Dataset

    now = datetime.now()
    dataset = Dataset()
    dataset.update(context.attributes)
    dataset.SOPClassUID = _SOP_CLASSES[content.modality]
    dataset.Modality = content.modality
    dataset.SeriesInstanceUID = new_uid()
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = dicom_date(now)
    dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = dicom_time(now)
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = content.model
    dataset.DeviceSerialNumber = content.weights_sha256
    dataset.SoftwareVersions = content.software
    say_synthetic(dataset, content, _storage(quantized, content))
    if context.sources:
        # All of them in each slice: a network sees the whole volume.
        dataset.SourceImageSequence = reference_items(context.sources)
    _add_plane(dataset, planes)
    _add_values(dataset, quantized, content)
    _MODULES[content.modality](dataset, planes, context)
    return dataset


def _storage(quantized: Quantized, content: Content) -> str:
    if quantized.step == 1:
        return "Stored exactly, as whole numbers."
    return (
        f"Stored as 16-bit integers in steps of {quantized.step:.3g} {content.units}: values differ by at most "
        f"{quantized.largest_error:.3g} from the computed ones."
    )


def _add_plane(dataset: Dataset, planes: Planes) -> None:
    dataset.Rows, dataset.Columns = planes.voxels.shape[1:]
    dataset.ImageOrientationPatient = [_decimal(value) for value in planes.orientation]
    dataset.PixelSpacing = [_decimal(value) for value in planes.spacing[:2]]
    dataset.SliceThickness = _decimal(planes.spacing[2])


def _add_values(dataset: Dataset, quantized: Quantized, content: Content) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.LossyImageCompression = "00"
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(quantized.step), "0"
    mapping = quantity_item(content)
    # Signed, like the pixels; the dictionary leaves it open.
    mapping.add_new("RealWorldValueFirstValueMapped", "SS", -_LARGEST - 1)
    mapping.add_new("RealWorldValueLastValueMapped", "SS", _LARGEST)
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = quantized.step, 0.0
    dataset.RealWorldValueMappingSequence = [mapping]
    low, high = content.window
    dataset.WindowCenter, dataset.WindowWidth = _decimal((low + high) / 2), _decimal(high - low)
    dataset.VOILUTFunction = WINDOW_FUNCTION


def _add_pet(dataset: Dataset, planes: Planes, context: Context) -> None:
    """PET's own modules (PS3.3 C.8.9). No emission was counted: what they demand is filled with neutral values."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SeriesType = ["STATIC", "IMAGE"]
    dataset.Units = "NONE"
    dataset.CountsSource = "EMISSION"
    dataset.DecayCorrection = "NONE"
    dataset.CollimatorType = "NONE"
    dataset.CorrectedImage = ""
    dataset.NumberOfSlices = len(planes)
    dataset.FrameReferenceTime = "0"
    dataset.ActualFrameDuration = None
    dataset.AcquisitionDate = dataset.AcquisitionTime = ""
    dataset.RadiopharmaceuticalInformationSequence = []
    dataset.PatientOrientationCodeSequence = []
    dataset.PatientGantryRelationshipCodeSequence = []


def _add_mr(dataset: Dataset, planes: Planes, context: Context) -> None:
    """MR's own modules (PS3.3 C.8.3). No sequence was run: RM (research mode) is the only term that names none."""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "RM", "NONE", ""
    dataset.MRAcquisitionType = ""
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    dataset.SpacingBetweenSlices = dataset.SliceThickness
    dataset.PatientPosition = context.patient_position


def _add_ct(dataset: Dataset, planes: Planes, context: Context) -> None:
    """CT's own module (PS3.3 C.8.2)."""
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.RescaleType = "HU"
    dataset.KVP = dataset.AcquisitionNumber = None
    dataset.PatientPosition = context.patient_position


_MODULES = {"PT": _add_pet, "MR": _add_mr, "CT": _add_ct}


def _slice(shared: Dataset, index: int, position: np.ndarray, stored: np.ndarray) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.update(shared)
    dataset.SOPInstanceUID = new_uid()
    dataset.InstanceNumber = index + 1
    if dataset.Modality == "PT":
        dataset.ImageIndex = index + 1
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    dataset.add_new("PixelData", "OW", stored.astype("<i2").tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> str:
    """A number in DICOM's DS form: as many digits as 16 characters hold."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
