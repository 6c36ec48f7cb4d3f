"""Slice views side by side, linked: the comparison and the reading. One set of views serves both and all planes.

Slicer keeps every view that was ever made, and each one slows the closing of scenes: so there are few, used again.
"""

from __future__ import annotations

from dataclasses import dataclass

import qt
import slicer

from modality_synthesis.slicer import display

# Numbers of the layouts; others than in versions with other views, whose scenes keep theirs.
FIRST_LAYOUT, LAST_LAYOUT = 7340, 7359
_ROWS = 10  # added for a row for each plane
# Links act within a group only; without one, the standard views would follow.
VIEW_GROUP = 7
PLANES = ("Axial", "Coronal", "Sagittal")
ALL = "All"
STANDARD_VIEWS = {"Axial": "Red", "Coronal": "Green", "Sagittal": "Yellow"}
COMPARISON, READING = "comparison", "reading"
# Of the bars above the views: of what shows synthetic data, and of what was measured.
SYNTHETIC_COLOR, MEASURED_COLOR = (0.90, 0.64, 0.24), (0.60, 0.60, 0.60)
_SYNTHETIC = "SyntheticData"


@dataclass
class Cell:
    """What one view shows.

    Attributes:
        title: above it.
        background: volume.
        foreground: volume over it.
        opacity: of the foreground, 0 to 1.
    """

    title: str
    background: slicer.vtkMRMLVolumeNode | None
    foreground: slicer.vtkMRMLVolumeNode | None = None
    opacity: float = 1.0


class LinkedViews:
    """Four views of one slice, two by two, or a row of them for each plane.

    Attributes:
        kind: what they show, `COMPARISON` or `READING`; empty while another layout is shown.
    """

    def __init__(self) -> None:
        self._kind = ""
        self._former = None  # layout, and size of the main window before
        self._grown = None  # to which the layout made it grow
        self._orientation = None

    @property
    def kind(self) -> str:
        return self._kind if self.shown() else ""

    def shown(self) -> bool:
        """True while the current layout is one of these."""
        layoutManager = slicer.app.layoutManager()
        return layoutManager is not None and FIRST_LAYOUT <= layoutManager.layout <= LAST_LAYOUT

    def show(self, kind: str, orientation: str, cells: list) -> None:
        """Show the cells, linked, where the standard view of the plane (or these views) were.

        :param orientation: Axial, Coronal, Sagittal, or All for a row for each.
        :param cells: four of `Cell`.
        """
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None:
            return
        if not self.shown():
            self._former, self._grown = (layoutManager.layout, _windowSize()), None
        planes = PLANES if orientation == ALL else (orientation,)
        offsets = {plane: self._offset(plane, cells[0].background) for plane in planes}
        self._kind, self._orientation = kind, orientation
        identifier = FIRST_LAYOUT + len(cells) + (_ROWS if orientation == ALL else 0)
        layoutNode = layoutManager.layoutLogic().GetLayoutNode()
        if not layoutNode.IsLayoutDescription(identifier):
            layoutNode.AddLayoutDescription(identifier, _description(len(cells), planes))
        layoutManager.setLayout(identifier)
        rows = {plane: [layoutManager.sliceWidget(tag) for tag in _tags(len(cells), plane, planes)] for plane in planes}
        for plane, widgets in rows.items():
            for widget, cell in zip(widgets, cells):  # noqa: B905 - Python 3.9
                _makeRoom(widget, orientation == ALL)
                _fill(widget, cell, plane)
        # Only after a turn of the event loop have the views the sizes that the fit needs.
        qt.QTimer.singleShot(0, lambda: self._settle(identifier, rows, offsets))

    def leave(self) -> bool:
        """Back to the layout before, and to the window's size; False when these views are not shown."""
        if not self.shown():
            return False
        layout, size = self._former or (slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView, None)
        # A size that somebody chose meanwhile stays.
        grown = self._grown is not None and self._grown == _windowSize()
        self._kind, self._former, self._grown = "", None, None
        slicer.app.layoutManager().setLayout(layout)
        display.showLegendsIn(None)
        if grown:
            # In the same turn of the event loop the window refuses: its views have their old minimum sizes.
            qt.QTimer.singleShot(0, lambda: slicer.util.mainWindow().resize(*size))
        return True

    def setOpacity(self, index: int, opacity: float) -> None:
        """Change the opacity of the foreground of a cell, when these views are shown."""
        if not self.shown() or self._orientation is None:
            return
        planes = PLANES if self._orientation == ALL else (self._orientation,)
        for plane in planes:
            widget = slicer.app.layoutManager().sliceWidget(_tags(index + 1, plane, planes)[index])
            widget.sliceLogic().GetSliceCompositeNode().SetForegroundOpacity(opacity)

    def _offset(self, plane: str, source: slicer.vtkMRMLVolumeNode | None) -> float | None:
        """Where these views are, or the standard view of a plane is, when it shows the source; None otherwise."""
        here = self.shown() and self._orientation in (plane, ALL)
        tag = _tags(1, plane, PLANES if self._orientation == ALL else (plane,))[0] if here else STANDARD_VIEWS[plane]
        widget = slicer.app.layoutManager().sliceWidget(tag)
        if widget is None or source is None:
            return None
        if widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() != source.GetID():
            return None
        return widget.mrmlSliceNode().GetSliceOffset()

    def _settle(self, identifier: int, rows: dict, offsets: dict) -> None:
        """Fit the views to the volumes, bring each row to one slice, link it."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is None or layoutManager.layout != identifier:
            return
        if self._former is not None and self._grown is None and _windowSize() != self._former[1]:
            self._grown = _windowSize()
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
        # In small views legends are small, and the head fills the sagittal ones: in the first row they have room.
        first = [widget.mrmlSliceNode() for widget in next(iter(rows.values()))]
        display.showLegendsIn(first if len(rows) > 1 else None)
        display.refreshLegends()


_views = LinkedViews()


def views() -> LinkedViews:
    """The linked views of this application: both modules share them."""
    return _views


def showOverlay(background: slicer.vtkMRMLVolumeNode, foreground: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
    """Show one volume over another in all slice views; linked views give way to the layout before them."""
    if _views.leave():
        # The views of that layout have their sizes after a turn of the event loop.
        qt.QTimer.singleShot(0, lambda: display.showOverlay(background, foreground, opacity))
    else:
        display.showOverlay(background, foreground, opacity)


def showInput(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Show a volume alone in all slice views, unless they show it already or linked views are shown."""
    if _views.shown() or volume.GetID() in shownVolumes():
        return
    slicer.util.setSliceViewerLayers(background=volume, foreground=None, label=None, fit=True)
    display.refreshLegends()


