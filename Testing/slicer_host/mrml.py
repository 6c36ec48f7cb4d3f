"""A headless MRML application on slicer-core: scene, logics, reading and writing. No Qt."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import slicer
import vtk

_VOLUME_OPTIONS = {
    "labelmap": 1,
    "center": 2,
    "singleFile": 4,
    "autoWindowLevel": 8,
    "discardOrientation": 16,
}


class IOManager:
    """The methods of `slicer.app.coreIOManager()` that `slicer.util` calls."""

    application_class = "qSlicerIOManager"
    host_only = frozenset({"host"})

    def __init__(self, host: MRMLHost) -> None:
        self.host = host

    def fileType(self, path: str) -> str:
        name = str(path).lower()
        # The readers of volumes and of segmentations are equally sure of it: who names no type may get either.
        if name.endswith((".nii", ".nii.gz")):
            return "SegmentationFile"
        return "SceneFile" if name.endswith((".mrml", ".mrb")) else "VolumeFile"

    def fileWriterFileType(self, node: Any, path: str = "") -> str:
        return "VolumeFile" if node.IsA("vtkMRMLVolumeNode") else "NodeFile"

    def loadNodes(self, kind: str, properties: dict, loaded: Any = None, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if not os.path.exists(path):
            return False
        if kind == "SceneFile":
            return self._load_scene(path, properties, messages)
        if kind != "VolumeFile":
            return False
        options = sum(bit for name, bit in _VOLUME_OPTIONS.items() if properties.get(name))
        files = None
        if properties.get("fileNames"):
            files = vtk.vtkStringArray()
            for name in properties["fileNames"]:
                files.InsertNextValue(str(name))
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        node = self.host.volumes_logic.AddArchetypeVolume(path, name, options, files)
        if node is None:
            return False
        if properties.get("show", True):
            self._show(node)
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _show(self, node: Any) -> None:
        selection = self.host.applicationLogic().GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        self.host.applicationLogic().PropagateVolumeSelection()

    def _load_scene(self, path: str, properties: dict, messages: Any) -> bool:
        scene = slicer.mrmlScene
        if properties.get("clear", True):
            scene.Clear(False)
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, False, messages))
        scene.SetURL(path)
        return bool(scene.Import(messages))

    def saveNodes(self, kind: str, properties: dict, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if kind == "SceneFile" or self.fileType(path) == "SceneFile":
            return self.saveScene(path, None)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def saveScene(self, path: str, image: Any, messages: Any = None) -> bool:
        scene = slicer.mrmlScene
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        return bool(scene.WriteToMRB(path, None) if path.endswith(".mrb") else scene.Commit(path))

    def addDefaultStorageNodes(self) -> None:
        pass


class MRMLHost:
    """The non-graphical part of `slicer.app`."""

    host_only = frozenset({"color_logic", "volumes_logic", "plots_logic"})

    def __init__(self) -> None:
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
        self.slicerHome = self.temporaryPath
        scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self._scene = scene
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetHomeDirectory(self.temporaryPath)  # where Slicer has its color files; here there are none
        self._logic.SetShareDirectory("share")
        os.makedirs(os.path.join(self.temporaryPath, "share", "ColorFiles"))
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)
        scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        self._logic.SetMRMLScene(scene)
        self._logic.SetSliceLogics(vtk.vtkCollection())
        self._logic.SetViewLogics(vtk.vtkCollection())
        self.color_logic = self._add_logic("Colors", slicer.vtkSlicerColorLogic())
        self._logic.SetColorLogic(self.color_logic)
        self.volumes_logic = self._add_logic("Volumes", slicer.vtkSlicerVolumesLogic())
        for name, cls in (
            ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
            ("Tables", "vtkSlicerTablesLogic"),
        ):
            self._add_logic(name, getattr(slicer, cls)())
        self.markups_logic = self._add_logic("Markups", slicer.vtkSlicerMarkupsLogic())
        self.plots_logic = self._add_logic("Plots", slicer.vtkSlicerPlotsLogic())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self._connect_data_io()
        self._io = IOManager(self)

    def _add_logic(self, name: str, logic: Any) -> Any:
        logic.SetMRMLApplicationLogic(self._logic)  # before SetMRMLScene, or the color logic complains
        logic.SetMRMLScene(self._scene)
        self._logic.SetModuleLogic(name, logic)
        return logic

    def _connect_data_io(self) -> None:
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(self.temporaryPath)
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLApplicationLogic(self._logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._logic.SetMRMLSceneDataIO(self._scene, self._remote_io, self._data_io)
        self._scene.SetRootDirectory(self.temporaryPath)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager
