"""What a panel remembers. The modules' parameter nodes inherit these; a saved scene brings them back.

The Python that runs the worker is no part of it: that is a setting of the machine.
"""

# No `from __future__ import annotations`: Slicer's wrapper reads the annotations themselves, and instantiates the node
# classes among them, so that they must be concrete ones.

from pathlib import Path
from typing import Annotated, Optional, Union, get_args

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange

from modality_synthesis import names

DEVICES = ["auto", "cpu", "cuda", "mps"]
DIFFERENCE_KINDS = ["signed", "absolute", "relative"]
ORIENTATIONS = ["Axial", "Coronal", "Sagittal", "All"]
EXPORT_FORMATS = ["NIfTI", "NRRD", "DICOM series", "DICOM parametric map"]
CUSTOM_MASK = "custom-mask"
REFERENCE_REGIONS = [*names.REFERENCE_REGIONS, CUSTOM_MASK]
NO_TRACER = "none"
TRACERS = [NO_TRACER, *names.TRACERS]
CENTILOID_REGION = "whole-cerebellum"  # the only one that Centiloid constants hold for
COMPARISON_TABLES = ["Metrics", "Regions", "Calibration"]
PET, Z_SCORES, UNCERTAINTY = "PET", "z-scores", "uncertainty"
# What the panel shows for a choice; the scene keeps the value.
CHOICE_TEXTS = {
    "auto": _("Automatic (GPU if there is one)"),
    "cpu": _("CPU"),
    "cuda": _("NVIDIA GPU (CUDA)"),
    "mps": _("Apple GPU (MPS)"),
    "signed": _("Signed: synthetic - measured"),
    "absolute": _("Absolute"),
    "relative": _("Relative, % of the measured"),
    "All": _("All three planes"),
    **names.REFERENCE_REGIONS,
    CUSTOM_MASK: _("My own mask"),
    NO_TRACER: _("None, or not amyloid"),
    **names.TRACERS,
    PET: _("SUVR"),
    Z_SCORES: _("z-scores"),
    UNCERTAINTY: _("Uncertainty (SD)"),
}
LARGEST_PVC_MM = 20
LARGEST_Z = 5  # of the threshold; `display.Z_LIMIT` is the end of the colors
LARGEST_SEED = 2**31 - 1
MOST_SAMPLES = 64