def shownVolumes() -> set:
    """The ids of the volumes in the layers of the standard views."""
    found = set()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() in STANDARD_VIEWS.values():
            found.update((composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()))
    return found - {None}


def _windowSize() -> tuple | None:
    window = slicer.util.mainWindow()
    return (window.width, window.height) if window is not None else None


def _tags(count: int, plane: str, planes: tuple) -> list:
    """The names of a row's views; the first row takes those of a single plane."""
    suffix = "" if plane == planes[0] else f"-{plane}"
    return [f"MS-{index + 1}{suffix}" for index in range(count)]


def _makeRoom(widget: object, barHidden: bool) -> None:
    """Bars have minimum widths that make the main window wider than many a screen: 318 pixels with everything."""
    controller = widget.sliceController()
    controller.visible = not barHidden
    controller.sliceOffsetSlider().setSpinBoxVisible(False)


def _fill(widget: object, cell: Cell, plane: str) -> None:
    composite = widget.sliceLogic().GetSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(_id(cell.background))
    composite.SetForegroundVolumeID(_id(cell.foreground))
    composite.SetForegroundOpacity(cell.opacity)
    composite.SetLabelVolumeID(None)
    node = widget.mrmlSliceNode()
    node.SetOrientation(plane)
    node.SetLayoutLabel(cell.title)
    shown = [volume for volume in (cell.background, cell.foreground) if volume is not None]
    synthetic = any(volume.GetAttribute(_SYNTHETIC) == "YES" for volume in shown)
    node.SetLayoutColor(*(SYNTHETIC_COLOR if synthetic else MEASURED_COLOR))


def _id(volume: slicer.vtkMRMLVolumeNode | None) -> str | None:
    return volume.GetID() if volume is not None else None


def _description(count: int, planes: tuple) -> str:
    if len(planes) > 1:
        rows = [[_viewDescription(tag, plane) for tag in _tags(count, plane, planes)] for plane in planes]
    else:
        views = [_viewDescription(tag, planes[0]) for tag in _tags(count, planes[0], planes)]
        rows = [views[:2], views[2:]]
    items = "".join(f'<item><layout type="horizontal" split="true">{"".join(row)}</layout></item>' for row in rows)
    return f'<layout type="vertical" split="true">{items}</layout>'


def _viewDescription(tag: str, plane: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">{plane}</property>'
        f'<property name="viewlabel" action="default">{tag}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property></view></item>'
    )
