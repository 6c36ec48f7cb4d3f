"""How volumes are shown: colors, legends, the comparison layout, and the mark on views of synthetic volumes."""

from __future__ import annotations

import textwrap

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

DIFFERENCE_COLORS = "ModalitySynthesis-Difference"
Z_COLORS = "ModalitySynthesis-ZScore"
Z_LIMIT = 5.0  # the end of the colors of z-scores
THRESHOLD = "ModalitySynthesis.Threshold"
COLOR_STEPS = 255
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
LEGEND_WIDTH = 16  # letters in a line of a legend's title: a view can be narrow
FIRST_LAYOUT = 7310
COLUMNS = ("Source", "Synthetic", "Reference", "Difference")
PLANES = ("Axial", "Coronal", "Sagittal")
ANNOTATION = "Synthetic – research use only"


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
    node.SetNumberOfColors(COLOR_STEPS)
    node.SetAttribute("Category", "Modality synthesis")
    position = np.linspace(0, len(_INFERNO) - 1, COLOR_STEPS)
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


def addLegend(node: slicer.vtkMRMLScalarVolumeNode, title: str, labelFormat: str = "%.2f") -> None:
    """Give a volume a color legend, or change the title of the one it has."""
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText("\n".join(textwrap.fill(line, LEGEND_WIDTH) for line in title.split("\n")))
    legend.SetLabelFormat(labelFormat)
    legend.GetTitleTextProperty().SetFontSize(12)
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
        node.SetNumberOfColors(COLOR_STEPS)
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
    for index, value in enumerate(np.linspace(-1, 1, COLOR_STEPS)):
        fade = 1 - abs(value)
        color = (1.0, fade, fade) if value > 0 else (fade, fade, 1.0)
        opacity = 0.0 if abs(value) < threshold else 1.0
        node.SetColor(index, f"{value:+.2f}", *color, opacity)
    node.SetAttribute(THRESHOLD, text)
    node.EndModify(modifying)


def setZThreshold(threshold: float) -> None:
    """Hide z-scores below a value; those of 0, which regions without a norm have, are never drawn."""
    setThreshold(zColorNode(), max(threshold / Z_LIMIT, 1 / COLOR_STEPS))


def showZScores(node: slicer.vtkMRMLScalarVolumeNode, title: str) -> None:
    """Colors and legend of a map of z-scores.

    :param title: of the legend.
    """
    node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    displayNode.SetAndObserveColorNodeID(zColorNode().GetID())
    displayNode.SetInterpolate(False)  # a region has one value
    displayNode.AutoWindowLevelOff()
    displayNode.SetWindowLevelMinMax(-Z_LIMIT, Z_LIMIT)
    addLegend(node, title, "%+.1f")


def showDifference(node: slicer.vtkMRMLScalarVolumeNode, kind: str, limit: float, units: str) -> None:
    """Colors and legend of a difference map.

    :param kind: signed, absolute or relative.
    :param limit: the end of the color range, in the map's units.
    :param units: of the map, for the legend.
    """
    node.CreateDefaultDisplayNodes()
    displayNode = node.GetDisplayNode()
    displayNode.AutoWindowLevelOff()
    if kind == "absolute":
        displayNode.SetAndObserveColorNodeID(colorNodeId("Inferno"))
        displayNode.SetWindowLevelMinMax(0.0, limit)
    else:
        displayNode.SetAndObserveColorNodeID(differenceColorNode().GetID())
        displayNode.SetWindowLevelMinMax(-limit, limit)
    titles = {
        "signed": _("Synthetic – reference"),
        "absolute": _("|Synthetic – reference|"),
        "relative": _("(Synthetic – reference) / reference"),
    }
    addLegend(node, f"{titles[kind]}\n{units}", "%+.2f" if kind != "absolute" else "%.2f")


def showOverlay(background: slicer.vtkMRMLVolumeNode, foreground: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
    """Show one volume over another in all slice views."""
    slicer.util.setSliceViewerLayers(
        background=background, foreground=foreground, foregroundOpacity=opacity, label=None, fit=True
    )
    refreshLegends()


def refreshLegends() -> None:
    """Draw the legends that belong to the volumes now in the views.

    Slicer makes a legend for a new view only when the user changes its layers; this looks like that to it.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        flags = composite.GetInteractionFlags()
        composite.SetInteractionFlags(composite.BackgroundVolumeFlag | composite.ForegroundVolumeFlag)
        composite.Modified()
        composite.SetInteractionFlags(flags)


def layoutId(orientation: str) -> int:
    """The comparison layout for an orientation (`All`: three rows of views)."""
    return FIRST_LAYOUT + ((*PLANES, "All").index(orientation))


def viewName(column: str, orientation: str, everyPlane: bool) -> str:
    """The name of one view of the comparison."""
    return f"{column}-{orientation}" if everyPlane else column


def showComparison(orientation: str, volumes: dict, opacity: float) -> None:
    """Show source, synthetic, reference and difference side by side, linked.

    :param orientation: Axial, Coronal, Sagittal, or All for three rows.
    :param volumes: the volume node (or None) of each of `COLUMNS`.
    :param opacity: of the difference map over the source, 0 to 1.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:
        return
    layoutNode = layoutManager.layoutLogic().GetLayoutNode()
    identifier = layoutId(orientation)
    if not layoutNode.IsLayoutDescription(identifier):
        layoutNode.AddLayoutDescription(identifier, _layoutDescription(orientation))
    layoutManager.setLayout(identifier)
    everyPlane = orientation == "All"
    for plane in PLANES if everyPlane else (orientation,):
        widgets = [layoutManager.sliceWidget(viewName(column, plane, everyPlane)) for column in COLUMNS]
        for column, widget in zip(COLUMNS, widgets):  # noqa: B905 - Python 3.9
            _fillView(widget, column, plane, volumes, opacity)
        widgets[0].sliceLogic().FitSliceToBackground()
        first = widgets[0].mrmlSliceNode()
        for widget in widgets[1:]:
            widget.sliceLogic().FitSliceToBackground()
            widget.mrmlSliceNode().SetSliceOffset(first.GetSliceOffset())
        for widget in widgets:
            composite = widget.sliceLogic().GetSliceCompositeNode()
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
    refreshLegends()


def _fillView(widget: object, column: str, plane: str, volumes: dict, opacity: float) -> None:
    composite = widget.sliceLogic().GetSliceCompositeNode()
    composite.SetLinkedControl(False)
    widget.mrmlSliceNode().SetOrientation(plane)
    shown = volumes.get(column)
    if column == "Difference":
        source = volumes.get("Source")
        composite.SetBackgroundVolumeID(source.GetID() if source is not None else None)
        composite.SetForegroundVolumeID(shown.GetID() if shown is not None else None)
        composite.SetForegroundOpacity(opacity)
    else:
        composite.SetBackgroundVolumeID(shown.GetID() if shown is not None else None)
        composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)


