"""Atlas regions over the images: outlines with their names, and where each region is."""

from __future__ import annotations

import colorsys
import json

import numpy as np
import slicer

from modality_synthesis import names
from modality_synthesis.slicer import exchange, results

ROLE = "ModalitySynthesis.Regions"  # of the table whose rows are these regions
_DESCRIBED = "ModalitySynthesis.Regions"
_GOLDEN_RATIO = 0.618034
_SIDES = 1000  # FreeSurfer's cortex: 1001… on the left, 2001… on the right; both get one color


def make(
    labels: np.ndarray, described: list, grid: slicer.vtkMRMLScalarVolumeNode, table: slicer.vtkMRMLTableNode
) -> slicer.vtkMRMLSegmentationNode:
    """Put the regions' outlines into the scene; those of an earlier run of the same table are overwritten.

    :param labels: atlas labels on the grid, (slice, row, column).
    :param described: of each region `name`, `hemisphere`, `labels` and `point_lps_mm` (`suvr --label-map`'s record).
    :param grid: the volume on whose grid they are.
    :param table: the regions' table, which will refer to them.
    """
    node = table.GetNodeReference(ROLE)
    if node is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{table.GetName()} regions")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        table.SetNodeReferenceID(ROLE, node.GetID())
    node.GetSegmentation().RemoveAllSegments()
    node.CreateDefaultDisplayNodes()
    called = {region["labels"][0]: _nameOf(region) for region in described if len(region["labels"]) == 1}
    _importLabels(labels, called, grid, node)
    node.SetAndObserveTransformNodeID(grid.GetTransformNodeID())
    node.SetAttribute(_DESCRIBED, json.dumps(described))
    shown = node.GetDisplayNode()
    shown.SetVisibility3D(False)
    shown.SetVisibility2DFill(False)
    shown.SetVisibility2DOutline(True)
    shown.SetSliceIntersectionThickness(1)
    results.putBeside(node, grid)
    return node


def of(table: slicer.vtkMRMLTableNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """The outlines that go with a table."""
    return table.GetNodeReference(ROLE) if table is not None else None


def showAll(node: slicer.vtkMRMLSegmentationNode, visible: bool) -> None:
    """Show all outlines, or none; a hidden region has no name under the cursor either."""
    node.GetDisplayNode().SetAllSegmentsVisibility(visible)
    node.GetDisplayNode().SetVisibility(visible)


def showOnly(node: slicer.vtkMRMLSegmentationNode, name: str, hemisphere: str) -> bool:
    """Show the outline of one region, move all slice views and the crosshair to it.

    :param name: the region's id, as in the table.
    :return: False when the region is not in the image.
    """
    described = json.loads(node.GetAttribute(_DESCRIBED) or "[]")
    found = [region for region in described if (region["name"], region["hemisphere"]) == (name, hemisphere)]
    if not found:
        return False
    shown, labels = node.GetDisplayNode(), set(found[0]["labels"])
    shown.SetAllSegmentsVisibility(False)
    for region in described:
        if len(region["labels"]) == 1 and region["labels"][0] in labels:
            identifier = node.GetSegmentation().GetSegmentIdBySegmentName(_nameOf(region))
            shown.SetSegmentVisibility(identifier, True)
    shown.SetVisibility(True)
    left, back, up = found[0]["point_lps_mm"]
    place = [0.0, 0.0, 0.0]
    node.TransformPointToWorld([-left, -back, up], place)
    slicer.modules.markups.logic().JumpSlicesToLocation(place[0], place[1], place[2], True)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(place[0], place[1], place[2])
        crosshair.SetCrosshairMode(crosshair.ShowBasic)
    return True


def _nameOf(region: dict) -> str:
    """What people call a region, as the table does."""
    return names.region_name(region["name"], region["hemisphere"])


def _importLabels(
    labels: np.ndarray, called: dict, grid: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLSegmentationNode
) -> None:
    """Segments from labels; their names and colors come from a color table that reaches the largest label."""
    scene = slicer.mrmlScene
    colors = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "ModalitySynthesis regions")
    volume = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "ModalitySynthesis regions")
    try:
        colors.SetTypeToUser()
        colors.SetNumberOfColors(int(labels.max(initial=0)) + 1)
        for label, name in called.items():
            red, green, blue = colorsys.hsv_to_rgb(label % _SIDES * _GOLDEN_RATIO % 1, 0.55, 1.0)
            colors.SetColor(label, name, red, green, blue, 1.0)
        exchange.setVolume(volume, labels, grid)
        volume.CreateDefaultDisplayNodes()
        volume.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.ImportLabelmapToSegmentationNode(volume, node):
            raise RuntimeError("The regions' labels cannot be turned into outlines.")
    finally:
        scene.RemoveNode(volume)
        scene.RemoveNode(colors)
