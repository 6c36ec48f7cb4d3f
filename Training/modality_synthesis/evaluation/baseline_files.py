"""Fitted baselines on disk: in the cache of a cohort, and kept in a model's package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modality_synthesis.datasets.cache import Pair
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.baselines import Baselines, fit_baselines
from modality_synthesis.evaluation.scoring import load_sample
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.models import ModelPackage
from modality_synthesis.models.package import read_baselines
from modality_synthesis.preprocessing import TargetMapping
from modality_synthesis.progress import Reporter


def fitted_baselines(pairs: Sequence[Pair], mapping: TargetMapping, folder: Path, reporter: Reporter) -> Path:
    """The file of the baselines of these training pairs, fitted unless it is there already.

    Args:
        pairs: preprocessed training pairs, at least one.
        mapping: of the target.
        folder: the cache.
        reporter: receives progress.
    """
    # A pair's name holds the hashes of its volumes.
    made_of = fingerprint(mapping=mapping.model_dump(mode="json"), pairs=sorted(pair.path.name for pair in pairs))
    path = folder / f"baselines-{made_of[:16]}.safetensors"
    if not Baselines.is_intact(path):
        fit_baselines(load_sample(pair, mapping) for pair in reporter.track(pairs, "Fitting the baselines")).save(path)
    return path


def kept_baselines(package: ModelPackage, shape: tuple[int, ...]) -> Path:
    """The file of the baselines that a package keeps, checked.

    Args:
        package: whose card names them.
        shape: of the package's grid, (depth, height, width).

    Raises:
        BadInputError, HashMismatchError: missing, not the file that the card declares, or of another grid.
    """
    path = package.baselines_path
    assert path is not None
    found = Baselines.of_bytes(read_baselines(package), path)
    if found.mean.shape != tuple(shape):
        raise BadInputError(
            f"{path}: the baselines have {found.mean.shape} voxels, the model's grid {tuple(shape)}; the package "
            "is not what its training wrote. Install it again, or leave the baselines out (--no-baselines)."
        )
    return path