def setDifferenceOpacity(orientation: str, opacity: float) -> None:
    """Change the opacity of the difference map in the comparison's views, when they are shown."""
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None or layoutManager.layout != layoutId(orientation):
        return
    everyPlane = orientation == "All"
    for plane in PLANES if everyPlane else (orientation,):
        widget = layoutManager.sliceWidget(viewName("Difference", plane, everyPlane))
        widget.sliceLogic().GetSliceCompositeNode().SetForegroundOpacity(opacity)


def _layoutDescription(orientation: str) -> str:
    everyPlane = orientation == "All"
    rows = []
    for plane in PLANES if everyPlane else (orientation,):
        views = "".join(
            f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(column, plane, everyPlane)}">'
            f'<property name="orientation" action="default">{plane}</property>'
            f'<property name="viewlabel" action="default">{column[0]}</property></view></item>'
            for column in COLUMNS
        )
        rows.append(f'<layout type="horizontal" split="true">{views}</layout>')
    if not everyPlane:
        return rows[0]
    return '<layout type="vertical" split="true">' + "".join(f"<item>{row}</item>" for row in rows) + "</layout>"


class SyntheticMarks:
    """Writes "Synthetic – research use only" into every slice view that shows a synthetic volume.

    It has its own text actor: Slicer's data probe rewrites the views' own corner annotations.
    """

    def __init__(self) -> None:
        self._marks = {}  # by view name: renderer, text, composite node, observer
        self._layoutManager = None

    def attach(self) -> None:
        """Follow the layout's slice views. Safe to call again, and without views."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            return
        if self._layoutManager is None:
            layoutManager.connect("layoutChanged(int)", self._onLayoutChanged)
            self._layoutManager = layoutManager
        for name in layoutManager.sliceViewNames():
            if name not in self._marks:
                self._add(name, layoutManager.sliceWidget(name))
        self.update()

    def detach(self) -> None:
        """Take the marks off the views and follow them no longer."""
        for renderer, text, composite, observer in self._marks.values():
            composite.RemoveObserver(observer)
            renderer.RemoveViewProp(text)
        self._marks = {}
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self._onLayoutChanged)
            self._layoutManager = None

    def update(self) -> None:
        """Show the marks where they belong."""
        for renderer, text, composite, _observer in self._marks.values():
            shown = any(_isSynthetic(identifier) for identifier in _visibleVolumes(composite))
            if bool(text.GetVisibility()) != shown:
                text.SetVisibility(shown)
                renderer.GetRenderWindow().Render()

    def shownIn(self) -> list:
        """The names of the views that carry a visible mark."""
        return [name for name, mark in self._marks.items() if mark[1].GetVisibility()]

    def _add(self, name: str, widget: object) -> None:
        renderer = widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer()
        text = vtk.vtkCornerAnnotation()
        text.SetText(vtk.vtkCornerAnnotation.LowerEdge, ANNOTATION)
        text.SetMaximumFontSize(13)
        text.GetTextProperty().SetColor(1.0, 0.85, 0.3)
        text.GetTextProperty().ShadowOn()
        text.SetVisibility(False)
        renderer.AddViewProp(text)
        composite = widget.sliceLogic().GetSliceCompositeNode()
        observer = composite.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onCompositeModified)
        self._marks[name] = (renderer, text, composite, observer)

    def _onCompositeModified(self, caller: object, event: str) -> None:
        self.update()

    def _onLayoutChanged(self, layout: int) -> None:
        self.attach()


def _visibleVolumes(composite: slicer.vtkMRMLSliceCompositeNode) -> list:
    volumes = [composite.GetBackgroundVolumeID()]
    if composite.GetForegroundOpacity() > 0:
        volumes.append(composite.GetForegroundVolumeID())
    return [identifier for identifier in volumes if identifier]


def _isSynthetic(identifier: str) -> bool:
    node = slicer.mrmlScene.GetNodeByID(identifier)
    return node is not None and node.GetAttribute("SyntheticData") == "YES"
