"""Sample data for Slicer's module Sample Data: files that ship with the extension, so no network is needed."""

from __future__ import annotations

import hashlib
import os

from modality_synthesis.resources import resources_folder

CATEGORY = "Modality Synthesis"


def registerSampleData(name: str, files: dict[str, str], thumbnail: str) -> bool:
    """Offer shipped files as one sample.

    :param name: as shown.
    :param files: file name in `Resources/SampleData` -> name of the loaded volume.
    :param thumbnail: path of a picture; none is shown when it does not exist.
    :return: False when a file is not there, or this application has no module Sample Data.
    """
    try:
        import SampleData
    except ImportError:
        return False
    paths = [resources_folder() / "SampleData" / fileName for fileName in files]
    if not all(path.is_file() for path in paths):
        return False
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=name,
        thumbnailFileName=thumbnail if os.path.isfile(thumbnail) else None,
        uris=[path.resolve().as_uri() for path in paths],
        fileNames=list(files),
        checksums=["SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest() for path in paths],
        nodeNames=list(files.values()),
        # The readers of volumes and of segmentations both take .nii.gz; without a name either may win.
        loadFileTypes=["VolumeFile"] * len(paths),
    )
    return True
