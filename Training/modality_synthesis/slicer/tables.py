"""Tables and plots in the scene, from the worker's JSON and CSV files and from difference maps."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import slicer
import vtk

from modality_synthesis import names
from modality_synthesis.slicer import results

HISTOGRAM_BINS = 81
LARGE = 1000  # from here on whole numbers, which `.3g` would write with an exponent
CHART_ROLE = "ModalitySynthesis.Chart"
META_REGION = "meta-region"
_SIDES = ("both", "left", "right")
BLUE = ((0.25, 0.45, 0.75),)


def readCsv(path: str) -> tuple[list, list]:
    """The header and the rows of a CSV or TSV file."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        text = file.read()
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    return (rows[0], rows[1:]) if rows else ([], [])


def readJson(path: str) -> dict:
    """What the worker says about a result."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def metricRows(content: dict, units: str) -> tuple[list, list]:
    """The figures of a comparison (`metrics.json`), inside the mask and over the whole volume, as header and rows.

    :param units: of the target, for people.
    """
    definitions, details = content.get("definitions", {}), content.get("details", {})
    whole = content.get("whole_volume", {})
    rows = []
    for name, value in content["metrics"].items():
        facts = details.get(name, {})
        unit = str(facts.get("unit") or "").replace("target units", units)
        best = formatNumber(facts["ideal"]) if facts.get("ideal") is not None else str(facts.get("better") or "")
        definition = str(definitions.get(name, ""))
        rows.append([name, formatNumber(value), formatNumber(whole.get(name)), unit, best, definition])
    if content.get("data_range") is not None:
        source = f"Of PSNR and SSIM: {content.get('data_range_source', '')}".rstrip(": ")
        rows.append(["Data range", formatNumber(content["data_range"]), "", units, "", source])
    if content.get("voxels") is not None:
        rows.append(["Voxels", str(content["voxels"]), "", "", "", f"Mask: {content.get('mask', '')}"])
    if content.get("reference_multiplied_by") is not None:
        factor = formatNumber(content["reference_multiplied_by"])
        rows.append(["Signal factor", factor, "", "", "", "The reference was multiplied by it: MRI has no unit"])
    aligned = content.get("registration")
    if aligned:
        moved = f"Reference moved {aligned['shift_mm']:.1f} mm, {aligned['rotation_degrees']:.1f}°"
        rows.append(["Correlation after alignment", formatNumber(aligned["correlation_after"]), "", "", "1", moved])
    calibration = content.get("calibration")
    if calibration:
        rows.append(
            ["AUSE", formatNumber(calibration["ause"]), "", "", "0",
             "Uncertainty: area between the sparsification curves over the error (Ilg 2018); 0 is a perfect ranking"]
        )  # fmt: skip
        rows.append(
            ["Uncertainty against error", formatNumber(calibration["spearman"]), "", "", "1",
             "Spearman's rank correlation of standard deviation and absolute error"]
        )  # fmt: skip
    return ["Metric", "In mask", "Whole volume", "Unit", "Best", "Definition"], rows


def calibrationRows(calibration: dict) -> tuple[list, list]:
    """Coverage of central intervals as header and rows; the second column is what it would be if calibrated."""
    columns = (calibration["levels"], calibration["coverage"], calibration["levels"], calibration["width"])
    rows = [[formatNumber(cell) for cell in row] for row in zip(*columns)]  # noqa: B905 - Python 3.9
    return ["Nominal level", "Coverage", "Calibrated", "Interval width"], rows


def formatNumber(value: object) -> str:
    """Three significant digits; nothing for what is not known; what is no number stays as it is."""
    if value is None:
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if np.isinf(number):
        return "∞" if number > 0 else "-∞"
    return f"{number:.0f}" if abs(number) >= LARGE else f"{number:.3g}"


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


def makeNamedTable(name: str, header: list, rows: list) -> slicer.vtkMRMLTableNode:
    """A table node; an earlier one of the same name is overwritten."""
    return makeTable(name, header, rows, results.namedNode("vtkMRMLTableNode", name))


def makeRegions(name: str, path: str, columns: list, modality: str, colors: tuple = BLUE) -> slicer.vtkMRMLTableNode:
    """The worker's table of regions, those that matter first, with a bar chart of the meta-regions of both hemispheres.

    :param path: CSV file.
    :param columns: to draw as bars.
    :param modality: of the tracer; what the literature reports for it comes first.
    """
    header, rows = readCsv(path)
    # Older tables call the mean SUVR `mean`.
    header = ["suvr" if title == "mean" and "suvr" not in header else title for title in header]
    region, kind, side = (header.index(title) for title in ("region", "kind", "hemisphere"))
    if "name" not in header:  # older tables
        rows = [[*row[: region + 1], names.region_name(row[region], row[side]), *row[region + 1 :]] for row in rows]
        header.insert(region + 1, "name")
        region, kind, side = (header.index(title) for title in ("region", "kind", "hemisphere"))
    structures = list(dict.fromkeys(names.structure_of(row[region]) for row in rows))

    def place(row: list) -> tuple:
        sides = _SIDES.index(row[side]) if row[side] in _SIDES else len(_SIDES)
        listed = names.region_place(row[region], row[kind], modality)
        return (*listed, structures.index(names.structure_of(row[region])), sides)

    rows.sort(key=place)
    table = makeNamedTable(name, header, rows)
    title = f"{name} meta-regions"
    meta = [row for row in rows if row[kind] == META_REGION and row[side] == "both"]
    chart = makePlot(title, makeNamedTable(title, header, meta), "name", columns, bars=True, colors=colors)
    table.SetNodeReferenceID(CHART_ROLE, chart.GetID())
    return table


def setRecord(table: slicer.vtkMRMLTableNode, record: dict) -> None:
    """Let a table say what its figures are of, and whether that is synthetic."""
    table.SetAttribute(results.SIDECAR, json.dumps(record))
    table.SetAttribute(results.SYNTHETIC, "YES" if record.get("SyntheticData") else None)


def export(table: slicer.vtkMRMLTableNode, path: str) -> None:
    """Write a table with its record beside it, as the worker writes them: a file of one name is replaced.

    :param path: `.tsv` for tabs, commas otherwise; the record's name is `PATH.json`.
    """
    data = table.GetTable()
    columns = [data.GetColumn(index) for index in range(data.GetNumberOfColumns())]
    rows = [[column.GetName() for column in columns]]
    for row in range(data.GetNumberOfRows()):
        rows.append([_plain(column.GetValue(row)) for column in columns])
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.lower().endswith(".tsv") else ",").writerows(rows)
    record = results.sidecarOf(table)
    if record:
        with open(path + ".json", "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)


def _plain(value: object) -> str:
    """A cell as it was read: nothing for what is not known, no .0 behind whole numbers."""
    if isinstance(value, str):
        return value
    return "" if value != value else f"{value:.10g}"


def chartOf(table: slicer.vtkMRMLTableNode | None) -> slicer.vtkMRMLPlotChartNode | None:
    """The chart that goes with a table."""
    return table.GetNodeReference(CHART_ROLE) if table is not None else None


def makePlot(
    name: str, table: slicer.vtkMRMLTableNode, x: str, columns: list, bars: bool, colors: tuple = BLUE
) -> slicer.vtkMRMLPlotChartNode:
    """A chart of columns against another one; a chart of the same name is overwritten.

    :param bars: bars with the names in column `x`, or lines over the numbers in it.
    :param colors: one for each column.
    """
    chart = results.namedNode("vtkMRMLPlotChartNode", name)
    chart.RemoveAllPlotSeriesNodeIDs()
    for column, color in zip(columns, colors):  # noqa: B905 - Python 3.9
        series = results.namedNode("vtkMRMLPlotSeriesNode", f"{name}: {column}")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetYColumnName(column)
        if bars:
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
            series.SetLabelColumnName(x)
        else:
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetXColumnName(x)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(name)
    chart.SetXAxisTitle(x)
    chart.SetYAxisTitle(", ".join(columns))
    chart.SetLegendVisibility(len(columns) > 1)
    return chart


def _numbers(cells: list) -> list | None:
    values = []
    for cell in cells:
        try:
            values.append(float(cell) if str(cell).strip() else float("nan"))
        except ValueError:
            return None
    return values if any(value == value for value in values) else None
