"""The mark on slice views of synthetic volumes."""

from __future__ import annotations

import qt
import slicer
import vtk

from modality_synthesis.slicer.display import refreshLegends

ANNOTATION, SHORT_ANNOTATION = "Synthetic – research use only", "Synthetic"
NARROW_VIEW = 300  # pixels; below, the long mark would run into Slicer's own text in the lower left corner
FONT_SIZE = 13
# Light on a dark ground, so that it is readable on any image.
COLOR, GROUND, GROUND_OPACITY = (1.0, 0.85, 0.3), (0.0, 0.0, 0.0), 0.75
# In the lower right corner, as shares of the view; legends stand above it, Slicer's own text in the lower left one.
PLACE = (0.99, 0.015)


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
            words = SHORT_ANNOTATION if view.renderWindow().GetSize()[0] < NARROW_VIEW else ANNOTATION
            if (bool(text.GetVisibility()), text.GetInput()) != (shown, words):
                text.SetVisibility(shown)
                text.SetInput(words)
                view.scheduleRender()  # rendering at once, while a scene is being emptied, fails inside VTK

    def shownIn(self) -> list:
        """The names of the views that carry a visible mark."""
        return [name for name, mark in self._marks.items() if mark[1].GetVisibility()]

    def _add(self, name: str, widget: object) -> None:
        renderer = widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer()
        text = vtk.vtkTextActor()
        text.SetInput(ANNOTATION)
        text.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        text.GetPositionCoordinate().SetValue(*PLACE)
        style = text.GetTextProperty()
        style.SetFontSize(FONT_SIZE)
        style.SetColor(*COLOR)
        style.SetBackgroundColor(*GROUND)
        style.SetBackgroundOpacity(GROUND_OPACITY)
        style.SetJustificationToRight()
        style.SetVerticalJustificationToBottom()
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
        self.update()  # the views have their sizes now
        if self._marks and not slicer.mrmlScene.IsBatchProcessing():
            refreshLegends()

    def _onLayoutChanged(self, layout: int) -> None:
        self.attach()
        self._refreshLegendsSoon()


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
