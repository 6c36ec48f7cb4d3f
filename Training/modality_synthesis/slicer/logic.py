"""What the panels do, without widgets: jobs for the worker, and their results in the scene.

One job runs at a time. A job changes the scene only when it has succeeded.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from modality_synthesis.slicer import cards, comparison, dicom_source, exchange, preflight, results, suvr
from modality_synthesis.slicer.cards import Card
from modality_synthesis.slicer.command import WorkerCommand, run_blocking, worker_command
from modality_synthesis.slicer.job import Job
from modality_synthesis.slicer.protocol import Outcome
from modality_synthesis.slicer.warm import warm
from modality_synthesis.tables import is_unknown, unsafe_name

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
        geometry = dicom_source.stackGeometry(volumeNode)
        if geometry is not None:
            findings += preflight.examine_stack(array, *geometry)
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
        self._worker = Job(self.command(), onMessage, onFinished)
        self._worker.start(arguments, needsResult)
        return True

    def warmUp(self) -> None:
        """Have a worker ready for the next job."""
        if not self.running:
            warm.prepare(self.command())

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
        source = os.path.join(folder, exchange.fileName(inputVolume.GetName()) + ".nrrd")
        results.handOver(inputVolume, source)
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

    def startComparison(self, request: comparison.Request, onMessage: object, onFinished: object) -> bool:
        """Compare a synthetic volume with a measured one, in the background.

        :param onFinished: called with the `Outcome` and what `comparison.Request.load` returns.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        arguments = request.arguments(self._makeFolder())

        def finished(outcome: Outcome) -> None:
            self._finish(outcome, lambda: request.load(outcome), onFinished)

        return self.start(arguments, onMessage, finished)

    def differenceVolume(
        self, synthetic: slicer.vtkMRMLScalarVolumeNode | None, kind: str
    ) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The difference map of the last comparison of a synthetic volume."""
        return comparison.differenceVolume(synthetic, kind)

    # SUVR

    def startSuvr(self, request: suvr.Request, onMessage: object, onFinished: object) -> bool:
        """Measure SUVR in the atlas regions, in the background.

        :param onFinished: called with the `Outcome` and what `suvr.Request.load` returns.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        folder = self._makeFolder()
        arguments = request.arguments(folder)

        def finished(outcome: Outcome) -> None:
            self._finish(outcome, lambda: request.load(folder), onFinished)

        return self.start(arguments, onMessage, finished)

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
            name = exchange.fileName(node.GetName())[:100]
            taken = [row[0].lower() for row in rows]
            candidates = (f"{name}{suffix}" for suffix in ("", *range(2, 10000)))
            name = next(
                one
                for one in candidates
                if one.lower() not in taken and not is_unknown(one) and unsafe_name(one) is None
            )
            results.handOver(node, os.path.join(inputs, name + ".nrrd"))
            rows.append([name, f"inputs/{name}.nrrd"])
        path = os.path.join(folder, "cohort.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["subject", modality], *rows])
        return path

    # Export

    def exportVolume(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, folder: str, fileFormat: str) -> str:
        """Write a volume with its provenance record beside it, both or none; returns the volume's path.

        What is in the folder stays: the name gets a number where it is taken.

        :param fileFormat: NIfTI or NRRD.
        """
        import SimpleITK as sitk

        stem = exchange.newStem(os.path.join(folder, exchange.fileName(volumeNode.GetName())))
        ending = FILE_ENDINGS[fileFormat]
        with tempfile.TemporaryDirectory(prefix=".ms-export-", dir=folder) as room:
            partial, record = os.path.join(room, "volume" + ending), os.path.join(room, "volume.json")
            exchange.writeVolume(volumeNode, partial)
            image = sitk.ReadImage(partial)
            image.SetMetaData("ITK_FileNotes", (volumeNode.GetDescription() or "")[:79])
            sitk.WriteImage(image, partial, True)
            results.writeSidecar(volumeNode, partial)
            # The record first: a volume is never without it.
            if os.path.exists(record):
                os.replace(record, stem + ".json")
            os.replace(partial, stem + ending)
        return stem + ending

    def startDicomExport(
        self,
        volumeNode: slicer.vtkMRMLScalarVolumeNode,
        folder: str,
        fileFormat: str,
        onMessage: object,
        onFinished: object,
        sourceFiles: list | None = None,
    ) -> bool:
        """Write a synthetic volume as DICOM, in the background, into a new folder that the outcome names.

        :param folder: where the new folder is made.
        :param fileFormat: one of `DICOM_FORMATS`.
        :param sourceFiles: of the DICOM series it was made from (`dicom_source.sourceFiles`): patient and study come
            from there; neutral ones without.
        :return: False when a job is running already.
        """
        if self.running:
            return False
        temporary = self._makeFolder()
        path = os.path.join(temporary, exchange.fileName(volumeNode.GetName()) + ".nrrd")
        results.handOver(volumeNode, path)
        form = DICOM_FORMATS[fileFormat]
        output = exchange.newPath(os.path.join(folder, f"{exchange.fileName(volumeNode.GetName())}_{form}"))
        arguments = ["export", path, "-o", output, "--format", form]
        if sourceFiles:
            arguments += ["--source-dicom", dicom_source.gather(sourceFiles, os.path.join(temporary, "source"))]
        arguments += ["--progress", "json"]
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
        # Volumes of a patient, and a place that other users of the computer can look into: for this user only.
        self._folder = tempfile.mkdtemp(prefix="ModalitySynthesis-", dir=slicer.app.temporaryPath)
        return self._folder

    def _removeFolder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
