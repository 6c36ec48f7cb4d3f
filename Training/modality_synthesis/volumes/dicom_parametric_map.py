"""A synthetic volume as a DICOM Parametric Map: one file that holds the float32 values bit by bit."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.quantities import Code
from modality_synthesis.volumes.dicom_content import (
    MANUFACTURER,
    SERIES_NUMBER,
    WINDOW_FUNCTION,
    Content,
    code_item,
    reference_items,
    say_synthetic,
)
from modality_synthesis.volumes.dicom_context import Context, new_uid
from modality_synthesis.volumes.dicom_index import quiet_pydicom
from modality_synthesis.volumes.dicom_planes import Planes, planes_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FILE = "parametric_map.dcm"
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_BRAIN = Code("12738006", "SCT", "Brain")


def need_highdicom() -> None:
    """Find out early that parametric maps cannot be written here.

    Raises:
        BadInputError: highdicom is not installed; the message says how to install it.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise BadInputError(
            "A DICOM parametric map needs the Python package highdicom. Install it with: "
            "pip install 'modality-synthesis[dicom]' (or pip install highdicom), or export a DICOM series instead."
        ) from None


def write_dicom_parametric_map(image: sitk.Image, folder: Path, content: Content, context: Context) -> Path:
    """Write a volume as one Parametric Map (PS3.3 A.75) with new UIDs, through highdicom.

    Args:
        image: float32, LPS world in mm.
        folder: exists and is empty.
        content: what the file says.
        context: whose it is.

    Returns:
        the file.

    Raises:
        BadInputError: highdicom is not installed.
    """
    need_highdicom()
    planes = planes_of(image)
    with quiet_pydicom():  # highdicom warns about odd names, and quotes them
        dataset = _build(planes, content, context)
    _order_frames(dataset)
    dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].VOILUTFunction = WINDOW_FUNCTION
    _add_context(dataset, context)
    say_synthetic(dataset, content, "Stored exactly, as 32-bit floating point numbers.")
    _add_references(dataset, content, context)
    _add_anatomy(dataset)
    path = folder / FILE
    dataset.save_as(path, enforce_file_format=True)
    return path


def _build(planes: Planes, content: Content, context: Context) -> Any:
    import highdicom as hd
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    values = planes.voxels.astype(np.float32)
    mapping = RealWorldValueMapping(
        lut_label=content.quantity,
        lut_explanation=content.codes.quantity.meaning,
        unit=hd.sr.CodedConcept(*content.codes.unit),
        quantity_definition=hd.sr.CodedConcept(*content.codes.quantity),
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
    )
    return ParametricMap(
        source_images=_stand_ins(planes, context),
        pixel_array=values,
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=content.model,
        software_versions=content.software,
        device_serial_number=content.weights_sha256,
        # Nobody has looked: a synthetic head may show a face as the source does.
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[mapping],
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=planes.spacing[:2],
            slice_thickness=planes.spacing[2],
            spacing_between_slices=planes.spacing[2],
        ),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", planes.orientation),
        plane_positions=[hd.PlanePositionSequence("PATIENT", position) for position in planes.positions],
        content_label="SYNTHETIC",
        content_description=content.description,
        content_creator_name=MANUFACTURER + "^",
        **_window(content),
    )


def _window(content: Content) -> dict[str, Any]:
    """The display window, as an argument for highdicom 0.27 (in 3D Slicer) or for later ones, which renamed it."""
    import highdicom as hd
    from highdicom.pm import ParametricMap

    low, high = content.window
    window = {"window_center": (low + high) / 2, "window_width": high - low}
    if "voi_lut_transformations" in signature(ParametricMap).parameters:
        return {"voi_lut_transformations": [hd.VOILUTTransformation(**window)]}
    return window


def _stand_ins(planes: Planes, context: Context) -> list[Dataset]:
    """Image headers for highdicom, which takes patient, study and frame of reference from source images, one a plane.

    The true sources may be fewer, or none: `_add_references` names those.
    """
    from pydicom.dataset import Dataset

    series, stand_ins = new_uid(), []
    for position in planes.positions:
        dataset = Dataset()
        dataset.update(context.attributes)
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", new_uid()
        dataset.SeriesInstanceUID, dataset.Modality = series, "MR"
        dataset.Rows, dataset.Columns = planes.voxels.shape[1:]
        dataset.ImageOrientationPatient = list(planes.orientation)
        dataset.ImagePositionPatient = position.tolist()
        dataset.PixelSpacing, dataset.SliceThickness = list(planes.spacing[:2]), planes.spacing[2]
        stand_ins.append(dataset)
    return stand_ins


def _order_frames(dataset: Dataset) -> None:
    """Store the frames along their normal.

    highdicom stores them against it, which the standard allows; 3D Slicer's importer (dcmqi) places them as if they
    followed it, so that the volume would come out mirrored.
    """
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    positions = np.array([group.PlanePositionSequence[0].ImagePositionPatient for group in groups], dtype=float)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    order = np.argsort(positions @ np.cross(row, column))
    frames = np.frombuffer(dataset.FloatPixelData, dtype="<f4").reshape(len(groups), -1)
    dataset.FloatPixelData = frames[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, 1):
        group.FrameContentSequence[0].DimensionIndexValues = [number]


def _add_context(dataset: Dataset, context: Context) -> None:
    for element in context.attributes:
        dataset[element.tag] = element


def _add_references(dataset: Dataset, content: Content, context: Context) -> None:
    """Replace the references to the stand-in by those to the true sources: every plane depends on all of them."""
    from pydicom.dataset import Dataset

    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in dataset:
            del dataset[keyword]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in frame:
            del frame["DerivationImageSequence"]
    if not context.sources:
        return
    derivation = Dataset()
    derivation.DerivationDescription = content.derivation
    derivation.DerivationCodeSequence = [code_item(_ARTIFICIAL_INTELLIGENCE)]
    derivation.SourceImageSequence = reference_items(context.sources)
    for item in derivation.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = [code_item(_SOURCE_IMAGE)]
    dataset.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [derivation]
    series = Dataset()
    series.SeriesInstanceUID = context.source_series
    series.ReferencedInstanceSequence = reference_items(context.sources)
    dataset.ReferencedSeriesSequence = [series]


def _add_anatomy(dataset: Dataset) -> None:
    """The anatomy of the frames. highdicom leaves it out; 3D Slicer's importer (dcmqi) crashes without it."""
    from pydicom.dataset import Dataset

    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [code_item(_BRAIN)]
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
