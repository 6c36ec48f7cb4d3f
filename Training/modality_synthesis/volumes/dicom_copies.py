"""The same slice in a folder twice: under two names, or sent again under new UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from modality_synthesis.volumes.dicom_files import damaged, read_dataset
from modality_synthesis.volumes.dicom_index import Slice

_DECIDES = ("RescaleSlope", "RescaleIntercept", "BitsStored", "PixelRepresentation")


def without_copies(planes: Sequence[Slice]) -> list[Slice]:
    """One of each. Slices that lie at one place and differ in content all stay: they are no copies.

    Args:
        planes: of one series, all with a position.

    Raises:
        BadInputError: a file whose pixels have to be looked at is damaged.
    """
    if _uids_tell_apart(planes):
        planes = list({(plane.instance, plane.frame): plane for plane in planes}.values())
    places: dict[object, list[Slice]] = {}
    for plane in planes:
        places.setdefault(_place(plane), []).append(plane)
    kept: list[Slice] = []
    for group in places.values():
        kept += group if len(group) == 1 else {_content(plane): plane for plane in reversed(group)}.values()
    return kept


def _uids_tell_apart(planes: Sequence[Slice]) -> bool:
    """Whether no instance UID is missing, or stands for slices at several places."""
    places: dict[tuple[str, int], object] = {}
    return all(
        plane.instance and places.setdefault((plane.instance, plane.frame), _place(plane)) == _place(plane)
        for plane in planes
    )


def _place(plane: Slice) -> object:
    numbers = np.round([*(plane.position or ()), *(plane.orientation or ())], 2) + 0.0
    return (plane.size, *numbers.tolist())


def _content(plane: Slice) -> tuple[str, int]:
    """The same for slices with the same pixels and scale."""
    dataset = read_dataset(plane.path, pixels=True)
    try:
        digest = hashlib.sha256(bytes(dataset.PixelData))
        digest.update(repr([str(dataset.get(keyword)) for keyword in _DECIDES]).encode())
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise damaged(plane.path, error) from None
    return digest.hexdigest(), plane.frame
