"""How volumes are shown: colors, ranges, legends, and one volume over another."""

from __future__ import annotations

import numpy as np
import slicer

from modality_synthesis.difference_colors import STEPS, difference_table

DIFFERENCE_COLORS = "ModalitySynthesis-Difference"
Z_COLORS = "ModalitySynthesis-ZScore"
LARGEST = 1e30
Z_LIMIT = 5.0  # the end of the colors of z-scores
THRESHOLD = "ModalitySynthesis.Threshold"
_INFERNO = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
BRAIN_WINDOW = (80.0, 40.0)  # width and level, HU
# A legend's box decides the size of its letters, so that a title is one short word. In these corners it stays outside
# the head in views of 300 pixels and more; two legends in one view take opposite ones.
LOWER_RIGHT, UPPER_LEFT = (0.99, 0.2), (0.01, 0.8)
LEGEND_SIZES = {LOWER_RIGHT: (0.08, 0.5), UPPER_LEFT: (0.11, 0.45)}  # signed numbers are longer


def colorNodeId(name: str) -> str:
    """The id of a color table by name; gray when this Slicer has none of that name."""
    node = slicer.mrmlScene.GetFirstNodeByName(name)
    if node is not None and node.IsA("vtkMRMLColorNode"):
        return node.GetID()
    if name == "Inferno":
        return _infernoColors().GetID()
    return slicer.mrmlScene.GetFirstNodeByName("Grey").GetID()


def _infernoColors() -> slicer.vtkMRMLColorTableNode:
    """The perceptually uniform table Inferno, for a Slicer without it: interpolated between nine of its colors."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Inferno")
    node.SetTypeToUser()
    node.SetNumberOfColors(STEPS)
    node.SetAttribute("Category", "Modality synthesis")
    position = np.linspace(0, len(_INFERNO) - 1, STEPS)
    anchors = np.array(_INFERNO) / 255
    channels = [np.interp(position, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    for index, color in enumerate(np.stack(channels, axis=1)):
        node.SetColor(index, str(index), float(color[0]), float(color[1]), float(color[2]), 1.0)
    return node


def showQuantity(node: slicer.vtkMRMLScalarVolumeNode, colors: str, window: tuple) -> None:
    """Colors and range of a quantitative volume.

    :param colors: name of a color table.
    :param window: lower and upper end of the colors, in the volume's units.
    """
    node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(colorNodeId(colors))
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(float(window[0]), float(window[1]))


def showBrainWindow(node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Show a CT in the brain window, unless somebody chose another: as loaded, a head is flat gray."""
    displayNode = node.GetDisplayNode() if node is not None else None
    if displayNode is not None and displayNode.GetAutoWindowLevel():
        displayNode.AutoWindowLevelOff()
        displayNode.SetWindowLevel(*BRAIN_WINDOW)


def addLegend(
    node: slicer.vtkMRMLScalarVolumeNode, title: str, labelFormat: str = "%.1f", corner: tuple = LOWER_RIGHT
) -> None:
    """Give a volume a small color legend outside the head, or change the one it has.

    :param title: one short word, the unit.
    :param corner: `LOWER_RIGHT`, or `UPPER_LEFT` for what is drawn over another volume with a legend.
    """
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat(labelFormat)
    legend.SetNumberOfLabels(3)
    legend.SetSize(*LEGEND_SIZES[corner])
    legend.SetPosition(*corner)
    legend.SetVisibility(True)


def differenceColorNode() -> slicer.vtkMRMLColorTableNode:
    """Blue, white, red: the color table of signed differences, one in a scene."""
    return _divergingColors(DIFFERENCE_COLORS, "Signed differences: blue below zero, white at zero, red above")


def zColorNode() -> slicer.vtkMRMLColorTableNode:
    """Blue, white, red: the color table of z-scores, one in a scene."""
    return _divergingColors(Z_COLORS, "z-scores: blue below what is normal, white as normal, red above")


