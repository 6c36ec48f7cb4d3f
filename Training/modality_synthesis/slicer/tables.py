"""Tables and plots in the scene, from the worker's JSON and CSV files and from difference maps."""

from __future__ import annotations

import csv
import json

import numpy as np
import slicer
import vtk

HISTOGRAM_BINS = 81


def readCsv(path: str) -> tuple[list, list]:
    """The header and the rows of a CSV or TSV file."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        text = file.read()
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    return (rows[0], rows[1:]) if rows else ([], [])


def readMetrics(path: str) -> tuple[list, list]:
    """The figures of a comparison (`metrics.json`) as header and rows: metric, value, definition."""
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    definitions = content.get("definitions", {})
    rows = [[name, formatNumber(value), str(definitions.get(name, ""))] for name, value in content["metrics"].items()]
    if "data_range" in content:
        rows.append(["Data range", formatNumber(content["data_range"]), "Of PSNR and SSIM"])
    if "voxels" in content:
        rows.append(["Voxels", str(content["voxels"]), f"Mask: {content.get('mask', '')}"])
    aligned = content.get("registration")
    if aligned:
        moved = f"Reference moved {aligned['shift_mm']:.1f} mm, {aligned['rotation_degrees']:.1f}°"
        rows.append(["Correlation after alignment", formatNumber(aligned["correlation_after"]), moved])
    return ["Metric", "Value", "Definition"], rows


def formatNumber(value: object) -> str:
    """Four significant digits; what is no number stays as it is."""
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


def makeTable(
    name: str, header: list, rows: list, node: slicer.vtkMRMLTableNode | None = None
) -> slicer.vtkMRMLTableNode:
    """A table node; columns in which everything is a number (or empty) become numeric.

    :param node: an earlier table to overwrite; None makes a new one.
    """
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    table = vtk.vtkTable()
    for index, title in enumerate(header):
        cells = [row[index] if index < len(row) else "" for row in rows]
        numbers = _numbers(cells)
        column = vtk.vtkStringArray() if numbers is None else vtk.vtkDoubleArray()
        column.SetName(title)
        for cell in cells if numbers is None else numbers:
            column.InsertNextValue(cell)
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    return node


def histogram(values: np.ndarray, limit: float) -> tuple[list, list]:
    """Centers and shares (percent) of the values between -limit and limit; what lies beyond counts in the end bins."""
    counts, edges = np.histogram(np.clip(values, -limit, limit), bins=HISTOGRAM_BINS, range=(-limit, limit))
    centers = 0.5 * (edges[1:] + edges[:-1])
    rows = [[f"{c:.6g}", f"{100 * n / max(values.size, 1):.6g}"] for c, n in zip(centers, counts)]  # noqa: B905
    return ["Difference", "Share of voxels, %"], rows


def makePlot(name: str, table: slicer.vtkMRMLTableNode, x: str, y: str, bars: bool) -> slicer.vtkMRMLPlotChartNode:
    """A chart of one column against another; a chart of the same name is overwritten.

    :param bars: bars with the names in column `x`, or a line over the numbers in it.
    """
    series = _named("vtkMRMLPlotSeriesNode", name + " series")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetYColumnName(y)
    if bars:
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetLabelColumnName(x)
    else:
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetXColumnName(x)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetColor(0.25, 0.45, 0.75)
    chart = _named("vtkMRMLPlotChartNode", name)
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(name)
    chart.SetXAxisTitle(x)
    chart.SetYAxisTitle(y)
    chart.SetLegendVisibility(False)
    return chart


def showPlot(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show a chart in the plot views."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActivePlotChartID(chart.GetID())
    slicer.app.applicationLogic().PropagatePlotChartSelection()


def _named(className: str, name: str) -> slicer.vtkMRMLNode:
    node = slicer.util.getFirstNodeByClassByName(className, name)
    return node if node is not None else slicer.mrmlScene.AddNewNodeByClass(className, name)


def _numbers(cells: list) -> list | None:
    values = []
    for cell in cells:
        try:
            values.append(float(cell) if str(cell).strip() else float("nan"))
        except ValueError:
            return None
    return values if any(value == value for value in values) else None
