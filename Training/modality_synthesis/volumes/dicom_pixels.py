"""The values of DICOM images, in the units that the header's rescale defines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.volumes.dicom_index import Slice, damaged, quiet_pydicom
from modality_synthesis.volumes.itk_paths import path_for_itk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def stack_values(slices: tuple[Slice, ...], name: str) -> np.ndarray:
    """The rescaled voxels of ordered slices, float32 (z, y, x).

    Raises:
        BadInputError: damaged pixel data, or an encoding that cannot be decoded.
    """
    width, height = slices[0].size
    voxels = np.empty((len(slices), height, width), dtype=np.float32)
    places: dict[Path, list[int]] = {}
    for index, plane in enumerate(slices):
        places.setdefault(plane.path, []).append(index)
    for path, indices in places.items():
        frames = _frames(path)
        for index in indices:
            if slices[index].frame >= len(frames) or frames.shape[1:] != (height, width):
                raise BadInputError(f"{name}: {path.name} holds fewer pixels than its header announces.")
            voxels[index] = frames[slices[index].frame]
    return voxels


def _frames(path: Path) -> np.ndarray:
    """All frames of a file, rescaled, float32 (frames, rows, columns)."""
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian, RLELossless

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True)
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        if syntax is None:
            # Files from before DICOM's file format carry no preamble and this syntax.
            syntax = dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        # With optional packages pydicom decodes more, but a file must give the same values everywhere.
        needs_gdcm = syntax.is_encapsulated and syntax != RLELossless
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None
    if needs_gdcm:
        return _decoded_by_gdcm(path, dataset)
    try:
        with quiet_pydicom():
            stored = dataset.pixel_array
    except Exception as error:
        raise damaged(path, error) from None
    frames = stored.reshape(-1, *stored.shape[-2:])
    scaling = _scaling(dataset, len(frames))
    return np.stack([_rescaled(frame, *line) for frame, line in zip(frames, scaling, strict=True)])


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _scaling(dataset: Dataset, frames: int) -> Iterator[tuple[float, float]]:
    """Slope and intercept of each frame."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), None)
    for frame in range(frames):
        holder = dataset
        for group in (shared, per_frame[frame] if frame < len(per_frame) else None):
            holder = next(iter((group or {}).get("PixelValueTransformationSequence") or []), holder)
        slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
        yield (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))


def _decoded_by_gdcm(path: Path, dataset: Dataset) -> np.ndarray:
    """Frames in an encoding that only GDCM decodes here; it applies the rescale itself."""
    import SimpleITK as sitk

    frames = int(dataset.get("NumberOfFrames") or 1)
    scaling = set(_scaling(dataset, frames))
    if len(scaling) > 1:
        raise BadInputError(f"{path.name} is compressed and scales each frame differently. Export it uncompressed.")
    try:
        with path_for_itk(path) as name:
            values = sitk.GetArrayFromImage(sitk.ReadImage(name, sitk.sitkFloat32))
    except RuntimeError as error:
        raise damaged(path, error) from None
    if str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1":
        # GDCM inverts the stored values for display: s becomes 2**bits - 1 - s, or -1 - s when signed.
        slope, intercept = scaling.pop()
        signed = int(dataset.get("PixelRepresentation") or 0)
        largest = -1.0 if signed else 2.0 ** int(dataset.BitsStored) - 1
        values = (slope * largest + 2 * intercept - values.astype(np.float64)).astype(np.float32)
    return values.reshape(-1, *values.shape[-2:])
