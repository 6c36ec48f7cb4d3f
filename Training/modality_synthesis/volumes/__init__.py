"""Volumes in and out of files, and where their voxels are.

Everything that reads or writes a volume goes through this room: it refuses what cannot be trusted (truncated
files, gaps, contradictory headers) and writes so that nothing is ever half there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.volumes.atomic import atomic_folder, atomic_output, clean_stale
    from modality_synthesis.volumes.dicom_index import SeriesInfo, dicom_series
    from modality_synthesis.volumes.files import file_sha256, write_json, write_rows
    from modality_synthesis.volumes.geometry import (
        affine,
        array,
        bounding_box,
        describe_geometry,
        image_like,
        matrix_transform,
        resample_like,
        same_geometry,
        transform_matrix,
    )
    from modality_synthesis.volumes.paths import READABLE, WRITABLE, check_writable, sidecar_path, split_ending
    from modality_synthesis.volumes.reading import read_image
    from modality_synthesis.volumes.scanner import scanner_manufacturer
    from modality_synthesis.volumes.sniffing import VolumeInfo, sniff
    from modality_synthesis.volumes.writing import write_image

_LAZY = {
    "READABLE": "paths",
    "SeriesInfo": "dicom_index",
    "VolumeInfo": "sniffing",
    "WRITABLE": "paths",
    "affine": "geometry",
    "array": "geometry",
    "atomic_folder": "atomic",
    "atomic_output": "atomic",
    "bounding_box": "geometry",
    "check_writable": "paths",
    "clean_stale": "atomic",
    "describe_geometry": "geometry",
    "dicom_series": "dicom_index",
    "file_sha256": "files",
    "image_like": "geometry",
    "matrix_transform": "geometry",
    "read_image": "reading",
    "resample_like": "geometry",
    "same_geometry": "geometry",
    "scanner_manufacturer": "scanner",
    "sidecar_path": "paths",
    "sniff": "sniffing",
    "split_ending": "paths",
    "transform_matrix": "geometry",
    "write_image": "writing",
    "write_json": "files",
    "write_rows": "files",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = [
    "READABLE",
    "WRITABLE",
    "SeriesInfo",
    "VolumeInfo",
    "affine",
    "array",
    "atomic_folder",
    "atomic_output",
    "bounding_box",
    "check_writable",
    "clean_stale",
    "describe_geometry",
    "dicom_series",
    "file_sha256",
    "image_like",
    "matrix_transform",
    "read_image",
    "resample_like",
    "same_geometry",
    "scanner_manufacturer",
    "sidecar_path",
    "sniff",
    "split_ending",
    "transform_matrix",
    "write_image",
    "write_json",
    "write_rows",
]
