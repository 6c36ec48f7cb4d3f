"""Charts in Slicer's plot view, with names under their bars."""

from __future__ import annotations

import numpy as np
import qt
import slicer
import vtk


class PlotNames:
    """Writes names under the bars of the chart in the plot view, whenever a layout with one is shown.

    Slicer itself writes 0, 1, 2, and what was written stays on the axis for the next chart.
    """

    def __init__(self) -> None:
        self._layoutManager = None

    def attach(self) -> None:
        """Follow the layout. Safe to call again, and without views."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None and self._layoutManager is None:
            layoutManager.connect("layoutChanged(int)", self.update)
            self._layoutManager = layoutManager

    def detach(self) -> None:
        """Follow it no longer."""
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self.update)
            self._layoutManager = None

    def update(self, layout: int = 0) -> None:
        """Name the bars of the active chart: after a turn of the event loop, when the view has its chart."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None and layoutManager.plotViewCount:
            qt.QTimer.singleShot(0, _nameActive)


_names = PlotNames()


def names() -> PlotNames:
    """The names in this application's plot view: both modules share them."""
    return _names


def select(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Make a chart the one that plot views show; the layout stays."""
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetReferenceActivePlotChartID(chart.GetID())
    logic.PropagatePlotChartSelection()
    _names.update()


def show(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show a chart: the layout becomes its own variant with a plot view, when it has none."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    _names.update()


def _nameActive() -> None:
    layoutManager = slicer.app.layoutManager()
    chart = slicer.mrmlScene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() or "")
    if layoutManager is not None and layoutManager.plotViewCount and chart is not None:
        _nameBars(layoutManager.plotWidget(0).plotView().chart(), chart)


def _nameBars(drawn: vtk.vtkChartXY, chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Write names under bars, numbers under lines: Slicer writes 0, 1, 2 under bars, and names stay for the next chart.

    :param drawn: the VTK chart in the view.
    """
    axis = drawn.GetAxis(vtk.vtkAxis.BOTTOM)
    series = chart.GetNthPlotSeriesNode(0)
    names = series.GetLabelColumnName() if series is not None else ""
    positions, labels = vtk.vtkDoubleArray(), vtk.vtkStringArray()
    if names:
        column = series.GetTableNode().GetTable().GetColumnByName(names)
        for index in range(column.GetNumberOfValues()):
            positions.InsertNextValue(index)
            labels.InsertNextValue(str(column.GetValue(index)))
    else:
        for value in _ticks(series):
            positions.InsertNextValue(value)
            labels.InsertNextValue(f"{value:.3g}")
    axis.SetCustomTickPositions(positions, labels)
    axis.GetLabelProperties().SetOrientation(35 if names else 0)
    if names:
        axis.GetLabelProperties().SetJustificationToRight()
    else:
        axis.GetLabelProperties().SetJustificationToCentered()


def _ticks(series: slicer.vtkMRMLPlotSeriesNode | None) -> list:
    """Five numbers over the range of a line's x values."""
    column = series.GetTableNode().GetTable().GetColumnByName(series.GetXColumnName()) if series is not None else None
    if column is None or not column.GetNumberOfValues():
        return []
    low, high = column.GetRange()
    return [float(value) for value in np.linspace(low, high, 5)]
