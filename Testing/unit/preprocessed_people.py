"""People who are preprocessed already, on a grid of 8 mm, and models for them: for the tests of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.numpy import save_file

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.cohort_check import Screening
from modality_synthesis.datasets.qc import Findings
from modality_synthesis.evaluation import cohort as cohort_room
from modality_synthesis.generators.base import Generator
from modality_synthesis.models import ModelPackage, write_package
from modality_synthesis.preprocessing.atlas import labels_on
from modality_synthesis.preprocessing.parameters import Resample
from modality_synthesis.preprocessing.resampling import model_grid
from modality_synthesis.volumes import affine, write_image

GRID = Resample(size=(24, 28, 24), spacing=(8.0, 8.0, 8.0), center=(0.0, 18.0, 6.0))
CHAIN = {
    "source": [
        {"step": "reorient"}, {"step": "brain-mask"}, {"step": "register"},
        {"step": "resample", **GRID.model_dump()}, {"step": "normalize", "method": "tissue"},
    ],
    "target": {"minimum": 0.0, "mask_margin_mm": 0.0},
}  # fmt: skip


def atlas_labels() -> np.ndarray:
    """The atlas on the grid, (z, y, x)."""
    return labels_on(model_grid(GRID), sitk.Transform(3, sitk.sitkIdentity))


def write_person(
    folder: Path, name: str, source: np.ndarray, target: np.ndarray, brain: np.ndarray, *,
    shift_mm: float = 0.0, **others: np.ndarray,
) -> dict[str, Any]:  # fmt: skip
    """Write a person's pair, and `source`, `target` and the other volumes in a native space shifted along x.

    Returns:
        The person's row of the table; the other volumes are in columns of their names.
    """
    grid, shift = model_grid(GRID), np.eye(4)
    shift[0, 3] = shift_mm
    pair = {
        "source": source.astype(np.float16), "target": target.astype(np.float16), "brain": brain.astype(np.uint8),
        "region": brain.astype(np.uint8), "grid": affine(grid), "to_native": shift,
    }  # fmt: skip
    save_file(pair, folder / f"{name}.safetensors")
    native = sitk.Image(grid)
    native.SetOrigin([grid.GetOrigin()[0] + shift_mm, *grid.GetOrigin()[1:]])
    volumes = {"T1w": source, "FDG-PET": target, **others}
    for label, values in volumes.items():
        image = sitk.GetImageFromArray(values.astype(np.float32))
        image.CopyInformation(native)
        write_image(image, folder / f"{name}_{label}.nii.gz")
    return {"subject": name, **{label: f"{name}_{label}.nii.gz" for label in volumes}}


@contextmanager
def already_preprocessed(folder: Path) -> Iterator[None]:
    """Preprocessing is not what is tested here: the pairs are there already."""

    def pairs(visits, *args, **settings):
        return [Pair(visit, folder / f"{visit.subject}.safetensors") for visit in visits]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_room, "preprocess_pairs", pairs)
        patch.setattr(cohort_room, "screen", lambda visits, *_, **__: Screening(Findings(), list(visits), None))
        yield


def write_model(
    folder: Path, name: str, parameters: Mapping[str, Any], generator: Generator, *,
    baselines: tuple[bytes, int] | None = None, **facts: Any,
) -> ModelPackage:  # fmt: skip
    """A package named like its folder, with the generator's weights; `facts` add to its card."""
    card = {
        "id": folder.name, "version": "1.0.0", "name": folder.name, "badge": "demonstration",
        "route": {"source": "T1w", "target": "FDG-PET"}, "generator": {"name": name, "parameters": parameters},
        "inference": {"mode": "whole"}, "preprocessing": CHAIN, "licence": "Apache-2.0", "intended_use": "tests",
        "limits": ["a test"], "citation": "none",
        "output": {"quantity": "SUVR", "units": "SUVR", "reference_region": "none", "display_window": [0, 2]},
        "training": {"data": "simulated", "simulated": True, "subjects": {"train": 6, "validation": 2, "test": 4}},
    }  # fmt: skip
    return write_package(folder, {**card, **facts}, generator.package_state(), baselines=baselines)
