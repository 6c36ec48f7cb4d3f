"""Preprocessed training pairs, kept on disk: preprocessing runs once per volume and recipe, not once per epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.datasets.cohort import Visit
from modality_synthesis.datasets.cohort_check import Screening
from modality_synthesis.datasets.contents import content_hashes
from modality_synthesis.datasets.visit_check import Gathering, Noted
from modality_synthesis.errors import BadInputError, ModalitySynthesisError, WorkerLostError
from modality_synthesis.findings import Finding
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.json_files import read_json_object
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing import (
    ChainParameters,
    check_target_coverage,
    measured_region,
    prepare,
    prepare_target,
)
from modality_synthesis.preprocessing.source_checks import check_before, check_prepared
from modality_synthesis.preprocessing.target_checks import check_target, check_target_before
from modality_synthesis.progress import Reporter
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import (
    affine,
    atomic_files,
    atomic_output,
    file_sha256,
    filled,
    read_image,
    transform_matrix,
    write_json,
)
from modality_synthesis.volumes import written as written_file

# Of the files: another number makes old ones be computed anew.
_FORMAT = "4"

Window = tuple[slice, slice, slice]
_LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Pair:
    """One preprocessed pair on disk.

    The file holds `source` and `target` (float16; float32 where float16 has no room), `brain` and `region` (uint8: the
    brain, and where the target is defined and was measured), each (depth, height, width); and where they are, as (4, 4)
    matrices: `grid` from voxel index (x, y, z) to the grid's world, `to_native` from there to the native world, mm. The
    target is mapped
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


def arrays_in(path: Path) -> set[str]:
    """The names of the arrays in a .safetensors file; none where it is missing, or shorter than it says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError):
        return set()


@dataclass(frozen=True)
class Row:
    """What preparing a pair came to: `KEY.json` beside its arrays.

    Attributes:
        noted: what the checks found that need the brain or the registration.
        sha256: of the arrays' file; None when the pair could not be prepared.
        again: whether to try again at the next start (a lost worker says nothing about the volumes).
    """

    noted: tuple[Noted, ...]
    sha256: str | None = None
    again: bool = False


def preprocess_pairs(
    visits: Sequence[Visit],
    source: str,
    target: str,
    chain: ChainParameters,
    folder: Path,
    *,
    quantity: str | None = None,
    screening: Screening | None = None,
    jobs: int | None = None,
    wait: bool = False,
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> list[Pair]:
    """Preprocess every visit's volumes and check them as `synthesize` does, or find both in the cache.

    A pair is made again when the contents of its volumes, the chain or the program have changed, and when its file is
    damaged.

    Args:
        visits: with both volumes.
        source: source modality.
        target: target modality.
        chain: the recipe's preprocessing: what the model package will say.
        folder: the cache.
        quantity: what the target is expected to be (`SUVR`).
        screening: takes what is found; visits that it does not let pass are left out. Without one, the first refusal
            ends the work.
        jobs: worker processes.
        wait: another process preprocesses the same visits; wait until all its files are there.
        limit_s: seconds that one visit may take.
        reporter: receives progress.

    Returns:
        The visits' pairs, in their order.

    Raises:
        BadInputError: without a screening, a volume that is refused.
        WorkerLostError: without a screening, a worker was ended by the system; names the visit.
        ModalitySynthesisError: `wait`, and nothing came for an hour.
    """
    chain = chain.fixed
    folder.mkdir(parents=True, exist_ok=True)
    names = (source, target)
    hashes = content_hashes((visit.volumes[name] for visit in visits for name in names), folder, jobs=jobs)
    pairs = [
        Pair(
            visit,
            safe_place(folder, visit.name).with_name(f"{_key(visit, names, chain, quantity, hashes)}.safetensors"),
        )
        for visit in visits
    ]
    rows: dict[Path, Row] = {}
    if wait:
        rows = _wait_for(pairs)
    else:
        rows = {pair.path: row for pair in pairs if (row := _kept(pair)) is not None and not row.again}
        missing = [pair for pair in pairs if pair.path not in rows]

        def failed(index: int, error: ModalitySynthesisError) -> Row:
            if screening is None:
                raise (
                    WorkerLostError(f"{missing[index].visit.name}: {error}")
                    if isinstance(error, WorkerLostError)
                    else error
                )
            row = Row(((source, Finding("not-prepared", "refuse", str(error))),), again=True)
            _write_row(missing[index].path, row)
            return row

        work = partial(_preprocess, source=source, target=target, chain=chain, quantity=quantity)
        made = parallel_map(
            work, missing, jobs=jobs, reporter=reporter, stage="Preprocessing", on_failure=failed, limit_s=limit_s,
            name=lambda pair: pair.visit.name,
        )  # fmt: skip
        rows |= {pair.path: row for pair, row in zip(missing, made, strict=True)}
    if screening is None:
        return [_passed(pair, rows[pair.path]) for pair in pairs]
    for pair in pairs:
        screening.findings.add(pair.visit, rows[pair.path].noted)
    screening.note_far()
    return [pair for pair in pairs if screening.findings.is_usable(pair.visit)]


def _passed(pair: Pair, row: Row) -> Pair:
    for _, finding in row.noted:
        if finding.level == "refuse":
            error = BadInputError(finding.text)
            error.finding = finding
            raise error
    return pair


def _wait_for(pairs: Sequence[Pair], *, patience: float = 3600.0, pause: float = 1.0) -> dict[Path, Row]:
    """Wait until all rows exist, as long as another comes every `patience` seconds; each appears complete."""
    rows: dict[Path, Row] = {}
    since = time.monotonic()
    while len(rows) < len({pair.path for pair in pairs}):
        found = {pair.path: row for pair in pairs if pair.path not in rows and (row := _kept(pair)) is not None}
        if found:
            rows |= found
            since = time.monotonic()
        elif time.monotonic() - since > patience:
            raise ModalitySynthesisError(
                f"The first process has preprocessed nothing for {patience / 60:.0f} minutes; {len(pairs) - len(rows)} "
                f"volumes are missing in {pairs[0].path.parent}. Do all processes see the same folder?"
            )
        else:
            time.sleep(pause)
    return rows


def _key(
    visit: Visit, names: Sequence[str], chain: ChainParameters, quantity: str | None, hashes: Mapping[Path, str]
) -> str:
    # A file that cannot be hashed cannot be read either: its row says so, under its path.
    volumes = [(name, visit.volumes[name].name, hashes.get(visit.volumes[name], str(visit.volumes[name])))
               for name in names]  # fmt: skip
    made_of = fingerprint(
        format=_FORMAT, volumes=volumes, quantity=quantity,
        chain=chain.model_dump(mode="json", exclude={"target": {"standardization"}}),
    )  # fmt: skip
    return f"{visit.name}-{made_of[:16]}"


def _kept(pair: Pair) -> Row | None:
    """The row beside a pair's arrays; None where either is missing or damaged."""
    try:
        kept = read_json_object(pair.path.with_suffix(".json"))
        row = Row(
            noted=tuple((modality, Finding(**finding)) for modality, finding in kept["noted"]),
            sha256=kept["sha256"],
            again=bool(kept["again"]),
        )
        return row if row.sha256 is None or file_sha256(pair.path) == row.sha256 else None
    except (OSError, ValueError, KeyError, TypeError, ModalitySynthesisError):
        return None


