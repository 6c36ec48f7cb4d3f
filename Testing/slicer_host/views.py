"""Slice views rendered off-screen, and the layout manager that keeps them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore
from vtk.util.numpy_support import vtk_to_numpy

_DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_CONVENTIONAL = """<layout type="horizontal" split="true">
<item><view class="vtkMRMLSliceNode" singletontag="Red"><property name="orientation">Axial</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Yellow"><property name="orientation">Sagittal</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Green"><property name="orientation">Coronal</property></view></item>
</layout>"""

_FOUR_UP = """<layout type="vertical" split="true"><item><layout type="horizontal" split="true">
<item><view class="vtkMRMLSliceNode" singletontag="Red"><property name="orientation">Axial</property></view></item>
<item><view class="vtkMRMLViewNode" singletontag="1"/></item></layout></item>
<item><layout type="horizontal" split="true">
<item><view class="vtkMRMLSliceNode" singletontag="Green"><property name="orientation">Coronal</property></view></item>
<item><view class="vtkMRMLSliceNode" singletontag="Yellow"><property name="orientation">Sagittal</property></view></item>
</layout></item></layout>"""
_RED = """<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="Red">
<property name="orientation">Axial</property></view></item></layout>"""

_COLORS = {"Red": (0.95, 0.29, 0.20), "Green": (0.43, 0.69, 0.29), "Yellow": (0.93, 0.84, 0.30)}
SLICE_VIEW_MINIMUM, SLICE_BAR_MINIMUM, SLICE_BAR_WITHOUT_SLIDER = 50, 318, 129
PANEL_MINIMUM = 410
NEW_VIEW = (300, 300)  # before the window has given a view its size
_LAYOUTS = {
    name: int(value)
    for name, value in vars(slicer.vtkMRMLLayoutNode).items()
    if name.startswith("SlicerLayout") and isinstance(value, int)
}
_STANDARD = {value for value in _LAYOUTS.values() if 0 < value < _LAYOUTS["SlicerLayoutCustomView"]}
_DRAWN = {_LAYOUTS["SlicerLayoutFourUpView"]: _FOUR_UP, _LAYOUTS["SlicerLayoutOneUpRedSliceView"]: _RED}
_WITH_PLOT = {value for name, value in _LAYOUTS.items() if "Plot" in name}


class SliceOffsetSlider:
    """The slider in the bar above a slice view."""

    application_class = "qMRMLSliderWidget"

    def __init__(self) -> None:
        self.spinBoxVisible = True

    def setSpinBoxVisible(self, shown: bool) -> None:
        self.spinBoxVisible = shown


class SliceController:
    """The bar above a slice view: its minimum width is what makes main windows grow (measured in the application)."""

    application_class = "qMRMLSliceControllerWidget"
    host_only = frozenset({"minimum_width"})

    def __init__(self) -> None:
        self.visible, self.showSliceOffsetSlider = True, True
        self._slider = SliceOffsetSlider()

    def sliceOffsetSlider(self) -> SliceOffsetSlider:
        return self._slider

    def minimum_width(self) -> int:
        if not self.visible:
            return SLICE_VIEW_MINIMUM
        if not self.showSliceOffsetSlider:
            return SLICE_BAR_WITHOUT_SLIDER
        return SLICE_BAR_MINIMUM if self._slider.spinBoxVisible else 211


class PlotView:
    """The VTK chart that a chart node's series are drawn into."""

    application_class = "qMRMLPlotView"

    def __init__(self) -> None:
        self._chart = vtk.vtkChartXY()

    def chart(self) -> vtk.vtkChartXY:
        return self._chart


class PlotWidget:
    """A plot view and its bar."""

    application_class = "qMRMLPlotWidget"

    def __init__(self) -> None:
        self._view = PlotView()

    def plotView(self) -> PlotView:
        return self._view


class SliceView:
    """The part of a slice widget that is drawn into."""

    application_class = "qMRMLSliceView"

    def __init__(self, widget: SliceWidget) -> None:
        self._widget = widget

    def renderWindow(self) -> vtk.vtkRenderWindow:
        return self._widget.window

    def scheduleRender(self) -> None:
        self._widget.scheduled += 1

    def forceRender(self) -> None:
        self._widget.window.Render()


