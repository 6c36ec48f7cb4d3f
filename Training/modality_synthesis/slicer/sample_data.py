"""Sample data for Slicer's module Sample Data: files that ship with the extension, so no network is needed."""

from __future__ import annotations

import hashlib
import os

from modality_synthesis.resources import resources_folder

CATEGORY = "Modality Synthesis"


def registerSampleData(name: str, fileName: str, nodeName: str, thumbnail: str) -> bool:
    """Offer one shipped file.

    :param name: as shown.
    :param fileName: in `Resources/SampleData`.
    :param nodeName: of the loaded volume.
    :param thumbnail: path of a picture; none is shown when it does not exist.
    :return: False when the file is not there, or this application has no module Sample Data.
    """
    try:
        import SampleData
    except ImportError:
        return False
    path = resources_folder() / "SampleData" / fileName
    if not path.is_file():
        return False
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=name,
        thumbnailFileName=thumbnail if os.path.isfile(thumbnail) else None,
        uris=path.resolve().as_uri(),
        fileNames=fileName,
        checksums="SHA256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
        nodeNames=nodeName,
    )
    return True