def _divergingColors(name: str, description: str) -> slicer.vtkMRMLColorTableNode:
    node = slicer.mrmlScene.GetFirstNodeByName(name)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
        node.SetTypeToUser()
        node.SetNumberOfColors(STEPS)
        node.SetHideFromEditors(0)
        node.SetAttribute("Category", "Modality synthesis")
        node.SetDescription(description)
        setThreshold(node, 0.0)
    return node


def setThreshold(node: slicer.vtkMRMLColorTableNode, threshold: float) -> None:
    """Hide small values of a diverging color table; does nothing when they are hidden so already.

    :param threshold: share of the color range, 0 to 1, below which nothing is drawn.
    """
    text = f"{threshold:.4g}"
    if node.GetAttribute(THRESHOLD) == text:
        return
    modifying = node.StartModify()
    values = np.linspace(-1, 1, STEPS)
    for index, (value, color) in enumerate(zip(values, difference_table())):  # noqa: B905 - Python 3.9
        opacity = 0.0 if abs(value) < threshold else 1.0
        node.SetColor(index, f"{value:+.2f}", float(color[0]), float(color[1]), float(color[2]), opacity)
    node.SetAttribute(THRESHOLD, text)
    node.EndModify(modifying)


def setZThreshold(threshold: float) -> None:
    """Hide z-scores below a value; those of 0, which regions without a norm have, are never drawn."""
    setThreshold(zColorNode(), max(threshold / Z_LIMIT, 1 / STEPS))


def showZScores(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Colors and legend of a map of z-scores."""
    node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(zColorNode().GetID())
    displayNode.SetInterpolate(False)  # a region has one value
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(-Z_LIMIT, Z_LIMIT)
    addLegend(node, "z", "%+.0f", UPPER_LEFT)


def showDifference(node: slicer.vtkMRMLScalarVolumeNode, kind: str, limit: float) -> None:
    """Colors and legend of a difference map, in which NaN marks what was not compared.

    :param kind: signed, absolute or relative.
    :param limit: the end of the color range, in the map's units.
    """
    node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    displayNode.SetInterpolate(False)  # what is drawn is what the data probe says
    # No number lies between these: what was not compared is drawn nowhere.
    displayNode.SetThreshold(-LARGEST, LARGEST)
    displayNode.SetApplyThreshold(True)
    displayNode.AutoWindowLevelOff()
    if kind == "absolute":
        displayNode.SetAndObserveColorNodeID(colorNodeId("Inferno"))
        displayNode.SetWindowLevelMinMax(0.0, limit)
    else:
        displayNode.SetAndObserveColorNodeID(differenceColorNode().GetID())
        displayNode.SetWindowLevelMinMax(-limit, limit)
    title = {"signed": "Diff", "absolute": "|Diff|", "relative": "Diff %"}[kind]
    addLegend(node, title, {"signed": "%+.1f", "absolute": "%.1f", "relative": "%+.0f"}[kind], UPPER_LEFT)


def showOverlay(background: slicer.vtkMRMLVolumeNode, foreground: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
    """Show one volume over another in all slice views."""
    slicer.util.setSliceViewerLayers(
        background=background, foreground=foreground, foregroundOpacity=opacity, label=None, fit=True
    )
    refreshLegends()


def showLegendsIn(views: list | None) -> None:
    """Draw legends in some views only.

    :param views: slice nodes; None for all views.
    """
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.RemoveAllViewNodeIDs()
        for view in views or []:
            legend.AddViewNodeID(view.GetID())


def refreshLegends() -> None:
    """Draw the legends that belong to the volumes now in the views.

    Slicer makes a legend for a new view only when the user changes its layers; this looks like that to it.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        flags = composite.GetInteractionFlags()
        composite.SetInteractionFlags(composite.BackgroundVolumeFlag | composite.ForegroundVolumeFlag)
        composite.Modified()
        composite.SetInteractionFlags(flags)