class SynthesisParameters:
    """
    inputVolume - The volume to start from.
    model - Id of the chosen model package.
    clinical - Clinical variables as NAME=VALUE, separated by commas; what is left out is unknown.
    outputVolume - The synthetic volume of the last run, and the one to overwrite in the next.
    uncertaintyVolume - Its voxel-wise uncertainty, when several samples were drawn.
    device - Where the network runs.
    seed - For generators that draw noise.
    samples - How many a diffusion model draws; two or more give an uncertainty.
    referenceVolume - The measured volume that the synthetic one is compared with.
    coregister - Align the reference with the synthetic volume first.
    differenceVolume - The difference map that is shown.
    differenceKind - Which difference map is shown.
    differenceOpacity - Of the difference map over the source, percent.
    differenceThreshold - Differences below this share of the color range are not drawn, percent.
    comparisonOrientation - Of the comparison's slice views.
    compareRegions - Compare the atlas regions too, where a T1w MRI is known.
    metricsTable - Figures of the last comparison.
    regionsTable - Its atlas regions.
    calibrationTable - How well its uncertainty tells the error.
    comparisonTable - Which of these tables is shown.
    batchTable - Cohort table.
    batchFolder - Where a batch writes.
    batchResume - Skip the rows that are done.
    exportFolder - Where an export goes.
    exportFormat - File format of an export.
    exportSourceDicom - A DICOM export takes patient and study from the source's series, when it is known.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    clinical: str = ""
    outputVolume: vtkMRMLScalarVolumeNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    device: Annotated[str, Choice(DEVICES)] = "auto"
    seed: Annotated[int, WithinRange(0, LARGEST_SEED)] = 0
    samples: Annotated[int, WithinRange(1, MOST_SAMPLES)] = 1
    referenceVolume: vtkMRMLScalarVolumeNode
    coregister: bool = False
    differenceVolume: vtkMRMLScalarVolumeNode
    differenceKind: Annotated[str, Choice(DIFFERENCE_KINDS)] = "signed"
    differenceOpacity: Annotated[float, WithinRange(0, 100)] = 100.0
    differenceThreshold: Annotated[float, WithinRange(0, 100)] = 0.0
    comparisonOrientation: Annotated[str, Choice(ORIENTATIONS)] = "Axial"
    compareRegions: bool = True
    metricsTable: vtkMRMLTableNode
    regionsTable: vtkMRMLTableNode
    calibrationTable: vtkMRMLTableNode
    comparisonTable: Annotated[str, Choice(COMPARISON_TABLES)] = "Metrics"
    batchTable: Optional[Path]  # noqa: UP045 - what Slicer reads
    batchFolder: Optional[Path]  # noqa: UP045 - what Slicer reads
    batchResume: bool = True
    exportFolder: Optional[Path]  # noqa: UP045 - what Slicer reads
    exportFormat: Annotated[str, Choice(EXPORT_FORMATS)] = "NIfTI"
    exportSourceDicom: bool = True


class SuvrParameters:
    """
    referenceRegion - SUVR is 1 on average in this region.
    referenceMask - A segmentation or label map, when the region is a custom mask.
    normalCohort - Table of healthy people; adds z-scores.
    tracer - Of an amyloid PET; adds Centiloids.
    pvcFwhm - Correct for a point spread of this many mm; 0 for no correction.
    suvrVolume - The SUVR image of the last run.
    zVolume - Its map of z-scores.
    suvrTable - Its regions.
    suvrOverlay - What is drawn over the MRI.
    suvrOpacity - Of the overlay over the MRI, percent.
    zThreshold - z-scores below this are not drawn.
    suvrOutlines - The atlas regions are outlined.
    """

    referenceRegion: Annotated[str, Choice(REFERENCE_REGIONS)] = "cerebellar-gray"
    referenceMask: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 - what Slicer reads
    normalCohort: Optional[Path]  # noqa: UP045 - what Slicer reads
    tracer: Annotated[str, Choice(TRACERS)] = NO_TRACER
    pvcFwhm: Annotated[float, WithinRange(0, LARGEST_PVC_MM)] = 0.0
    suvrVolume: vtkMRMLScalarVolumeNode
    zVolume: vtkMRMLScalarVolumeNode
    suvrTable: vtkMRMLTableNode
    suvrOverlay: Annotated[str, Choice([PET, Z_SCORES, UNCERTAINTY])] = PET
    suvrOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    zThreshold: Annotated[float, WithinRange(0, LARGEST_Z)] = 2.0
    suvrOutlines: bool = True


def readOldPaths(parameters: object) -> None:
    """Take over the paths of scenes in which they could not be empty: these hold `exportFolder`, not `exportFolder.0`."""
    node = parameters.parameterNode
    for name, parameter in parameters.allParameters.items():
        if Path in get_args(parameter.unalteredType) and node.HasParameter(name):
            stored = node.GetParameter(name)
            node.UnsetParameter(name)
            if stored not in ("", ".") and getattr(parameters, name) is None:
                setattr(parameters, name, Path(stored))


def resetUnknownChoices(parameters: object) -> list:
    """Set every choice whose stored value is not offered (any more) to its default; returns their names.

    A scene saved by another version may hold such a value, and `connectGui` would refuse to bind any widget then.
    """
    changed = []
    for name, parameter in parameters.allParameters.items():
        choice = choiceOf(parameter)
        if choice is not None and getattr(parameters, name) not in choice.choices:
            setattr(parameters, name, parameters.default(name).value)
            changed.append(name)
    return changed


def choiceOf(parameter: object) -> Union[Choice, None]:  # noqa: UP007 - evaluated by Python 3.9 here
    """The annotation that limits a parameter to some values; None when there is none."""
    return next((note for note in get_args(parameter.unalteredType) if isinstance(note, Choice)), None)
