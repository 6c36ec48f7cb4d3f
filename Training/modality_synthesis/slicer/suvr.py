"""A SUVR measurement: what the worker is asked for, and its volumes, table and charts in the scene."""

from __future__ import annotations

import os
from dataclasses import dataclass

import slicer
import vtk
from slicer.i18n import tr as _

from modality_synthesis.slicer import display, exchange, regions, results, tables
from modality_synthesis.slicer.parameters import CUSTOM_MASK


@dataclass
class Request:
    """What to measure, and how.

    Attributes:
        pet: the PET, real or synthetic.
        mri: the person's T1w MRI, aligned with it.
        region: the reference region, one of `parameters.REFERENCE_REGIONS`.
        mask: label map volume or segmentation; the reference region when `region` is `CUSTOM_MASK`.
        cohort: the table of the normal cohort; empty for no z-scores.
        tracer: adds Centiloids; empty for none.
        pvc_fwhm: point spread to correct for, mm; 0 for no correction.
    """

    pet: slicer.vtkMRMLScalarVolumeNode
    mri: slicer.vtkMRMLScalarVolumeNode
    region: str
    mask: slicer.vtkMRMLDisplayableNode | None = None
    cohort: str = ""
    tracer: str = ""
    pvc_fwhm: float = 0.0

    def arguments(self, folder: str) -> list:
        """Write the volumes into a folder; returns the worker's command line."""
        pet, mri = os.path.join(folder, "pet.nrrd"), os.path.join(folder, "mri.nrrd")
        results.handOver(self.pet, pet)
        results.handOver(self.mri, mri)
        arguments = ["suvr", pet, "--mri", mri, "-o", os.path.join(folder, "suvr.csv")]
        arguments += ["--image", os.path.join(folder, "suvr.nrrd")]
        arguments += ["--label-map", os.path.join(folder, "labels.nrrd")]
        if self.region == CUSTOM_MASK:
            path = os.path.join(folder, "mask.nrrd")
            writeMask(self.mask, self.pet, path)
            arguments += ["--reference-mask", path]
        else:
            arguments += ["--reference-region", self.region]
        if self.cohort:
            arguments += ["--normal-cohort", self.cohort, "--z-map", os.path.join(folder, "z.nrrd")]
        arguments += ["--tracer", self.tracer] if self.tracer else []
        arguments += ["--pvc-fwhm", f"{self.pvc_fwhm:g}"] if self.pvc_fwhm > 0 else []
        return [*arguments, "--progress", "json"]

    def load(self, folder: str) -> dict:
        """Bring the result into the scene.

        :return: the SUVR `image`, the `table` of regions (which refers to their outlines), their bar `chart`, and the
            `z` volume (None without cohort).
        """
        record = tables.readJson(os.path.join(folder, "suvr.csv.json"))
        array = exchange.readOnGridOf(os.path.join(folder, "suvr.nrrd"), self.pet)
        scores = exchange.readOnGridOf(os.path.join(folder, "z.nrrd"), self.pet) if self.cohort else None
        image = self._image(array, record)
        z = None if scores is None else self._zVolume(scores, record)
        path, modality = os.path.join(folder, "suvr.csv"), results.cardTarget(self.pet)
        table = tables.makeRegions(image.GetName(), path, ["suvr"], modality)
        tables.setRecord(table, record)
        self._outlines(folder, table)
        return {"image": image, "z": z, "table": table, "chart": tables.chartOf(table)}

    def _outlines(self, folder: str, table: slicer.vtkMRMLTableNode) -> None:
        path = os.path.join(folder, "labels.nrrd")
        if os.path.isfile(path):  # a worker of an older version writes none
            described = tables.readJson(os.path.join(folder, "labels.json"))["Regions"]
            regions.make(exchange.readOnGridOf(path, self.pet), described, self.pet, table)

    def _image(self, array: object, record: dict) -> slicer.vtkMRMLScalarVolumeNode:
        image = results.namedNode("vtkMRMLScalarVolumeNode", results.derivedName(self.pet, f"SUVR ({self.region})"))
        exchange.setVolume(image, array, self.pet)
        synthetic = results.isSynthetic(self.pet)
        if synthetic:
            for attribute in self.pet.GetAttributeNames():
                image.SetAttribute(attribute, self.pet.GetAttribute(attribute))
        results.setMeasurement(image, record, self.region)
        image.SetNodeReferenceID(results.SOURCE_ROLE, self.mri.GetID())
        results.setQuantity(image, "SUVR")
        display.showQuantity(image, "Inferno", results.displayWindow(self.pet) if synthetic else (0.0, 2.0))
        display.addLegend(image, "SUVR")
        results.putBeside(image, self.pet)
        return image

    def _zVolume(self, array: object, record: dict) -> slicer.vtkMRMLScalarVolumeNode:
        node = results.namedNode("vtkMRMLScalarVolumeNode", results.derivedName(self.pet, f"z-scores ({self.region})"))
        exchange.setVolume(node, array, self.pet)
        node.SetAttribute(results.SYNTHETIC, self.pet.GetAttribute(results.SYNTHETIC))
        results.setMeasurement(node, {**record, "Quantity": "z-score", "Units": "1"}, self.region)
        node.SetNodeReferenceID(results.SOURCE_ROLE, self.mri.GetID())
        results.setQuantity(node, "z-score")
        display.showZScores(node)
        results.putBeside(node, self.pet)
        return node


def maskObstacle(mask: slicer.vtkMRMLDisplayableNode | None, pet: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Why a node cannot be the reference region; empty when it can."""
    if mask is None:
        return _("Select the segmentation or label map of the reference region.")
    if mask.GetParentTransformNode() is not pet.GetParentTransformNode():
        return _("The mask and the PET are under different transforms. Put both under the same one, or harden them.")
    if mask.IsA("vtkMRMLSegmentationNode") and not visibleSegments(mask):
        return _("No segment is visible: show the one that is the reference region.")
    return ""


def visibleSegments(segmentation: slicer.vtkMRMLSegmentationNode) -> list:
    """The ids of the segments that are shown; all of them when the node is not displayed at all."""
    segments = segmentation.GetSegmentation()
    identifiers = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]
    shown = segmentation.GetDisplayNode()
    return [name for name in identifiers if shown is None or shown.GetSegmentVisibility(name)]


def writeMask(mask: slicer.vtkMRMLDisplayableNode, pet: slicer.vtkMRMLScalarVolumeNode, path: str) -> None:
    """Write a label map (every label counts) or the visible segments of a segmentation as a mask.

    :param pet: gives the grid of a segmentation.
    """
    if not mask.IsA("vtkMRMLSegmentationNode"):
        exchange.writeVolume(mask, path, binary=True)
        return
    identifiers = vtk.vtkStringArray()
    for name in visibleSegments(mask):
        identifiers.InsertNextValue(name)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "ModalitySynthesis mask")
    try:
        export = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode
        if not export(mask, identifiers, labels, pet):
            raise RuntimeError(_("The segmentation {name} cannot be exported.").format(name=mask.GetName()))
        exchange.writeVolume(labels, path, binary=True)
    finally:
        if labels.GetDisplayNode() is not None and labels.GetDisplayNode().GetColorNode() is not None:
            slicer.mrmlScene.RemoveNode(labels.GetDisplayNode().GetColorNode())
        slicer.mrmlScene.RemoveNode(labels)
