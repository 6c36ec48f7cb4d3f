"""Synthetic volumes of an evaluation as files: on the source's grid, with the marks that `synthesize` gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.datasets.samples import SampleSpec
from modality_synthesis.models import ModelPackage
from modality_synthesis.progress import current
from modality_synthesis.synthesis.devices import choose_device
from modality_synthesis.synthesis.provenance import (
    Run,
    description,
    sidecar,
    uncertainty_description,
    uncertainty_sidecar,
)
from modality_synthesis.volumes import (
    atomic_files,
    file_sha256,
    matrix_transform,
    read_image,
    sidecar_path,
    write_image,
    write_json,
)

FOLDER = "volumes"


def volume_path(folder: Path, visit: str, contender: str) -> Path:
    """Where the volume of a contender is kept; its sidecar lies beside it."""
    return folder / FOLDER / f"{visit}_{re.sub(r'[^A-Za-z0-9._-]+', '-', contender).strip('-')}.nii.gz"


def keep_volume(
    package: ModelPackage,
    pair: Pair,
    grid: sitk.Image,
    volume: np.ndarray,
    spread: np.ndarray | None,
    path: Path,
    *,
    device: str,
    seed: int,
    samples: int,
) -> None:
    """Write a synthetic volume, and its samples' standard deviation as `..._sd.nii.gz`, each with its sidecar.

    Args:
        package: the model.
        pair: the visit on the model's grid.
        grid: of the pair.
        volume: (depth, height, width), target units.
        spread: of the samples, or None.
        path: ends in .nii.gz.
        device: as asked for.
        seed: of the first sample.
        samples: that were drawn.
    """
    card, visit = package.card, pair.visit
    source = visit.volumes[card.route.source]
    native = read_image(source, reporter=current())
    record = sidecar(
        card,
        Run(
            source_name=source.name,
            source_sha256=file_sha256(source),
            device=str(choose_device(device)),
            seed=seed,
            space="native",
            quality={},
            warnings=(),
            clinical={one.name: visit.variable(one.name) for one in card.clinical_variables},
            scaling=SampleSpec(card.route.target, card.preprocessing).scaling(visit),
            samples=samples,
        ),
    )
    files = [(path, volume, record, description(card))]
    if spread is not None:
        spread_path = path.with_name(path.name.replace(".nii.gz", "_sd.nii.gz"))
        about = uncertainty_sidecar(record, card, samples)
        files.append((spread_path, spread, about, uncertainty_description(card)))
    back = matrix_transform(np.linalg.inv(pair.placement()[1]))
    region = pair.load()["region"] > 0
    background = card.preprocessing.target.background
    with atomic_files():
        for file, values, about, told in files:
            image = sitk.GetImageFromArray(np.where(region, values, background).astype(np.float32))
            image.CopyInformation(grid)
            image = sitk.Resample(image, native, back, sitk.sitkLinear, background, sitk.sitkFloat32)
            write_image(image, file, like=source if source.is_file() else None, description=told)
            write_json(about, sidecar_path(file))


def are_kept(path: Path) -> bool:
    """Whether a volume and its sidecar are there."""
    return path.is_file() and sidecar_path(path).is_file()
