"""The values of DICOM images, in the units that the header's rescale defines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.dicom_files import check_room, damaged, quiet_pydicom, read_dataset
from modality_synthesis.volumes.dicom_index import Slice
from modality_synthesis.volumes.dicom_lut import apply_modality_lut, has_modality_lut
from modality_synthesis.volumes.dicom_numbers import frame_count, text
from modality_synthesis.volumes.dicom_scales import OtherScale, other_scale, with_other_scales
from modality_synthesis.volumes.dicom_values import Scaling, scalings, states_scale, without_padding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def stack_values(slices: tuple[Slice, ...], name: str, reporter: Reporter, *, unmeasured: bool = False) -> np.ndarray:
    """The voxels of ordered slices in their units, float32 (z, y, x).

    Args:
        slices: in the order wanted.
        name: the series' name, for messages.
        reporter: receives findings.
        unmeasured: what the header names as padding becomes NaN, not air.

    Raises:
        BadInputError: damaged pixel data, or an encoding that cannot be decoded.
    """
    width, height = slices[0].size
    voxels = np.empty((len(slices), height, width), dtype=np.float32)
    unscaled = [False] * len(slices)
    scales: list[OtherScale | None] = [None] * len(slices)
    modality = ""
    places: dict[Path, list[int]] = {}
    for index, plane in enumerate(slices):
        places.setdefault(plane.path, []).append(index)
    for path, indices in places.items():
        frames = _frames(path, unmeasured)
        modality = frames.modality
        for index in indices:
            frame = slices[index].frame
            if frame >= len(frames.values) or frames.values.shape[1:] != (height, width):
                raise BadInputError(f"{name}: {path.name} holds fewer pixels than its header announces.")
            voxels[index], scales[index] = frames.values[frame], frames.other_scales[frame]
            unscaled[index] = not frames.states_scale[frame]
    if any(unscaled) and not all(unscaled):
        raise BadInputError(
            f"{name}: {sum(unscaled)} of {len(slices)} slices do not say how their stored numbers are meant (Rescale "
            "Slope and Intercept), the others do, so that their values do not belong together. Export the series again."
        )
    return with_other_scales(voxels, scales, modality, name, reporter)


@dataclass(frozen=True)
class _Frames:
    """Of one file: values in units, float32 (frames, rows, columns); by frame, other scales and whether the header says
    how stored numbers become values; DICOM's code of the modality."""

    values: np.ndarray
    other_scales: tuple[OtherScale | None, ...]
    states_scale: tuple[bool, ...]
    modality: str


def _frames(path: Path, unmeasured: bool) -> _Frames:
    """All frames of a file."""
    from pydicom.uid import ImplicitVRLittleEndian, RLELossless

    dataset = read_dataset(path, pixels=True)
    check_room(dataset, path)
    try:
        with quiet_pydicom():
            syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
            if syntax is None:
                # Files from before DICOM's file format carry no preamble and this syntax.
                syntax = dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            # With optional packages pydicom decodes more, but a file must give the same values everywhere.
            needs_gdcm = syntax.is_encapsulated and syntax != RLELossless
            scaling = list(scalings(dataset, frame_count(dataset)))
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(path, error) from None
    values = _decoded_by_gdcm(path, dataset, scaling) if needs_gdcm else _decoded(path, dataset, scaling)
    if len(set(scaling)) == 1 and not has_modality_lut(dataset):
        values = without_padding(values, dataset, scaling[0], unmeasured=unmeasured)
    stated = tuple(states_scale(dataset, frame) for frame in range(len(scaling)))
    scales = tuple(
        None if has_modality_lut(dataset) else other_scale(dataset, frame, line, rescaled=stated[frame])
        for frame, line in enumerate(scaling)
    )
    return _Frames(values, scales, stated, text(dataset, "Modality"))


def _decoded(path: Path, dataset: Dataset, scaling: list[Scaling]) -> np.ndarray:
    try:
        with quiet_pydicom():
            stored = dataset.pixel_array
            if has_modality_lut(dataset):
                return apply_modality_lut(stored.reshape(-1, *stored.shape[-2:]), dataset)
    except Exception as error:
        raise damaged(path, error) from None
    frames = stored.reshape(-1, *stored.shape[-2:])
    if len(frames) != len(scaling):
        raise BadInputError(f"{path.name} holds {len(frames)} frames, its header announces {len(scaling)}.")
    return np.stack([_rescaled(frame, *line) for frame, line in zip(frames, scaling, strict=True)])


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _decoded_by_gdcm(path: Path, dataset: Dataset, scaling: list[Scaling]) -> np.ndarray:
    """Frames in an encoding that only GDCM decodes here."""
    from modality_synthesis.volumes.dicom_gdcm import stored_values

    if has_modality_lut(dataset):
        raise BadInputError(
            f"{path.name} is compressed and means its numbers by a Modality LUT, which is read from uncompressed files "
            "only. Export it uncompressed (with dcmdjpeg or gdcmconv --raw, for example)."
        )
    if len(set(scaling)) > 1:
        raise BadInputError(f"{path.name} is compressed and scales each frame differently. Export it uncompressed.")
    try:
        with quiet_pydicom():
            stored = stored_values(dataset)
    except Exception as error:  # pydicom and GDCM raise many kinds on damaged files
        raise damaged(path, error) from None
    return _rescaled(stored, *scaling[0])
