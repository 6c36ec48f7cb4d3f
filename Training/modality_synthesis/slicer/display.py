"""How volumes are shown: colors, legends, the comparison layout, and the mark on views of synthetic volumes."""

from __future__ import annotations

import numpy as np
import qt
import slicer
import vtk

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
BRAIN_WINDOW = (80.0, 40.0)  # width and level, HU
# A legend's box decides the size of its letters, so that a title is one short word. In these corners it stays outside
# the head in views of 300 pixels and more; two legends in one view take opposite ones.
LOWER_RIGHT, UPPER_LEFT = (0.99, 0.05), (0.01, 0.95)
LEGEND_SIZES = {LOWER_RIGHT: (0.08, 0.5), UPPER_LEFT: (0.11, 0.45)}  # signed numbers are longer
# Numbers of the layouts; another number than in versions with other views, whose scenes keep theirs.
# Blue, white, red: the map of signed differences in reports too (`evaluation.figures.style.DIFFERENCE`).
_DIVERGING = (
    (5, 48, 97),
    (33, 102, 172),
    (67, 147, 195),
    (146, 197, 222),
    (209, 229, 240),
    (255, 255, 255),
    (253, 219, 199),
    (244, 165, 130),
    (214, 96, 77),
    (178, 24, 43),
    (103, 0, 31),
)
FIRST_LAYOUT = 7320
# Links act within a group only; without one, the standard views would follow.
VIEW_GROUP = 7
COLUMNS = ("Source", "Synthetic", "Reference", "Difference")
PLANES = ("Axial", "Coronal", "Sagittal")
STANDARD_VIEWS = {"Axial": "Red", "Coronal": "Green", "Sagittal": "Yellow"}
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
    values = np.linspace(-1, 1, COLOR_STEPS)
    anchors = np.array(_DIVERGING) / 255
    places = np.linspace(-1, 1, len(anchors))
    channels = np.stack([np.interp(values, places, anchors[:, channel]) for channel in range(3)], axis=1)
    for index, (value, color) in enumerate(zip(values, channels)):  # noqa: B905 - Python 3.9
        opacity = 0.0 if abs(value) < threshold else 1.0
        node.SetColor(index, f"{value:+.2f}", float(color[0]), float(color[1]), float(color[2]), opacity)
    node.SetAttribute(THRESHOLD, text)
    node.EndModify(modifying)


def setZThreshold(threshold: float) -> None:
    """Hide z-scores below a value; those of 0, which regions without a norm have, are never drawn."""
    setThreshold(zColorNode(), max(threshold / Z_LIMIT, 1 / COLOR_STEPS))


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
    """Colors and legend of a difference map.

    :param kind: signed, absolute or relative.
    :param limit: the end of the color range, in the map's units.
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
    title = {"signed": "Diff", "absolute": "|Diff|", "relative": "Diff %"}[kind]
    addLegend(node, title, {"signed": "%+.1f", "absolute": "%.1f", "relative": "%+.0f"}[kind], UPPER_LEFT)


def showOverlay(background: slicer.vtkMRMLVolumeNode, foreground: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
    """Show one volume over another in all slice views."""
    slicer.util.setSliceViewerLayers(
        background=background, foreground=foreground, foregroundOpacity=opacity, label=None, fit=True
    )
    refreshLegends()


def showInput(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Show a volume alone in all slice views, unless they show it already or are in a layout of ours."""
    if inOwnLayout() or volume.GetID() in shownVolumes():
        return
    slicer.util.setSliceViewerLayers(background=volume, foreground=None, label=None, fit=True)
    refreshLegends()


def shownVolumes() -> set:
    """The ids of the volumes in the layers of the standard views."""
    found = set()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() in STANDARD_VIEWS.values():
            found.update(identifier for identifier in _layersOf(composite) if identifier)
    return found


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
    """The name of one view of the comparison: the same four for each single plane, since views stay once made."""
    return f"{column}-{orientation}" if everyPlane else column