def _write_row(path: Path, row: Row) -> None:
    noted = [[modality, finding.as_dict()] for modality, finding in row.noted]
    write_json({"noted": noted, "sha256": row.sha256,  "again": row.again},
               path.with_suffix(".json"))  # fmt: skip


def _preprocess(pair: Pair, source: str, target: str, chain: ChainParameters, quantity: str | None) -> Row:
    import torch
    from safetensors.numpy import save

    torch.set_num_threads(1)
    of_source, of_target = Gathering(), Gathering()
    gathered = {source: of_source, target: of_target}
    current = source
    arrays: dict[str, np.ndarray] | None = None
    try:
        path = pair.visit.volumes[source]
        image = read_image(path, reporter=of_source)
        check_before(image, source, path.name, of_source)
        prepared = prepare(image, chain, name=path.name, reporter=of_source)
        check_prepared(prepared, source, of_source)
        current, path = target, pair.visit.volumes[target]
        measured = read_image(path, unmeasured=True, reporter=of_target)
        wanted = filled(measured)
        check_target_before(wanted, target, path.name, of_target)
        brain = prepared.native_mask if prepared.native_mask is not None else prepared.require_mask()
        check_target(wanted, brain, target, path, of_target, quantity=quantity)
        reference = prepare_target(measured, prepared, chain.target)
        region = measured_region(measured, prepared, chain.target)
        check_target_coverage(region, prepared, path.name, of_target)
        arrays = {
            "source": _compact(sitk.GetArrayFromImage(prepared.image)),
            "target": _compact(sitk.GetArrayFromImage(reference)),
            "brain": sitk.GetArrayFromImage(prepared.require_mask()).astype(np.uint8),
            "region": sitk.GetArrayFromImage(region).astype(np.uint8),
            "grid": affine(prepared.image),
            "to_native": transform_matrix(prepared.to_native),
        }
    except ModalitySynthesisError as error:
        gathered[current].finding(Finding("not-prepared", "refuse", str(error)))
    except Exception as error:
        # What was refused already, and was looked at further only because a person may accept it, can fail in any way.
        if not any(finding.level == "refuse" for one in gathered.values() for finding in one.findings):
            raise
        gathered[current].finding(Finding("not-prepared", "refuse", f"{path.name} cannot be prepared: {error}"))
    noted = tuple((name, finding) for name, one in gathered.items() for finding in one.findings)
    if arrays is None:
        row = Row(noted)
        _write_row(pair.path, row)
        return row
    with atomic_files():
        with atomic_output(pair.path) as temporary:
            temporary.write_bytes(save(arrays))
        row = Row(noted, file_sha256(written_file(pair.path)))
        _write_row(pair.path, row)
    return row


def _compact(values: np.ndarray) -> np.ndarray:
    fits = bool(np.abs(values).max(initial=0.0) <= _LARGEST_FLOAT16)
    return values.astype(np.float16 if fits else np.float32)