class SliceWidget:
    """One slice view: logic, node, renderer. Offers what modules use of `qMRMLSliceWidget`."""

    application_class = "qMRMLSliceWidget"
    host_only = frozenset(
        {"renders_while_closing", "scheduled", "renderer", "window", "overlay", "interactor", "managers", "logic"}
        | {"node", "mapper", "actor", "picture", "remove", "resize"}
    )

    def __init__(self, name: str, orientation: str, size: tuple[int, int]) -> None:
        application_logic, scene = slicer.app.applicationLogic(), slicer.mrmlScene
        self.name, self.size = name, size
        self.renders_while_closing, self.scheduled = 0, 0
        self._controller = SliceController()
        self.renderer = vtk.vtkRenderer()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.ShowWindowOff()
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.SetNumberOfLayers(2)
        self.window.SetAlphaBitPlanes(1)
        self.window.AddRenderer(self.renderer)
        self.window.AddObserver(vtk.vtkCommand.StartEvent, self._on_render)
        self.overlay = vtk.vtkRenderer()  # legends and markups are drawn into the second layer
        self.overlay.SetLayer(1)
        self.overlay.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.overlay)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        for manager in _DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.node.SetMappedInLayout(1)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        self.actor = vtk.vtkActor2D()
        self.actor.SetMapper(self.mapper)
        self.actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.actor)
        self.logic.ResizeSliceNode(*size)

    def _on_render(self, caller: Any, event: str) -> None:
        # In the application this prints dozens of errors out of VTK.
        self.renders_while_closing += slicer.mrmlScene.IsClosing()

    def sliceController(self) -> SliceController:
        return self._controller

    def sliceLogic(self) -> Any:
        return self.logic

    def mrmlSliceNode(self) -> Any:
        return self.node

    def sliceView(self) -> SliceView:
        return SliceView(self)

    def resize(self, width: int, height: int) -> None:
        """As when the user, or a layout, changes the view's size: the field of view follows."""
        if self.size != (width, height):
            self.size = (width, height)
            self.window.SetSize(width, height)
            self.logic.ResizeSliceNode(width, height)

    def picture(self) -> np.ndarray:
        """What the view shows: RGB, uint8, rows from the top."""
        for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
            # In the application the size of a title's letters has no effect: the legend's box decides.
            legend.GetTitleTextProperty().SetFontSize(legend.GetLabelTextProperty().GetFontSize())
        connection = self.logic.GetImageDataConnection()
        if connection:
            self.mapper.SetInputConnection(connection)
        self.actor.SetVisibility(bool(connection))
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def remove(self) -> None:
        """Take the view off the application's lists."""
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        self.managers.SetMRMLDisplayableNode(None)
        self.logic.SetMRMLScene(None)
        self.window.Finalize()


class LayoutLogic:
    """Knows the layout node."""

    application_class = "vtkMRMLLayoutLogic"

    def __init__(self, node: slicer.vtkMRMLLayoutNode) -> None:
        self._node = node

    def GetLayoutNode(self) -> slicer.vtkMRMLLayoutNode:
        return self._node


