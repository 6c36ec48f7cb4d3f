"""What a panel remembers. The modules' parameter nodes inherit these; a saved scene brings them back.

The Python that runs the worker is no part of it: that is a setting of the machine.
"""

# No `from __future__ import annotations`: Slicer's wrapper reads the annotations themselves.

from pathlib import Path
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import Choice, WithinRange

DEVICES = ["auto", "cpu", "cuda", "mps"]
DIFFERENCE_KINDS = ["signed", "absolute", "relative"]
ORIENTATIONS = ["Axial", "Coronal", "Sagittal", "All"]
EXPORT_FORMATS = ["NIfTI", "NRRD", "DICOM series", "DICOM parametric map"]
REFERENCE_REGIONS = ["cerebellar-gray", "whole-cerebellum", "pons"]
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
    metricsTable - Figures of the last comparison.
    batchTable - Cohort table.
    batchFolder - Where a batch writes.
    batchResume - Skip the rows that are done.
    exportFolder - Where an export goes.
    exportFormat - File format of an export.
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
    differenceThreshold: Annotated[float, WithinRange(0, 100)] = 5.0
    comparisonOrientation: Annotated[str, Choice(ORIENTATIONS)] = "Axial"
    metricsTable: vtkMRMLTableNode
    batchTable: Path
    batchFolder: Path
    batchResume: bool = True
    exportFolder: Path
    exportFormat: Annotated[str, Choice(EXPORT_FORMATS)] = "NIfTI"


class SuvrParameters:
    """
    referenceRegion - SUVR is 1 on average in this region.
    suvrVolume - The SUVR image of the last run.
    suvrTable - Its regions.
    suvrOpacity - Of the PET over the MRI, percent.
    showUncertainty - Draw the uncertainty instead of the PET.
    """

    referenceRegion: Annotated[str, Choice(REFERENCE_REGIONS)] = "cerebellar-gray"
    suvrVolume: vtkMRMLScalarVolumeNode
    suvrTable: vtkMRMLTableNode
    suvrOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    showUncertainty: bool = False
