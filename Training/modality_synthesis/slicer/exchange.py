"""Volumes between the scene and the worker: NRRD files in a temporary folder.

A node is written from its voxels, never through its storage node: that would make the scene point to temporary files.
A result is accepted only on the very grid it was asked for.
"""

from __future__ import annotations

import os
import re

import numpy as np
import slicer
import vtk

SAME_GRID_MM = 1e-3
VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class GeometryError(RuntimeError):
    """A file's grid is not the one that was asked for."""


def ijkToRas(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """The node's 4x4 matrix from voxel indices to its own (untransformed) RAS space."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def writeVolume(volumeNode: slicer.vtkMRMLScalarVolumeNode, path: str, binary: bool = False) -> None:
    """Write a volume node's voxels and grid to a file; transforms above the node are not applied.

    :param binary: write a mask of what is above zero.
    """
    import SimpleITK as sitk

    array = slicer.util.arrayFromVolume(volumeNode)
    image = sitk.GetImageFromArray((array > 0).astype(np.uint8) if binary else array)
    matrix = _RAS_TO_LPS @ ijkToRas(volumeNode)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in matrix[:3, 3]])
    image.SetDirection([float(value) for value in (matrix[:3, :3] / spacing).ravel()])
    sitk.WriteImage(image, str(path), False)


def readVolume(path: str) -> tuple[np.ndarray, np.ndarray]:
    """A file's voxels (slice, row, column) and its 4x4 matrix from voxel indices to RAS."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), _RAS_TO_LPS @ matrix


def readOnGridOf(path: str, gridNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """A file's voxels, when its grid is that of a node.

    :raises GeometryError: it is another grid.
    """
    array, matrix = readVolume(path)
    expected = slicer.util.arrayFromVolume(gridNode).shape
    if array.shape != expected:
        raise GeometryError(f"The result has {array.shape[::-1]} voxels, the input {expected[::-1]}.")
    corners = np.array([[i, j, k, 1] for i in (0, expected[2]) for j in (0, expected[1]) for k in (0, expected[0])])
    shift = float(np.abs((matrix - ijkToRas(gridNode)) @ corners.T).max())
    if shift > SAME_GRID_MM:
        raise GeometryError(f"The result lies {shift:.3g} mm away from its input.")
    return array


def setVolume(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, array: np.ndarray, gridNode: slicer.vtkMRMLVolumeNode
) -> None:
    """Put voxels into a node, on the grid (and under the transform) of another."""
    matrix = vtk.vtkMatrix4x4()
    gridNode.GetIJKToRASMatrix(matrix)
    volumeNode.SetIJKToRASMatrix(matrix)
    volumeNode.SetAndObserveTransformNodeID(gridNode.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(volumeNode, array)


def fileName(name: str) -> str:
    """A node's name made fit for files of every system."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "volume"


def stemOf(path: str) -> str:
    """A volume file's path without its ending: its record is called so, with .json behind it."""
    return next((path[: -len(ending)] for ending in VOLUME_ENDINGS if path.lower().endswith(ending)), path)


def newStem(stem: str) -> str:
    """A volume file's path without ending where neither a volume nor a record is yet: the given one, or a numbered one.

    Volumes of one stem, whatever their format, would share one record.
    """
    stems = (stem, *(f"{stem}_{i}" for i in range(2, 10000)))
    return next(name for name in stems if not any(os.path.exists(name + end) for end in (*VOLUME_ENDINGS, ".json")))


def newPath(path: str) -> str:
    """A path where nothing is yet: the given one, or with a number behind it."""
    return next(
        path + suffix for suffix in ("", *(f"_{i}" for i in range(2, 10000))) if not os.path.exists(path + suffix)
    )
