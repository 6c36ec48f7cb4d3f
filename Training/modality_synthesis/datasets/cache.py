"""Preprocessed training pairs, kept on disk: preprocessing runs once per volume and recipe, not once per epoch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.errors import ModalitySynthesisError, WorkerLostError
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing import ChainParameters, prepare, prepare_target, target_region
from modality_synthesis.progress import Reporter, current
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import affine, atomic_output, data_path, read_image, transform_matrix

# Of the files: another number makes old ones be computed anew.
_FORMAT = "3"

Window = tuple[slice, slice, slice]
_LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Pair:
    """One preprocessed pair on disk.

    The file holds `source` and `target` (float16; float32 where float16 has no room), `brain` and `region` (uint8: the
    brain, and where the target is defined), each (depth, height, width); and where they are, as (4, 4) matrices: `grid`
    from voxel index (x, y, z) to the grid's world, `to_native` from there to the native world, mm. The target is mapped
    by the chain's fixed scale and offset; what is fitted to the training patients (standardization) comes later, so
    that every fold of a cross-validation shares the files.
    """

    visit: Visit
    path: Path

    def placement(self) -> tuple[np.ndarray, np.ndarray]:
        """The matrices `grid` and `to_native`."""
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor("grid"), file.get_tensor("to_native")

    def load(self, window: Window | None = None) -> dict[str, np.ndarray]:
        """The arrays, float32 and uint8, or the part of them in a window (slices along depth, height, width)."""
        return self._read(("source", "target", "brain", "region"), window)

    def brain(self) -> np.ndarray:
        """The brain mask, uint8 (depth, height, width)."""
        return self._read(("brain",), None)["brain"]

    def _read(self, names: Sequence[str], window: Window | None) -> dict[str, np.ndarray]:
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            read = (lambda name: file.get_slice(name)[window]) if window else file.get_tensor
            arrays = {name: read(name) for name in names}
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
    wait: bool = False,
    limit_s: float | None = None,
    on_failure: Callable[[Visit, ModalitySynthesisError], None] | None = None,
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
        wait: another process preprocesses the same visits; wait until all its files are there.
        limit_s: seconds that one visit may take.
        on_failure: told of each visit that failed and is left out; without it the first one ends the work.
        reporter: receives progress.

    Returns:
        The visits' pairs, in their order.

    Raises:
        WorkerLostError: a worker was ended by the system, and there is no `on_failure`; names the visit.
        ModalitySynthesisError: `wait`, and nothing came for an hour.
    """
    chain = chain.fixed
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [
        Pair(visit, safe_place(folder, visit.name).with_name(f"{_key(visit, source, target, chain)}.safetensors"))
        for visit in visits
    ]
    missing = [pair for pair in pairs if not pair.path.exists()]
    if wait:
        _wait_for(missing)
        return pairs
    failed: set[str] = set()

    def book(index: int, error: ModalitySynthesisError) -> None:
        visit = missing[index].visit
        if on_failure is not None:
            failed.add(visit.name)
            on_failure(visit, error)
            return
        raise WorkerLostError(f"{visit.name}: {error}") if isinstance(error, WorkerLostError) else error

    work = partial(_preprocess, source=source, target=target, chain=chain)
    parallel_map(work, missing, jobs=jobs, reporter=reporter, stage="Preprocessing", on_failure=book, limit_s=limit_s)
    return [pair for pair in pairs if pair.visit.name not in failed]


def _wait_for(pairs: Sequence[Pair], *, patience: float = 3600.0, pause: float = 1.0) -> None:
    """Wait until all pairs exist, as long as another comes every `patience` seconds; each appears complete."""
    missing, since = [pair for pair in pairs if not pair.path.exists()], time.monotonic()
    while missing:
        if time.monotonic() - since > patience:
            raise ModalitySynthesisError(
                f"The first process has preprocessed nothing for {patience / 60:.0f} minutes; {len(missing)} volumes "
                f"are missing in {missing[0].path.parent}. Do all processes see the same folder?"
            )
        time.sleep(pause)
        left = [pair for pair in missing if not pair.path.exists()]
        since = time.monotonic() if len(left) < len(missing) else since
        missing = left


def _key(visit: Visit, source: str, target: str, chain: ChainParameters) -> str:
    # Size and time of change stand for the contents: hashing a cohort's gigabytes at every start would cost minutes.
    stats = [data_path(visit.volumes[modality]).stat() for modality in (source, target)]
    facts = [
        __version__,
        _FORMAT,
        chain.model_dump_json(exclude={"target": {"standardization"}}),
        *(str(visit.volumes[name].resolve()) for name in (source, target)),
    ]
    facts += [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats]
    return f"{visit.name}-{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:16]}"


def _preprocess(pair: Pair, source: str, target: str, chain: ChainParameters) -> None:
    import torch
    from safetensors.numpy import save

    torch.set_num_threads(1)
    volumes = pair.visit.volumes
    prepared = prepare(read_image(volumes[source], reporter=current()), chain, name=volumes[source].name)
    reference = prepare_target(read_image(volumes[target], reporter=current()), prepared, chain.target)
    arrays = {
        "source": _compact(sitk.GetArrayFromImage(prepared.image)),
        "target": _compact(sitk.GetArrayFromImage(reference)),
        "brain": sitk.GetArrayFromImage(prepared.require_mask()).astype(np.uint8),
        "region": sitk.GetArrayFromImage(target_region(prepared, chain.target)).astype(np.uint8),
        "grid": affine(prepared.image),
        "to_native": transform_matrix(prepared.to_native),
    }
    with atomic_output(pair.path) as temporary:
        temporary.write_bytes(save(arrays))


def _compact(values: np.ndarray) -> np.ndarray:
    fits = bool(np.abs(values).max(initial=0.0) <= _LARGEST_FLOAT16)
    return values.astype(np.float16 if fits else np.float32)
