"""Preprocessed training pairs, kept on disk: preprocessing runs once per volume and recipe, not once per epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing import ChainParameters, prepare, prepare_target, target_region
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import atomic_output, read_image


@dataclass(frozen=True)
class Pair:
    """One preprocessed pair on disk.

    The file holds `source` and `target` (float16, network values), `brain` and `region` (uint8: the brain, and where
    the target is defined), each (depth, height, width).
    """

    visit: Visit
    path: Path

    def load(self) -> dict[str, np.ndarray]:
        """The arrays, float32 and uint8."""
        from safetensors.numpy import load_file

        arrays = load_file(self.path)
        return {
            name: values.astype(np.float32) if values.dtype == np.float16 else values for name, values in arrays.items()
        }


def preprocess_pairs(
    visits: Sequence[Visit],
    source: str,
    target: str,
    chain: ChainParameters,
    folder: Path,
    *,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> list[Pair]:
    """Preprocess every visit's source and target volumes, or find them in the cache.

    Args:
        visits: with both volumes.
        source: source modality.
        target: target modality.
        chain: the recipe's preprocessing: what the model package will say.
        folder: the cache.
        jobs: worker processes.
        reporter: receives progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [Pair(visit, folder / f"{_key(visit, source, target, chain)}.safetensors") for visit in visits]
    missing = [pair for pair in pairs if not pair.path.exists()]
    work = partial(_preprocess, source=source, target=target, chain=chain)
    parallel_map(work, missing, jobs=jobs, reporter=reporter, stage="Preprocessing")
    return pairs


def _key(visit: Visit, source: str, target: str, chain: ChainParameters) -> str:
    # Size and time of change stand for the contents: hashing a cohort's gigabytes at every start would cost minutes.
    stats = [visit.volumes[modality].stat() for modality in (source, target)]
    facts = [
        __version__,
        chain.model_dump_json(),
        *(str(visit.volumes[name].resolve()) for name in (source, target)),
    ]
    facts += [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]
    return f"{visit.name}-{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:16]}"


def _preprocess(pair: Pair, source: str, target: str, chain: ChainParameters) -> None:
    import torch
    from safetensors.numpy import save

    torch.set_num_threads(1)
    volumes = pair.visit.volumes
    prepared = prepare(read_image(volumes[source]), chain, name=volumes[source].name)
    reference = prepare_target(read_image(volumes[target]), prepared, chain.target)
    arrays = {
        "source": sitk.GetArrayFromImage(prepared.image).astype(np.float16),
        "target": sitk.GetArrayFromImage(reference).astype(np.float16),
        "brain": sitk.GetArrayFromImage(prepared.require_mask()).astype(np.uint8),
        "region": sitk.GetArrayFromImage(target_region(prepared, chain.target)).astype(np.uint8),
    }
    with atomic_output(pair.path) as temporary:
        temporary.write_bytes(save(arrays))
