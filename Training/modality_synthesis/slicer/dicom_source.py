"""The DICOM files that a volume of the scene was loaded from, handed to the worker."""

from __future__ import annotations

import os
import shutil

import numpy as np
import slicer

from modality_synthesis.slicer import results

INSTANCES = "DICOM.instanceUIDs"
# Image Position (Patient) and Image Orientation (Patient).
POSITION, ORIENTATION = "0020,0032", "0020,0037"
MODALITY = "0008,0060"


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


def stackGeometry(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple | None:
    """Where the slices that a volume was loaded from lie, as Slicer's DICOM database knows it.

    :return: positions (slices, 3), LPS in mm, and the orientation of the first slice (6 cosines); None when the volume
        did not come through the database, or its headers do not say.
    """
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not instances or database is None or not database.isOpen:
        return None
    try:
        positions = [_numbers(database.instanceValue(instance, POSITION), 3) for instance in instances]
        return np.array(positions), np.array(_numbers(database.instanceValue(instances[0], ORIENTATION), 6))
    except ValueError:
        return None


def modality(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """What a volume was acquired as (MR, CT, PT …), as Slicer's DICOM database or the volume's own quantity says.

    :return: empty when neither says.
    """
    instances = (volume.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if instances and database is not None and database.isOpen:
        return (database.instanceValue(instances[0], MODALITY) or "").strip()
    quantity = volume.GetVoxelValueQuantity()
    meaning = (quantity.GetCodeMeaning() or "").lower() if quantity is not None else ""
    return "PT" if "uptake" in meaning else ""


def _numbers(text: str, count: int) -> list:
    numbers = [float(number) for number in text.split("\\")]
    if len(numbers) != count:
        raise ValueError(f"{count} numbers expected")
    return numbers


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
