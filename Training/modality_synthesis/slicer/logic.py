"""What the panels do, without widgets: jobs for the worker, and their results in the scene.

One job runs at a time. A job changes the scene only when it has succeeded.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from modality_synthesis.slicer import cards, display, exchange, preflight, results, tables
from modality_synthesis.slicer.cards import Card
from modality_synthesis.slicer.command import WorkerCommand, run_blocking, worker_command
from modality_synthesis.slicer.process import WorkerProcess
from modality_synthesis.slicer.protocol import Outcome

DIFFERENCE_ROLE = "ModalitySynthesis.Difference."
# The end of a difference map's colors, as a share of the synthetic volume's display window; SUVR 0 to 2 gives ±0.5.
DIFFERENCE_SHARE = 0.25
RELATIVE_LIMIT_PERCENT = 50.0
# What `compare -o FOLDER` writes; the last one only when it registers.
DIFFERENCE_FILES = {
    "signed": "difference.nii.gz",
    "absolute": "absolute_difference.nii.gz",
    "relative": "relative_difference.nii.gz",
}
META_REGION = "meta-region"
ALIGNED_FILE = "reference_aligned.nii.gz"
DICOM_FORMATS = {"DICOM series": "dicom-series", "DICOM parametric map": "dicom-parametric-map"}
FILE_ENDINGS = {"NIfTI": ".nii.gz", "NRRD": ".nrrd"}


class SynthesisLogic(ScriptedLoadableModuleLogic):
    """Base of both modules' logics. Subclasses name their route and their parameter node's class."""

    parameterNodeClass = None
    sources = ()
    targets = ()

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.workerCommand = None  # set by tests; None asks `worker_command`
        self._cards = None
        self._worker = None
        self._folder = None

    def getParameterNode(self) -> object:
        """The module's parameter node, typed."""
        return self.parameterNodeClass(super().getParameterNode())

    def command(self) -> WorkerCommand:
        """How the worker is started."""
        return self.workerCommand or worker_command()

    # Models

    def models(self) -> list:
        """The installed models for this module's route, as read last."""
        if self._cards is None:
            self._cards = cards.installed_cards(self.sources, self.targets)
        return self._cards

    def readModels(self) -> None:
        """Read the installed models again."""
        self._cards = None

    def model(self, identifier: str) -> Card | None:
        """An installed model for this module's route, by id."""
        return next((card for card in self.models() if card.id == identifier), None)

    def preflight(self, volumeNode: slicer.vtkMRMLScalarVolumeNode | None, card: Card | None) -> list:
        """What speaks for or against using a volume with a model: a list of `preflight.Finding`."""
        if volumeNode is None or volumeNode.GetImageData() is None:
            return []
        array = slicer.util.arrayFromVolume(volumeNode)
        findings = preflight.examine(array, exchange.ijkToRas(volumeNode), volumeNode.GetName(), card)
        if results.isSynthetic(volumeNode):
            text = _("{name} is synthetic itself; errors add up.").format(name=volumeNode.GetName())
            findings.append(preflight.Finding(preflight.WARN, text))
        return findings

    # The job that runs

    @property
    def running(self) -> bool:
        """True while the worker works."""
        return self._worker is not None and self._worker.running

    def start(self, arguments: list, onMessage: object, onFinished: object, needsResult: bool = True) -> bool:
        """Start a command of the worker; returns at once.

        :param arguments: command and arguments.
        :param onMessage: called with each protocol message.
        :param onFinished: called once with the `Outcome`.
        :param needsResult: False for commands that end without a result message.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        self._worker = WorkerProcess(self.command(), onMessage, onFinished)
        self._worker.start(arguments, needsResult)
        return True

    def cancel(self) -> None:
        """Stop the job; its process tree ends within seconds and the scene stays as it is."""
        if self._worker is not None:
            self._worker.cancel()

    def abandon(self) -> None:
        """End the job at once and tell nobody: the scene or the panel goes away."""
        if self._worker is not None:
            self._worker.abandon()
        self._removeFolder()

    # Synthesis

    def startSynthesis(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        card: Card,
        onMessage: object,
        onFinished: object,
        outputVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
        clinical: str = "",
        device: str = "auto",
        seed: int = 0,
        samples: int = 1,
    ) -> bool:
        """Synthesize in the background.

        :param outputVolume: an earlier result to overwrite; None makes a new node.
        :param samples: to draw, for a model that draws noise: two or more give an uncertainty.
        :param onFinished: called with the `Outcome` and a dict of the nodes made (`volume`, `uncertainty`).
        :return: False when a job is running already.
        """
        if self.running:
            return False
        arguments = self._synthesisArguments(inputVolume, card, clinical, device, seed, samples)

        def finished(outcome: Outcome) -> None:
            self._finish(outcome, lambda: self._importSynthesis(outcome, inputVolume, card, outputVolume), onFinished)

        return self.start(arguments, onMessage, finished)

    def synthesize(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        model: str,
        outputVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
        clinical: str = "",
        device: str = "auto",
        seed: int = 0,
        samples: int = 1,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Synthesize and wait for the result: for scripts.

        :raises RuntimeError: with the worker's message.
        """
        card = self.model(model)
        if card is None:
            raise RuntimeError(_("No model {model} is installed for this module.").format(model=model))
        try:
            outcome = run_blocking(
                self.command(), self._synthesisArguments(inputVolume, card, clinical, device, seed, samples)
            )
            if not outcome.ok:
                raise RuntimeError(outcome.message)
            return self._importSynthesis(outcome, inputVolume, card, outputVolume)["volume"]
        finally:
            self._removeFolder()

    def _synthesisArguments(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        card: Card,
        clinical: str,
        device: str,
        seed: int,
        samples: int,
    ) -> list:
        folder = self._makeFolder()
        source = os.path.join(folder, fileName(inputVolume.GetName()) + ".nrrd")
        exchange.writeVolume(inputVolume, source)
        output = os.path.join(folder, "out", "synthetic.nrrd")
        arguments = ["synthesize", source, "--model", card.id, "-o", output, "--device", device, "--seed", str(seed)]
        if clinical:
            arguments += ["--clinical", clinical]
        if card.stochastic and samples > 1:
            spread = os.path.join(folder, "out", "uncertainty.nrrd")
            arguments += ["--samples", str(samples), "--uncertainty", spread]
        return [*arguments, "--progress", "json"]

    def _importSynthesis(
        self,
        outcome: Outcome,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        card: Card,
        outputVolume: slicer.vtkMRMLScalarVolumeNode | None,
    ) -> dict:
        array = exchange.readOnGridOf(outcome.files["volume"], inputVolume)
        sidecar = {}
        if outcome.files.get("sidecar"):
            with open(outcome.files["sidecar"], encoding="utf-8") as file:
                sidecar = json.load(file)
        uncertainty = None
        if outcome.files.get("uncertainty"):
            uncertainty = exchange.readOnGridOf(outcome.files["uncertainty"], inputVolume)
        volume = results.makeResult(array, inputVolume, card, sidecar, outputVolume)
        made = {"volume": volume}
        if uncertainty is not None:
            made["uncertainty"] = results.makeUncertainty(uncertainty, volume)
        return made

    # Comparison

    def startComparison(
        self,
        synthetic: slicer.vtkMRMLScalarVolumeNode,
        reference: slicer.vtkMRMLScalarVolumeNode,
        onMessage: object,
        onFinished: object,
        coregister: bool = False,
    ) -> bool:
        """Compare a synthetic volume with a measured one, in the background.

        :param coregister: align the reference with the synthetic volume first.
        :param onFinished: called with the `Outcome` and a dict of nodes: `signed`, `absolute`, `relative` difference
            maps, the `reference` (another node when it was aligned), `metrics` and `histogram` tables, and the `chart`.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        folder = self._makeFolder()
        paths = [os.path.join(folder, name) for name in ("synthetic.nrrd", "reference.nrrd")]
        exchange.writeVolume(synthetic, paths[0])
        exchange.writeVolume(reference, paths[1])
        arguments = ["compare", *paths, "-o", os.path.join(folder, "comparison")]
        arguments += ["--register"] if coregister else []
        # The volume travels without its record, which would say so.
        arguments += ["--match-signal"] if results.sidecarOf(synthetic).get("Quantity") == "signal" else []

        def finished(outcome: Outcome) -> None:
            self._finish(outcome, lambda: self._importComparison(outcome, synthetic, reference), onFinished)

        return self.start([*arguments, "--progress", "json"], onMessage, finished)

    def _importComparison(
        self,
        outcome: Outcome,
        synthetic: slicer.vtkMRMLScalarVolumeNode,
        reference: slicer.vtkMRMLScalarVolumeNode,
    ) -> dict:
        folder = outcome.files["maps"]
        aligned = os.path.join(folder, ALIGNED_FILE)
        if os.path.isfile(aligned):
            reference = self._alignedReference(aligned, synthetic, reference)
        # The maps lie on the reference's grid.
        arrays = {
            kind: exchange.readOnGridOf(os.path.join(folder, name), reference).astype(np.float32)
            for kind, name in DIFFERENCE_FILES.items()
        }
        header, rows = tables.readMetrics(outcome.files["metrics"])

        made = {"reference": reference}
        low, high = results.displayWindow(synthetic)
        limit = DIFFERENCE_SHARE * (high - low)
        for kind, array in arrays.items():
            node = self._differenceNode(synthetic, kind)
            exchange.setVolume(node, array, reference)
            if kind == "relative":
                display.showDifference(node, kind, RELATIVE_LIMIT_PERCENT, "%")
            else:
                display.showDifference(node, kind, limit, unitsOf(synthetic))
            results.putBeside(node, synthetic)
            made[kind] = node
        name = _("{name} metrics").format(name=synthetic.GetName())
        made["metrics"] = tables.makeTable(name, header, rows, _existing("vtkMRMLTableNode", name))
        name = _("{name} differences").format(name=synthetic.GetName())
        compared = arrays["relative"] != 0  # the map leaves out what lies outside the head
        bins = tables.histogram(arrays["signed"][compared], limit)
        made["histogram"] = tables.makeTable(name, *bins, _existing("vtkMRMLTableNode", name))
        made["chart"] = tables.makePlot(name, made["histogram"], bins[0][0], bins[0][1], bars=False)
        return made

    def _differenceNode(self, synthetic: slicer.vtkMRMLScalarVolumeNode, kind: str) -> slicer.vtkMRMLScalarVolumeNode:
        node = self.differenceVolume(synthetic, kind)
        if node is None:
            name = f"{synthetic.GetName()} difference ({kind})"
            node = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name)
            )
            node.SetAttribute(results.SYNTHETIC, "YES")  # what is computed from synthetic data is synthetic data
            synthetic.SetNodeReferenceID(DIFFERENCE_ROLE + kind, node.GetID())
        return node

    def differenceVolume(
        self, synthetic: slicer.vtkMRMLScalarVolumeNode | None, kind: str
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The difference map of the last comparison of a synthetic volume."""
        return synthetic.GetNodeReference(DIFFERENCE_ROLE + kind) if synthetic is not None else None

    def _alignedReference(
        self, path: str, synthetic: slicer.vtkMRMLScalarVolumeNode, reference: slicer.vtkMRMLScalarVolumeNode
    ) -> slicer.vtkMRMLScalarVolumeNode:
        array = exchange.readOnGridOf(path, synthetic)
        name = _("{name} (aligned)").format(name=reference.GetName())
        node = _existing("vtkMRMLScalarVolumeNode", name)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        exchange.setVolume(node, array, synthetic)
        results.putBeside(node, reference)
        return node

    # SUVR

    def startSuvr(
        self,
        petVolume: slicer.vtkMRMLScalarVolumeNode,
        mriVolume: slicer.vtkMRMLScalarVolumeNode,
        referenceRegion: str,
        onMessage: object,
        onFinished: object,
    ) -> bool:
        """Measure SUVR in the atlas regions, in the background.

        :param onFinished: called with the `Outcome` and a dict of nodes: `image`, `table` and `chart`.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        folder = self._makeFolder()
        pet, mri = os.path.join(folder, "pet.nrrd"), os.path.join(folder, "mri.nrrd")
        table, image = os.path.join(folder, "suvr.csv"), os.path.join(folder, "suvr.nrrd")
        exchange.writeVolume(petVolume, pet)
        exchange.writeVolume(mriVolume, mri)
        arguments = ["suvr", pet, "--mri", mri, "--reference-region", referenceRegion, "-o", table, "--image", image]

        def finished(outcome: Outcome) -> None:
            self._finish(
                outcome, lambda: self._importSuvr(petVolume, mriVolume, referenceRegion, table, image), onFinished
            )

        return self.start([*arguments, "--progress", "json"], onMessage, finished)

    def _importSuvr(
        self,
        petVolume: slicer.vtkMRMLScalarVolumeNode,
        mriVolume: slicer.vtkMRMLScalarVolumeNode,
        referenceRegion: str,
        tablePath: str,
        imagePath: str,
    ) -> dict:
        header, rows = tables.readCsv(tablePath)
        rows.sort(key=lambda row: row[header.index("kind")] != META_REGION)  # these first; the order stays otherwise
        array = exchange.readOnGridOf(imagePath, petVolume)
        name = f"{petVolume.GetName()} SUVR ({referenceRegion})"
        image = _existing("vtkMRMLScalarVolumeNode", name)
        if image is None:
            image = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        exchange.setVolume(image, array, petVolume)
        if results.isSynthetic(petVolume):
            for attribute in petVolume.GetAttributeNames():
                image.SetAttribute(attribute, petVolume.GetAttribute(attribute))
        results.setReferenceRegion(image, referenceRegion)
        image.SetNodeReferenceID(results.SOURCE_ROLE, mriVolume.GetID())
        results.setQuantity(image, "SUVR")
        window = results.displayWindow(petVolume) if results.isSynthetic(petVolume) else (0.0, 2.0)
        display.showQuantity(image, "Inferno", window)
        display.addLegend(image, f"SUVR\nref. {referenceRegion}")
        results.putBeside(image, petVolume)
        table = tables.makeTable(name, header, rows, _existing("vtkMRMLTableNode", name))
        name = f"{name} meta-regions"
        meta = [
            row
            for row in rows
            if row[header.index("kind")] == META_REGION and row[header.index("hemisphere")] == "both"
        ]
        metaTable = tables.makeTable(name, header, meta, _existing("vtkMRMLTableNode", name))
        return {"image": image, "table": table, "chart": tables.makePlot(name, metaTable, header[0], "mean", bars=True)}

    # Batch

    def startBatch(
        self,
        table: str,
        card: Card,
        folder: str,
        onMessage: object,
        onFinished: object,
        resume: bool = True,
        device: str = "auto",
        seed: int = 0,
    ) -> bool:
        """Run a cohort in the background, by the same engine as the command line.

        :param table: cohort table.
        :param folder: where the results go.
        :param onFinished: called with the `Outcome` and an empty dict.
        :return: False when a job is running already.
        """
        arguments = ["batch", table, "--model", card.id, "-o", folder, "--device", device, "--seed", str(seed)]
        arguments += ["--resume"] if resume else []
        return self.start(
            [*arguments, "--progress", "json"], onMessage, lambda outcome: self._finish(outcome, dict, onFinished)
        )

    def writeSceneCohort(self, volumes: list, modality: str, folder: str) -> str:
        """Write volumes of the scene and a cohort table of them into a folder; returns the table's path."""
        inputs = os.path.join(folder, "inputs")
        os.makedirs(inputs, exist_ok=True)
        rows = []
        for node in volumes:
            name = fileName(node.GetName())
            taken = [row[0] for row in rows]
            name = next(f"{name}{suffix}" for suffix in ("", *range(2, 10000)) if f"{name}{suffix}" not in taken)
            exchange.writeVolume(node, os.path.join(inputs, name + ".nrrd"))
            rows.append([name, f"inputs/{name}.nrrd"])
        path = os.path.join(folder, "cohort.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["subject", modality], *rows])
        return path

    # Export

    def exportVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, folder: str, fileFormat: str) -> str:
        """Write a volume with its provenance record beside it; returns the volume's path.

        :param fileFormat: NIfTI or NRRD.
        """
        import SimpleITK as sitk

        stem = os.path.join(folder, fileName(volumeNode.GetName()))
        path = stem + FILE_ENDINGS[fileFormat]
        partial = stem + ".partial" + FILE_ENDINGS[fileFormat]
        exchange.writeVolume(volumeNode, partial)
        try:
            image = sitk.ReadImage(partial)
            image.SetMetaData("ITK_FileNotes", (volumeNode.GetDescription() or "")[:79])
            sitk.WriteImage(image, partial, True)
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.remove(partial)
        sidecar = results.sidecarOf(volumeNode)
        if sidecar:
            with open(stem + ".json", "w", encoding="utf-8") as file:
                json.dump(sidecar, file, indent=2, ensure_ascii=False)
        return path

    def startDicomExport(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        folder: str,
        fileFormat: str,
        onMessage: object,
        onFinished: object,
    ) -> bool:
        """Write a synthetic volume as DICOM, in the background, into a new folder that the outcome names.

        :param folder: where the new folder is made.
        :param fileFormat: one of `DICOM_FORMATS`.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        temporary = self._makeFolder()
        path = os.path.join(temporary, fileName(volumeNode.GetName()) + ".nrrd")
        exchange.writeVolume(volumeNode, path)
        with open(path[: -len(".nrrd")] + ".json", "w", encoding="utf-8") as file:
            json.dump(results.sidecarOf(volumeNode), file)
        form = DICOM_FORMATS[fileFormat]
        output = newPath(os.path.join(folder, f"{fileName(volumeNode.GetName())}_{form}"))
        arguments = ["export", path, "-o", output, "--format", form, "--progress", "json"]
        return self.start(arguments, onMessage, lambda outcome: self._finish(outcome, dict, onFinished))

    # Helpers

    def _finish(self, outcome: Outcome, importResult: object, onFinished: object) -> None:
        """Import a job's result, clean up, and tell the caller."""
        made = {}
        try:
            if outcome.ok:
                made = importResult()
        except (exchange.GeometryError, OSError, ValueError, KeyError, RuntimeError) as error:
            outcome = Outcome("INTERNAL", _("The result cannot be used: {error}").format(error=error), log=outcome.log)
        finally:
            self._removeFolder()
        onFinished(outcome, made)

    def _makeFolder(self) -> str:
        self._removeFolder()
        self._folder = slicer.util.tempDirectory("ModalitySynthesis")
        return self._folder

    def _removeFolder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def fileName(name: str) -> str:
    """A node's name made fit for files of every system."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "volume"


def newPath(path: str) -> str:
    """A path where nothing is yet: the given one, or with a number behind it."""
    return next(
        path + suffix for suffix in ("", *(f"_{i}" for i in range(2, 10000))) if not os.path.exists(path + suffix)
    )


def unitsOf(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The unit to write beside a volume's figures."""
    quantity = volumeNode.GetVoxelValueQuantity()
    if quantity is not None and quantity.GetCodeValue() == "SUVR":
        return "SUVR"
    units = volumeNode.GetVoxelValueUnits()
    if units is None or units.GetCodeValue() in (None, "1"):
        return ""
    return "HU" if units.GetCodeValue() == "[hnsf'U]" else units.GetCodeMeaning()


def _existing(className: str, name: str) -> slicer.vtkMRMLNode | None:
    return slicer.util.getFirstNodeByClassByName(className, name)
