"""The DICOM files that a volume of the scene was loaded from, handed to the worker."""

from __future__ import annotations

import os
import shutil

import slicer

from modality_synthesis.slicer import results

INSTANCES = "DICOM.instanceUIDs"


def sourceFiles(volume: slicer.vtkMRMLScalarVolumeNode | None) -> list:
    """The files of the DICOM series that a synthetic volume was made from.

    :return: empty when the source is no longer in the scene, did not come through Slicer's DICOM database, or the
        database does not know every one of its files any more.
    """
    source = results.sourceOf(volume)
    instances = (source.GetAttribute(INSTANCES) or "").split() if source is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    if not instances or database is None or not database.isOpen:
        return []
    files = [database.fileForInstance(instance) for instance in dict.fromkeys(instances)]
    return list(dict.fromkeys(files)) if all(file and os.path.isfile(file) for file in files) else []


def gather(files: list, folder: str) -> str:
    """Put links to the files (copies, where the system allows no links) into a new folder, under neutral names."""
    os.makedirs(folder)
    for index, file in enumerate(files):
        path = os.path.join(folder, f"{index + 1:05d}.dcm")
        try:
            os.symlink(os.path.abspath(file), path)
        except OSError:
            shutil.copyfile(file, path)
    return folder