class LayoutManager(QtCore.QObject):
    """Makes the slice views of the current layout.

    `view_size` is that of each view, in pixels; None gives them what the main window has room for.
    """

    application_class = "qSlicerLayoutManager"
    host_only = frozenset(
        {"view_size", "minimum_width", "forget_views", "picture", "places", "resize_views", "fix_size"}
    )
    layoutChanged = QtCore.Signal(int)
    cpp_signals = ("layoutChanged(int)",)

    def __init__(self, view_size: tuple[int, int] | None = (300, 300)) -> None:
        super().__init__()
        self.view_size = view_size
        self.threeDViewCount = 0
        self._widgets: dict[str, SliceWidget] = {}
        self._node = slicer.vtkMRMLLayoutNode()
        self._node.SetSingletonTag("vtkMRMLLayoutNode")  # it outlives the scene's contents
        slicer.mrmlScene.AddNode(self._node)
        for identifier in _STANDARD:
            self._node.AddLayoutDescription(identifier, _DRAWN.get(identifier, _CONVENTIONAL))
        self._description = _CONVENTIONAL
        self._plot = PlotWidget()

    @property
    def plotViewCount(self) -> int:
        return int(self._node.GetViewArrangement() in _WITH_PLOT)

    def plotWidget(self, index: int) -> PlotWidget:
        return self._plot

    def minimum_width(self) -> int:
        """Of the main window, in pixels: the panel beside the widest row of views."""
        return PANEL_MINIMUM + self._minimum_width(ElementTree.fromstring(self._description))

    def _minimum_width(self, element: ElementTree.Element) -> int:
        if element.tag == "view":
            widget = self._widgets.get(element.get("singletontag", ""))
            return widget.sliceController().minimum_width() if widget is not None else SLICE_VIEW_MINIMUM
        parts = [self._minimum_width(child) for item in element.findall("item") for child in item]
        return max(parts) if element.get("type") == "vertical" else sum(parts)

    @property
    def layout(self) -> int:
        return self._node.GetViewArrangement()

    def layoutLogic(self) -> LayoutLogic:
        return LayoutLogic(self._node)

    def setLayout(self, identifier: int) -> None:
        own = identifier >= slicer.vtkMRMLLayoutNode.SlicerLayoutCustomView and self._node.IsLayoutDescription(
            identifier
        )
        description = self._node.GetLayoutDescription(identifier) if own else ""
        self._node.SetViewArrangement(identifier)
        self._description = description or _DRAWN.get(identifier, _CONVENTIONAL)
        self._make_views()
        slicer.app.mainWindow().layout_changed()
        self.layoutChanged.emit(identifier)

    def _make_views(self) -> None:
        wanted, groups, labels = {}, {}, {}
        for view in ElementTree.fromstring(self._description).iter("view"):
            if view.get("class") == "vtkMRMLSliceNode":
                name = view.get("singletontag", "")
                wanted[name] = view.findtext("property[@name='orientation']") or "Axial"
                labels[name] = view.findtext("property[@name='viewlabel']") or name[:1]
                groups[name] = int(view.findtext("property[@name='viewgroup']") or 0)
        for name, orientation in wanted.items():
            if name not in self._widgets:
                self._widgets[name] = SliceWidget(name, orientation, self.view_size or NEW_VIEW)
                node = self._widgets[name].node
                node.SetViewGroup(groups[name])
                node.SetLayoutLabel(labels[name])
                if name in _COLORS:
                    node.SetLayoutColor(*_COLORS[name])
        for name, widget in self._widgets.items():
            widget.node.SetMappedInLayout(int(name in wanted))
        self._wanted = tuple(wanted)

    def sliceViewNames(self) -> tuple[str, ...]:
        return getattr(self, "_wanted", ())

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for name in self.sliceViewNames():
            self._widgets[name].logic.FitSliceToBackground()

    def places(
        self, area: tuple[int, int, int, int], gap: int, slices: bool = True
    ) -> dict[str, tuple[int, int, int, int]]:
        """Where each slice view (or each other view) and its bar lie when the layout fills an area.

        As x, y, width, height.
        """
        found = self._places(ElementTree.fromstring(self._description), area, gap)
        return {name: place for name, place in found.items() if (name in self._widgets) == slices}

    def _places(self, element: ElementTree.Element, area: tuple[int, int, int, int], gap: int) -> dict:
        if element.tag == "view":
            return {element.get("singletontag", ""): area}
        parts = [child for item in element.findall("item") for child in item]
        x, y, width, height = area
        vertical = element.get("type") == "vertical"
        share = ((height if vertical else width) - gap * (len(parts) - 1)) // len(parts)
        found: dict = {}
        for index, part in enumerate(parts):
            start = index * (share + gap)
            place = (x, y + start, width, share) if vertical else (x + start, y, share, height)
            found |= self._places(part, place, gap)
        return found

    def resize_views(self, places: dict[str, tuple[int, int, int, int]]) -> None:
        """Give the views their sizes in the window, unless they have a fixed one."""
        if self.view_size is None:
            for name, (_x, _y, width, height) in places.items():
                self._widgets[name].resize(width, height)

    def fix_size(self, size: tuple[int, int]) -> None:
        """Give every view the same size, whatever room the window has."""
        self.view_size = size
        for widget in self._widgets.values():
            widget.resize(*size)

    def forget_views(self) -> None:
        """Remove all views: the scene was closed and took their nodes."""
        for widget in self._widgets.values():
            widget.remove()
        self._widgets.clear()
        self._wanted = ()

    def picture(self) -> np.ndarray:
        """The whole layout, views put together as its description says."""
        return self._compose(ElementTree.fromstring(self._description))

    def _compose(self, element: ElementTree.Element) -> np.ndarray:
        if element.tag == "view":
            widget = self._widgets.get(element.get("singletontag", ""))
            if widget is None:
                width, height = self.view_size or NEW_VIEW
                return np.full((height, width, 3), 255, np.uint8)
            return widget.picture()
        parts = [self._compose(child) for item in element.findall("item") for child in item]
        rows = element.get("type") == "vertical"
        axis = 0 if rows else 1
        gap_shape = (4, parts[0].shape[1], 3) if rows else (parts[0].shape[0], 4, 3)
        gap = np.full(gap_shape, 40, np.uint8)
        joined = [parts[0]]
        for part in parts[1:]:
            joined += [gap, part]
        return np.concatenate(joined, axis)
