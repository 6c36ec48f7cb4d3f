"""The values of DICOM images, in the units that the header's rescale defines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modality_synthesis.errors import BadInputError
from modality_synthesis.findings import Finding
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes.dicom_files import check_room, damaged, quiet_pydicom, read_dataset
from modality_synthesis.volumes.dicom_index import Slice
from modality_synthesis.volumes.dicom_numbers import frame_count, integer, text
from modality_synthesis.volumes.dicom_values import (
    Scaling,
    apply_modality_lut,
    has_modality_lut,
    philips_factor,
    scalings,
    states_scale,
    without_padding,
)
from modality_synthesis.volumes.itk_paths import path_for_itk

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Of the mean; the scanner's slopes hold seven digits.
_SAME_FACTOR = 1e-4


def stack_values(slices: tuple[Slice, ...], name: str, reporter: Reporter) -> np.ndarray:
    """The voxels of ordered slices in their units, float32 (z, y, x).

    Args:
        slices: in the order wanted.
        name: the series' name, for messages.
        reporter: receives findings.

    Raises:
        BadInputError: damaged pixel data, or an encoding that cannot be decoded.
    """
    width, height = slices[0].size
    voxels = np.empty((len(slices), height, width), dtype=np.float32)
    unscaled = [False] * len(slices)
    factors: list[float | None] = [None] * len(slices)
    places: dict[Path, list[int]] = {}
    for index, plane in enumerate(slices):
        places.setdefault(plane.path, []).append(index)
    for path, indices in places.items():
        frames = _frames(path)
        for index in indices:
            frame = slices[index].frame
            if frame >= len(frames.values) or frames.values.shape[1:] != (height, width):
                raise BadInputError(f"{name}: {path.name} holds fewer pixels than its header announces.")
            voxels[index], factors[index] = frames.values[frame], frames.philips_factor
            unscaled[index] = not frames.states_scale
    if any(unscaled) and not all(unscaled):
        raise BadInputError(
            f"{name}: {sum(unscaled)} of {len(slices)} slices do not say how their stored numbers are meant (Rescale "
            "Slope and Intercept), the others do, so that their values do not belong together. Export the series again."
        )
    return _evened(voxels, factors, name, reporter)


@dataclass(frozen=True)
class _Frames:
    """Of one file: values in units, float32 (frames, rows, columns), Philips' factor, and whether its header says how
    stored numbers become values."""

    values: np.ndarray
    philips_factor: float | None
    states_scale: bool


def _evened(voxels: np.ndarray, factors: list[float | None], name: str, reporter: Reporter) -> np.ndarray:
    """Apply Philips' private scale where the slices' own differ; a common factor is no matter in MRI."""
    known = [factor for factor in factors if factor is not None]
    if not known or np.ptp(known) <= _SAME_FACTOR * np.mean(np.abs(known)):
        return voxels
    if len(known) < len(factors):
        raise BadInputError(
            f"{name}: only {len(known)} of {len(factors)} slices hold Philips' private scale, which differs from slice "
            "to slice. Export the series from the scanner again, with private elements."
        )
    reporter.finding(
        Finding(
            "philips-scale",
            "look",
            f"{name}: the slices' public scale is not the scanner's: Philips' private scale (2005,100E) was applied, "
            f"which differs by a factor of up to {max(known) / min(known):.2f} between slices. 3D Slicer does not "
            "apply it.",
            "Check that no stripes are left across the slices.",
        )
    )
    return voxels * np.array(known, dtype=np.float32)[:, None, None]


def _frames(path: Path) -> _Frames:
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
        values = without_padding(values, dataset, scaling[0])
    return _Frames(values, philips_factor(dataset, scaling[0]), states_scale(dataset))


def _decoded(path: Path, dataset: Dataset, scaling: list[Scaling]) -> np.ndarray:
    try:
        with quiet_pydicom():
            stored = dataset.pixel_array
            if has_modality_lut(dataset):
                values = apply_modality_lut(stored, dataset)
                return values.reshape(-1, *values.shape[-2:])
    except Exception as error:
        raise damaged(path, error) from None
    frames = stored.reshape(-1, *stored.shape[-2:])
    if len(frames) != len(scaling):
        raise BadInputError(f"{path.name} holds {len(frames)} frames, its header announces {len(scaling)}.")
    return np.stack([_rescaled(frame, *line) for frame, line in zip(frames, scaling, strict=True)])


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _decoded_by_gdcm(path: Path, dataset: Dataset, scaling: list[Scaling]) -> np.ndarray:
    """Frames in an encoding that only GDCM decodes here; it applies the rescale itself."""
    import SimpleITK as sitk

    if has_modality_lut(dataset):
        raise BadInputError(
            f"{path.name} is compressed and means its numbers by a Modality LUT, which is read from uncompressed files "
            "only. Export it uncompressed (with dcmdjpeg or gdcmconv --raw, for example)."
        )
    if len(set(scaling)) > 1:
        raise BadInputError(f"{path.name} is compressed and scales each frame differently. Export it uncompressed.")
    try:
        with path_for_itk(path) as name:
            values = sitk.GetArrayFromImage(sitk.ReadImage(name, sitk.sitkFloat32))
    except RuntimeError as error:
        raise damaged(path, error) from None
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        # GDCM inverts the stored values for display: s becomes 2**bits - 1 - s, or -1 - s when signed.
        slope, intercept = scaling[0]
        signed = integer(dataset, "PixelRepresentation") or 0
        largest = -1.0 if signed else 2.0 ** (integer(dataset, "BitsStored") or 16) - 1
        values = (slope * largest + 2 * intercept - values.astype(np.float64)).astype(np.float32)
    return values.reshape(-1, *values.shape[-2:])
