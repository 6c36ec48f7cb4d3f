"""A comparison: what the worker is asked for, and its maps, tables and charts in the scene."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import numpy as np
import slicer
from slicer.i18n import tr as _

from modality_synthesis.slicer import display, exchange, results, tables
from modality_synthesis.slicer.protocol import Outcome

DIFFERENCE_ROLE = "ModalitySynthesis.Difference."
# The end of a difference map's colors, as a share of the synthetic volume's display window; SUVR 0 to 2 gives ±0.5.
DIFFERENCE_SHARE = 0.25
RELATIVE_LIMIT_PERCENT = 50.0
# What `compare -o FOLDER` writes; the regions only with an MRI, the aligned reference only when it registers.
DIFFERENCE_FILES = {
    "signed": "difference.nii.gz",
    "absolute": "absolute_difference.nii.gz",
    "relative": "relative_difference.nii.gz",
}
COMPARED_FILE = "compared.nii.gz"  # where these mean something
ALIGNED_FILE = "reference_aligned.nii.gz"
REGIONS_FILE = "regions.csv"
REPORT_FILES = ("report.html", "report.pdf", "metrics.json", REGIONS_FILE)
FIGURES_FOLDER = "figures"
BAR_COLORS = ((0.25, 0.45, 0.75), (0.85, 0.55, 0.15))


@dataclass
class Request:
    """What to compare, and how.

    Attributes:
        synthetic: the synthetic volume.
        reference: the measured one.
        coregister: align the reference with the synthetic volume first.
        regions: compare the atlas regions too, where a T1w MRI shows the way to the atlas.
        report_folder: where a new folder with the report is made; empty for no report.
    """

    synthetic: slicer.vtkMRMLScalarVolumeNode
    reference: slicer.vtkMRMLScalarVolumeNode
    coregister: bool = False
    regions: bool = False
    report_folder: str = ""

    @property
    def mri(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The T1w MRI of the person, aligned with what is compared: the source, or one of the compared volumes."""
        if results.cardSource(self.synthetic) == "T1w":
            return results.sourceOf(self.synthetic)
        if results.cardTarget(self.synthetic) == "T1w":
            return self.synthetic if self.coregister else self.reference
        return None

    @property
    def uncertainty(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The synthetic volume's uncertainty, when it has one."""
        return results.uncertaintyOf(self.synthetic)

    def arguments(self, folder: str) -> list:
        """Write the volumes into a folder; returns the worker's command line."""
        synthetic, reference = os.path.join(folder, "synthetic.nrrd"), os.path.join(folder, "reference.nrrd")
        results.handOver(self.synthetic, synthetic)
        results.handOver(self.reference, reference)
        arguments = ["compare", synthetic, reference, "-o", os.path.join(folder, "comparison")]
        arguments += ["--register"] if self.coregister else []
        arguments += ["--match-signal"] if results.sidecarOf(self.synthetic).get("Quantity") == "signal" else []
        for option, node in (("--mri", self.mri if self.regions else None), ("--uncertainty", self.uncertainty)):
            if node is not None:
                path = os.path.join(folder, option.strip("-") + ".nrrd")
                results.handOver(node, path)
                arguments += [option, path]
        return [*arguments, *(["--report"] if self.report_folder else []), "--progress", "json"]

    def load(self, outcome: Outcome) -> dict:
        """Bring the result into the scene.

        :return: `signed`, `absolute` and `relative` difference maps (NaN where nothing was compared), the `reference` (another node when it was
            aligned), the `factor` that gave it the synthetic volume's signal, the tables `metrics`, `histogram`, `regions` and `calibration` (the last two may be None), the
            `chart` of the histogram, and the path of the `report` when one was asked for.
        """
        folder, synthetic, reference = outcome.files["maps"], self.synthetic, self.reference
        aligned = os.path.join(folder, ALIGNED_FILE)
        if os.path.isfile(aligned):
            reference = _alignedReference(aligned, synthetic, reference)
        # The maps lie on the reference's grid.
        arrays = {
            kind: exchange.readOnGridOf(os.path.join(folder, name), reference).astype(np.float32)
            for kind, name in DIFFERENCE_FILES.items()
        }
        compared = os.path.join(folder, COMPARED_FILE)
        if os.path.isfile(compared):  # a worker of an older version does not say it
            outside = exchange.readOnGridOf(compared, reference) == 0
            for array in arrays.values():
                array[outside] = np.nan
        made = {"reference": reference, **_differenceMaps(arrays, synthetic, reference)}
        made.update(_tables(folder, outcome.files["metrics"], synthetic))
        made.update(_histogram(arrays, synthetic))
        made["metrics"].SetNodeReferenceID(tables.CHART_ROLE, made["chart"].GetID())
        if self.report_folder:
            made["report"] = _keepReport(folder, self.report_folder, synthetic)
        return made


def differenceVolume(
    synthetic: slicer.vtkMRMLScalarVolumeNode | None, kind: str
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The difference map of the last comparison of a synthetic volume."""
    return synthetic.GetNodeReference(DIFFERENCE_ROLE + kind) if synthetic is not None else None


def _differenceMaps(
    arrays: dict, synthetic: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> dict:
    made = {}
    for kind, array in arrays.items():
        node = _differenceNode(synthetic, kind)
        exchange.setVolume(node, array, reference)
        if kind == "relative":
            display.showDifference(node, kind, RELATIVE_LIMIT_PERCENT)
        else:
            display.showDifference(node, kind, _limit(synthetic))
        results.putBeside(node, synthetic)
        made[kind] = node
    return made


def _limit(synthetic: slicer.vtkMRMLScalarVolumeNode) -> float:
    low, high = results.displayWindow(synthetic)
    return DIFFERENCE_SHARE * (high - low)


def _differenceNode(synthetic: slicer.vtkMRMLScalarVolumeNode, kind: str) -> slicer.vtkMRMLScalarVolumeNode:
    node = differenceVolume(synthetic, kind)
    if node is None:
        name = results.derivedName(synthetic, f"difference ({kind})")
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
        results.handOnMark(synthetic, node)
        synthetic.SetNodeReferenceID(DIFFERENCE_ROLE + kind, node.GetID())
    return node


def _tables(folder: str, metricsPath: str, synthetic: slicer.vtkMRMLScalarVolumeNode) -> dict:
    content = tables.readJson(metricsPath)
    name = synthetic.GetName()
    rows = tables.metricRows(content, results.unitsOf(synthetic))
    made = {
        "factor": content.get("reference_multiplied_by") or 1.0,
        "metrics": tables.makeNamedTable(_("{name} metrics").format(name=name), *rows),
        "regions": None,
        "calibration": None,
    }
    path = os.path.join(folder, REGIONS_FILE)
    if os.path.isfile(path):
        made["regions"] = tables.makeRegions(
            _("{name} regions").format(name=name),
            path,
            ["synthetic_mean", "reference_mean"],
            results.cardTarget(synthetic),
            BAR_COLORS,
        )
    if content.get("calibration"):
        title = _("{name} calibration").format(name=name)
        header, rows = tables.calibrationRows(content["calibration"])
        made["calibration"] = tables.makeNamedTable(title, header, rows)
        lines = tables.makePlot(title, made["calibration"], header[0], header[1:3], bars=False, colors=BAR_COLORS)
        made["calibration"].SetNodeReferenceID(tables.CHART_ROLE, lines.GetID())
    return made


def _histogram(arrays: dict, synthetic: slicer.vtkMRMLScalarVolumeNode) -> dict:
    name = _("{name} differences").format(name=synthetic.GetName())
    header, rows = tables.histogram(arrays["signed"][np.isfinite(arrays["signed"])], _limit(synthetic))
    table = tables.makeNamedTable(name, header, rows)
    return {"histogram": table, "chart": tables.makePlot(name, table, header[0], header[1:], bars=False)}


def _alignedReference(
    path: str, synthetic: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    array = exchange.readOnGridOf(path, synthetic)
    node = results.namedNode("vtkMRMLScalarVolumeNode", _("{name} (aligned)").format(name=reference.GetName()))
    exchange.setVolume(node, array, synthetic)
    results.putBeside(node, reference)
    return node


def _keepReport(folder: str, parent: str, synthetic: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Copy the report and its tables out of the temporary folder; returns the page's path."""
    kept = exchange.newPath(os.path.join(parent, exchange.fileName(synthetic.GetName()) + "_comparison"))
    os.makedirs(kept)
    for name in REPORT_FILES:
        if os.path.isfile(os.path.join(folder, name)):
            shutil.copyfile(os.path.join(folder, name), os.path.join(kept, name))
    if os.path.isdir(os.path.join(folder, FIGURES_FOLDER)):
        shutil.copytree(os.path.join(folder, FIGURES_FOLDER), os.path.join(kept, FIGURES_FOLDER))
    return os.path.join(kept, REPORT_FILES[0])
