"""Volumes in and out of files, and where their voxels are.

Everything that reads or writes a volume goes through this room: it refuses what cannot be trusted (truncated
files, gaps, contradictory headers) and writes so that nothing is ever half there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modality_synthesis._lazy import lazy_names

if TYPE_CHECKING:
    from modality_synthesis.volumes.atomic import atomic_files, atomic_folder, atomic_output, scratch_folder, written
    from modality_synthesis.volumes.checks import checked_image
    from modality_synthesis.volumes.coverage import (
        coverage_finding,
        filled,
        find_coverage,
        read_covered,
        resample_covered,
    )
    from modality_synthesis.volumes.dicom_index import SeriesInfo, dicom_series
    from modality_synthesis.volumes.files import detached_files, file_sha256, image_sha256, write_json, write_rows
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
    from modality_synthesis.volumes.guard import (
        check_folder_writable,
        check_outputs,
        check_writable,
        is_own_json,
        refuse_foreign_json,
    )
    from modality_synthesis.volumes.marks import (
        Mark,
        derived_record,
        describe,
        first_mark,
        mark_columns,
        read_mark,
    )
    from modality_synthesis.volumes.paths import (
        READABLE,
        WRITABLE,
        data_path,
        found_sidecar,
        sidecar_path,
        split_ending,
        why_absent,
        with_series,
    )
    from modality_synthesis.volumes.reading import read_image
    from modality_synthesis.volumes.recovery import clean_stale
    from modality_synthesis.volumes.scanner import scanner_manufacturer, stated_units
    from modality_synthesis.volumes.sidecars import check_sidecar, read_sidecar, write_sidecar
    from modality_synthesis.volumes.sniffing import VolumeInfo, sniff
    from modality_synthesis.volumes.writing import write_image

_LAZY = {
    "Mark": "marks",
    "READABLE": "paths",
    "SeriesInfo": "dicom_index",
    "VolumeInfo": "sniffing",
    "WRITABLE": "paths",
    "affine": "geometry",
    "array": "geometry",
    "atomic_files": "atomic",
    "atomic_folder": "atomic",
    "atomic_output": "atomic",
    "bounding_box": "geometry",
    "check_folder_writable": "guard",
    "check_outputs": "guard",
    "check_sidecar": "sidecars",
    "check_writable": "guard",
    "checked_image": "checks",
    "clean_stale": "recovery",
    "coverage_finding": "coverage",
    "data_path": "paths",
    "derived_record": "marks",
    "describe": "marks",
    "describe_geometry": "geometry",
    "detached_files": "files",
    "dicom_series": "dicom_index",
    "file_sha256": "files",
    "filled": "coverage",
    "find_coverage": "coverage",
    "found_sidecar": "paths",
    "first_mark": "marks",
    "image_like": "geometry",
    "image_sha256": "files",
    "is_own_json": "guard",
    "mark_columns": "marks",
    "matrix_transform": "geometry",
    "read_covered": "coverage",
    "read_image": "reading",
    "read_mark": "marks",
    "read_sidecar": "sidecars",
    "refuse_foreign_json": "guard",
    "resample_covered": "coverage",
    "resample_like": "geometry",
    "same_geometry": "geometry",
    "scanner_manufacturer": "scanner",
    "scratch_folder": "atomic",
    "sidecar_path": "paths",
    "sniff": "sniffing",
    "split_ending": "paths",
    "stated_units": "scanner",
    "transform_matrix": "geometry",
    "why_absent": "paths",
    "with_series": "paths",
    "write_image": "writing",
    "write_json": "files",
    "write_rows": "files",
    "write_sidecar": "sidecars",
    "written": "atomic",
}

__getattr__ = lazy_names(__name__, _LAZY)
__all__ = [
    "READABLE",
    "WRITABLE",
    "Mark",
    "SeriesInfo",
    "VolumeInfo",
    "affine",
    "array",
    "atomic_files",
    "atomic_folder",
    "atomic_output",
    "bounding_box",
    "check_folder_writable",
    "check_outputs",
    "check_sidecar",
    "check_writable",
    "checked_image",
    "clean_stale",
    "coverage_finding",
    "data_path",
    "derived_record",
    "describe",
    "describe_geometry",
    "detached_files",
    "dicom_series",
    "file_sha256",
    "filled",
    "find_coverage",
    "first_mark",
    "found_sidecar",
    "image_like",
    "image_sha256",
    "is_own_json",
    "mark_columns",
    "matrix_transform",
    "read_covered",
    "read_image",
    "read_mark",
    "read_sidecar",
    "refuse_foreign_json",
    "resample_covered",
    "resample_like",
    "same_geometry",
    "scanner_manufacturer",
    "scratch_folder",
    "sidecar_path",
    "sniff",
    "split_ending",
    "stated_units",
    "transform_matrix",
    "why_absent",
    "with_series",
    "write_image",
    "write_json",
    "write_rows",
    "write_sidecar",
    "written",
]