def showComparison(orientation: str, volumes: dict, opacity: float) -> None:
    """Show source, synthetic, reference and difference together, linked: two by two, or a row for each plane.

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
    planes = PLANES if orientation == "All" else (orientation,)
    offsets = {plane: _offsetOf(plane, volumes.get("Source")) for plane in planes}
    layoutManager.setLayout(identifier)
    rows = {}
    for plane in planes:
        rows[plane] = [layoutManager.sliceWidget(viewName(column, plane, orientation == "All")) for column in COLUMNS]
        for column, widget in zip(COLUMNS, rows[plane]):  # noqa: B905 - Python 3.9
            # Four bars abreast have a minimum width that is wider than many a screen.
            widget.sliceController().visible = orientation != "All"
            _fillView(widget, column, plane, volumes, opacity)
    # Only after a turn of the event loop have the views the sizes that the fit needs.
    qt.QTimer.singleShot(0, lambda: _settle(identifier, rows, offsets))


def _offsetOf(plane: str, source: slicer.vtkMRMLVolumeNode | None) -> float | None:
    """Where the standard view of a plane is, when it shows the source; None otherwise."""
    widget = slicer.app.layoutManager().sliceWidget(STANDARD_VIEWS[plane])
    if widget is None or source is None:
        return None
    if widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() != source.GetID():
        return None
    return widget.mrmlSliceNode().GetSliceOffset()


def _settle(identifier: int, rows: dict, offsets: dict) -> None:
    """Fit the views to the volumes, bring each row to one slice, link it."""
    if slicer.app.layoutManager() is None or slicer.app.layoutManager().layout != identifier:
        return
    for plane, widgets in rows.items():
        for widget in widgets:
            widget.sliceLogic().FitSliceToBackground()
        # The fit moves each view to the middle of its own volume.
        offset = offsets[plane] if offsets[plane] is not None else widgets[0].mrmlSliceNode().GetSliceOffset()
        for widget in widgets:
            widget.mrmlSliceNode().SetSliceOffset(offset)
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


def inOwnLayout() -> bool:
    """Whether the views are arranged by one of our layouts."""
    layoutManager = slicer.app.layoutManager()
    return layoutManager is not None and FIRST_LAYOUT <= layoutManager.layout < FIRST_LAYOUT + len(PLANES) + 1


def leaveComparison() -> None:
    """Back to Slicer's four-up layout when a comparison is shown: without volumes its views are empty."""
    if inOwnLayout():
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


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
    if orientation == "All":
        rows = [[_viewDescription(column, plane, everyPlane=True) for column in COLUMNS] for plane in PLANES]
    else:
        views = [_viewDescription(column, orientation, everyPlane=False) for column in COLUMNS]
        rows = [views[:2], views[2:]]
    items = "".join(f'<item><layout type="horizontal" split="true">{"".join(row)}</layout></item>' for row in rows)
    return f'<layout type="vertical" split="true">{items}</layout>'


def _viewDescription(column: str, plane: str, everyPlane: bool) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(column, plane, everyPlane)}">'
        f'<property name="orientation" action="default">{plane}</property>'
        f'<property name="viewlabel" action="default">{column}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
    )


class SyntheticMarks:
    """Writes "Synthetic – research use only" into every slice view that shows a synthetic volume.

    It has its own text actor: Slicer's data probe rewrites the views' own corner annotations.
    """

    def __init__(self) -> None:
        self._marks = {}  # by view name: renderer, text, composite node, observer, view
        self._layers = {}  # by view name: the volumes it showed last
        self._layoutManager = None
        self._waiting = False
        self.observer = None  # of scenes that are loaded

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
        for renderer, text, composite, observer, _view in self._marks.values():
            composite.RemoveObserver(observer)
            renderer.RemoveViewProp(text)
        self._marks, self._layers = {}, {}
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self._onLayoutChanged)
            self._layoutManager = None

    def update(self) -> None:
        """Show the marks where they belong."""
        for _renderer, text, composite, _observer, view in self._marks.values():
            shown = any(_isSynthetic(identifier) for identifier in _visibleVolumes(composite))
            if bool(text.GetVisibility()) != shown:
                text.SetVisibility(shown)
                view.scheduleRender()  # rendering at once, while a scene is being emptied, fails inside VTK

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
        self._marks[name] = (renderer, text, composite, observer, widget.sliceView())

    def _onCompositeModified(self, caller: object, event: str) -> None:
        self.update()
        layers = {name: _layersOf(mark[2]) for name, mark in self._marks.items()}
        if layers != self._layers:
            self._layers = layers
            self._refreshLegendsSoon()

    def _refreshLegendsSoon(self) -> None:
        """Once, after all of a change of layers: legends of volumes that are shown no longer would stay."""
        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(0, self._refreshLegends)

    def _refreshLegends(self) -> None:
        self._waiting = False
        if self._marks and not slicer.mrmlScene.IsBatchProcessing():
            refreshLegends()

    def _onLayoutChanged(self, layout: int) -> None:
        self.attach()


_marks = SyntheticMarks()


def marks() -> SyntheticMarks:
    """The marks of this application: both modules share them."""
    return _marks


def followViews() -> None:
    """Mark views from the start on, also while no panel was opened; and after a scene was loaded."""
    scene = slicer.mrmlScene
    if _marks.observer is None:
        _marks.observer = scene.AddObserver(scene.EndImportEvent, lambda caller, event: _marks.attach())
    _marks.attach()


def _layersOf(composite: slicer.vtkMRMLSliceCompositeNode) -> tuple:
    return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()


def _visibleVolumes(composite: slicer.vtkMRMLSliceCompositeNode) -> list:
    volumes = [composite.GetBackgroundVolumeID()]
    if composite.GetForegroundOpacity() > 0:
        volumes.append(composite.GetForegroundVolumeID())
    return [identifier for identifier in volumes if identifier]


def _isSynthetic(identifier: str) -> bool:
    node = slicer.mrmlScene.GetNodeByID(identifier)
    return node is not None and node.GetAttribute("SyntheticData") == "YES"
