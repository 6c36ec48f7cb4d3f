"""Bring the volumes of each person of a cohort onto each other, and show whether it worked.

Pairs that were taken on two machines do not lie on each other. They are registered once, looked at, and then used for
training and evaluation. A rigid motion is written into the moved volume's header: its voxels stay as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.datasets.cache_folder import cache_folder
from modality_synthesis.datasets.cohort import MODALITIES, Cohort, Visit, read_cohort
from modality_synthesis.datasets.cohort_check import decision_tables, screen
from modality_synthesis.datasets.simulated import MARK, is_simulated_file
from modality_synthesis.datasets.visit_check import Request
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing.brain_mask import brain_mask
from modality_synthesis.preprocessing.ct import ct_brain_mask, remove_surroundings
from modality_synthesis.preprocessing.hounsfield import check_hounsfield
from modality_synthesis.preprocessing.pair_registration import PairRegistration, head_foreground, register_pair
from modality_synthesis.preprocessing.parameters import CTBrainMask, CTHead
from modality_synthesis.preprocessing.registration import mask_dice
from modality_synthesis.preprocessing.resampling import resample_cubic, resample_isotropic
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import (
    atomic_files,
    atomic_output,
    check_outputs,
    check_writable,
    derived_record,
    describe,
    read_image,
    read_mark,
    write_image,
    write_rows,
    write_sidecar,
)
from modality_synthesis.volumes.marks import Mark, first_mark, mark_columns, statement, statement_with_hashes

# Overlap of the two brains; on registered pairs of real and simulated heads it was above 0.93.
REFUSE_BELOW = 0.85
# Mutual information, nats: CT and MRI of one simulated head reached 0.52 to 0.62, of two heads 0.16.
DOUBT_BELOW = 0.3
TABLE, COHORT = "alignment.csv", "cohort.csv"
_STRETCH = 1.15
_CT_RANGE = (-200.0, 1500.0)
_CT_SHOWN = (-50.0, 150.0)
_SHOWN_MM = 1.0


@dataclass(frozen=True)
class Aligned:
    """What became of one volume.

    Attributes:
        visit: whose.
        moving: its modality.
        state: aligned, rejected or failed.
        file: the moved volume, relative to the output folder; empty unless aligned.
        check: picture to look at, relative to the output folder.
        shift_mm: of the middle of the head.
        rotation_degrees: about the middle of the head.
        largest_stretch: of an affine; 1 when rigid.
        information_before: Mattes mutual information, nats.
        information_after: same, after registration.
        dice: overlap of the brains found in each volume by itself, after registration; NaN for PET.
        reason: why rejected, failed or doubtful.
        synthetic: yes or no: whether one of the two volumes is marked.
        model: that made it, where its mark says so.
    """

    visit: str
    moving: str
    state: str
    file: str = ""
    check: str = ""
    shift_mm: float = float("nan")
    rotation_degrees: float = float("nan")
    largest_stretch: float = float("nan")
    information_before: float = float("nan")
    information_after: float = float("nan")
    dice: float = float("nan")
    reason: str = ""
    synthetic: str = "no"
    model: str = ""


def align_cohort(
    cohort: str | Path,
    output: str | Path,
    *,
    fixed: str,
    moving: Sequence[str],
    affine: bool = False,
    jobs: int | None = None,
    cache: str | Path | None = None,
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> list[Aligned]:
    """Register volumes of each visit to another of its volumes.

    Writes `OUTPUT/<visit>/<visit>_<modality>.nii.gz` and `..._check.png`, `OUTPUT/alignment.csv` (every volume with its
    figures), `OUTPUT/qc.tsv` (what was found before) and `OUTPUT/cohort.csv`: the table without the visits that were
    rejected, ready for training.

    Args:
        cohort: table with the modalities' columns.
        output: folder.
        fixed: modality that stays, CT for example.
        moving: modalities that are brought onto it.
        affine: also scale and shear; the moved volumes are then resampled (cubic B-spline). Only for distorted scans:
            a person's head does not change its size.
        jobs: worker processes.
        cache: folder that remembers what was found about the volumes; default as in `cache_folder`.
        limit_s: seconds that one visit may take.
        reporter: receives progress.

    Raises:
        BadInputError: the table lacks a modality, or no pair could be aligned.
    """
    reporter = reporter or current()
    table, folder = read_cohort(cohort, reporter), Path(output)
    table.require_some(fixed, *moving)
    moved = [_files(visit, kind) for visit in table for kind in moving]
    pictures = [folder / picture for _, picture in moved]
    volumes = [folder / volume for volume, _ in moved]
    check_outputs([folder / TABLE, folder / COHORT, *pictures], described=volumes, inputs=table.files())
    check_writable(folder / TABLE, endings=[".csv"])
    work = partial(_align_visit, folder=folder, fixed=fixed, moving=tuple(moving), affine=affine)

    looking, aligning = parts(reporter, (1, 9))
    screening = screen(
        list(table), Request((fixed, *moving), (fixed, *moving), aligned=False),
        cache_folder(table.path, cache, needed=False), refused=table.refused,
        tables=decision_tables(table.path, folder), jobs=jobs, reporter=looking,
    )  # fmt: skip
    visits = screening.usable()

    def failed(index: int, error: ModalitySynthesisError) -> list[Aligned]:
        return [Aligned(visits[index].name, name, "failed", reason=str(error)) for name in moving]

    aligned = parallel_map(
        work,
        visits,
        jobs=jobs,
        reporter=aligning,
        stage="Aligning",
        on_failure=failed,
        limit_s=limit_s,
        name=lambda visit: visit.name,
    )
    made = dict(zip((visit.name for visit in visits), aligned, strict=True))
    results = [
        made.get(visit.name)
        or [Aligned(visit.name, name, "failed", reason=" ".join(screening.findings.reasons(visit))) for name in moving]
        for visit in table
    ]
    screening.write()
    rows = [row for found in results for row in found]
    rows += [Aligned(row.visit.name, name, "failed", reason=row.text) for row in table.refused for name in moving]
    write_rows(folder / TABLE, rows, digits=4, nan="nan")
    kept = [all(row.state == "aligned" for row in found) for found in results]
    for row in rows:
        if row.reason:
            reporter.warning(f"{row.visit}, {row.moving}: {row.reason}")
    if not any(kept):
        raise BadInputError(f"No visit of {table.path.name} could be aligned; see {folder / TABLE}.")
    write_rows(folder / COHORT, _cohort_rows(table, kept, folder, fixed, moving))
    return rows


def _align_visit(visit: Visit, folder: Path, fixed: str, moving: Sequence[str], affine: bool) -> list[Aligned]:
    try:
        still = _Head.of(visit.volumes[fixed], fixed)
    except ModalitySynthesisError as error:
        return [Aligned(visit.name, name, "failed", reason=str(error)) for name in moving]
    rows = []
    for name in moving:
        try:
            rows.append(_align_volume(visit, name, still, folder, affine))
        except (ModalitySynthesisError, RuntimeError) as error:
            rows.append(Aligned(visit.name, name, "failed", reason=str(error).strip().splitlines()[-1]))
    return rows


def _align_volume(visit: Visit, name: str, still: _Head, folder: Path, affine: bool) -> Aligned:
    head = _Head.of(visit.volumes[name], name)
    found = register_pair(head.image, still.image, still.foreground, head.foreground, affine=affine)
    moved = moved_volume(head.native, found, still.native)
    dice = _dice(still, head, found)
    file, check = (folder / relative for relative in _files(visit, name))
    marks = [read_mark(visit.volumes[one]) for one in (name, still.modality)]
    figures: dict[str, Any] = {
        **mark_columns(first_mark(marks)),
        "check": str(check.relative_to(folder)),
        "shift_mm": found.shift_mm,
        "rotation_degrees": found.rotation_degrees,
        "largest_stretch": max(found.stretch[1], 1 / found.stretch[0]),
        "information_before": found.mutual_information[0],
        "information_after": found.mutual_information[1],
        "dice": dice,
    }
    reason = _objection(found, dice)
    with atomic_files():
        _save_check(still, head, found, check, f"{visit.name}: {name} on {still.modality}", marks)
        if not reason:
            mark = marks[0]
            text = describe(f"{name} aligned with {still.modality}", mark)
            if mark is None and is_simulated_file(visit.volumes[name]):
                text = MARK  # stays: a model card says what its cohort was
            write_image(moved, file, description=text)
            if mark is not None:
                program = [{"Name": "modality-synthesis", "Version": __version__}]
                record = derived_record(mark, {"moving": visit.volumes[name], "fixed": visit.volumes[still.modality]})
                write_sidecar(file, {**record, "GeneratedBy": program})
    if reason:
        return Aligned(visit.name, name, "rejected", reason=reason, **figures)
    doubt = f"mutual information of {found.mutual_information[1]:.2f} only: the same person's? Look at the picture"
    reason = doubt if found.mutual_information[1] < DOUBT_BELOW else ""
    return Aligned(visit.name, name, "aligned", file=str(file.relative_to(folder)), reason=reason, **figures)


def _files(visit: Visit, name: str) -> tuple[str, str]:
    """The moved volume and its picture, relative to the output folder."""
    stem = f"{safe_place(Path(), visit.name)}/{visit.name}_{name}"
    return f"{stem}.nii.gz", f"{stem}_check.png"


def _objection(found: PairRegistration, dice: float) -> str:
    before, after = found.mutual_information
    if dice < REFUSE_BELOW:
        return f"the two brains overlap too little (Dice {dice:.2f}, at least {REFUSE_BELOW})"
    if after < before:
        return f"the registration made the agreement worse (mutual information {before:.3f} before, {after:.3f} after)"
    if max(found.stretch[1], 1 / found.stretch[0]) > _STRETCH:
        return f"the affine changes lengths by more than {100 * (_STRETCH - 1):.0f} %"
    return ""


def moved_volume(moving: sitk.Image, found: PairRegistration, fixed: sitk.Image) -> sitk.Image:
    """The moving volume in the fixed volume's world.

    Rigid: the same voxels with another origin and direction. Affine: sampled by cubic B-splines at its own finest voxel
    size in the fixed volume's field of view.
    """
    transform = found.transform
    if isinstance(transform, sitk.Euler3DTransform):
        moved = sitk.Image(moving)
        turn = np.array(transform.GetMatrix()).reshape(3, 3)
        direction = turn.T @ np.array(moving.GetDirection()).reshape(3, 3)
        moved.SetDirection(direction.ravel().tolist())
        moved.SetOrigin(transform.GetInverse().TransformPoint(moving.GetOrigin()))
        return moved
    grid = resample_isotropic(fixed, min(moving.GetSpacing()))
    return resample_cubic(moving, grid, transform)


@dataclass(frozen=True)
class _Head:
    """A volume as it is registered.

    Attributes:
        native: as read.
        image: CT without table and holder, clipped; other modalities as they are.
        foreground: the head (of PET: what takes up the tracer), uint8.
        modality: of it.
    """

    native: sitk.Image
    image: sitk.Image
    foreground: sitk.Image
    modality: str

    @classmethod
    def of(cls, path: Path, modality: str) -> _Head:
        native = read_image(path, reporter=current())
        image = sitk.Cast(native, sitk.sitkFloat32)
        if modality == "CT":
            check_hounsfield(image, path.name)
            image = sitk.Clamp(remove_surroundings(image, CTHead()), sitk.sitkFloat32, *_CT_RANGE)
        return cls(native, image, head_foreground(image, path.name), modality)

    @cached_property
    def brain(self) -> sitk.Image | None:
        """The brain found in this volume alone; None for PET, in which the networks find none."""
        if self.modality.endswith("PET"):
            return None
        upright = sitk.DICOMOrient(sitk.Cast(self.native, sitk.sitkFloat32), "LPS")
        if self.modality == "CT":
            return ct_brain_mask(remove_surroundings(upright, CTHead()), CTBrainMask())
        return brain_mask(upright)


def _dice(still: _Head, head: _Head, found: PairRegistration) -> float:
    first, second = still.brain, head.brain
    if first is None or second is None:
        return float("nan")
    return mask_dice(resample_isotropic(first, 2.0, is_mask=True), second, found.transform)


def _save_check(
    still: _Head, head: _Head, found: PairRegistration, path: Path, title: str, marks: Sequence[Mark | None]
) -> None:
    """Three planes through the middle: fixed, moved, and both as a checkerboard; what is synthetic says so."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = resample_isotropic(sitk.DICOMOrient(still.image, "LPS"), _SHOWN_MM)
    lowest = float(sitk.GetArrayFromImage(head.image).min())
    moved = sitk.Resample(head.image, grid, found.transform, sitk.sitkLinear, lowest)
    first, second = _shown(grid, still.modality), _shown(moved, head.modality)
    figure = Figure(figsize=(9, 9), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 3)
    for row, axis in zip(axes, range(3), strict=True):
        middle = first.shape[axis] // 2
        planes = [volume.take(middle, axis) for volume in (first, second)]
        planes = [plane if axis == 0 else plane[::-1] for plane in planes]
        for place, plane in zip(row, [*planes, _checkerboard(*planes)], strict=True):
            place.imshow(plane, cmap="gray", vmin=0, vmax=1)
            place.axis("off")
    for place, label in zip(axes[0], (still.modality, head.modality, "checkerboard"), strict=True):
        place.set_title(label, color="white", fontsize=9)
    figure.suptitle("\n".join(filter(None, (title, statement(marks)))), color="white", fontsize=10)
    told = statement_with_hashes(marks)
    with atomic_output(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=80, facecolor="black", metadata={"Description": told} if told else None
        )


def _shown(image: sitk.Image, modality: str) -> np.ndarray:
    values = sitk.GetArrayFromImage(image)
    low, high = _CT_SHOWN if modality == "CT" else np.percentile(values, (1, 99.5))
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1)


def _checkerboard(first: np.ndarray, second: np.ndarray, squares: int = 6) -> np.ndarray:
    rows, columns = (np.arange(size) * squares // size for size in first.shape)
    return np.where((rows[:, None] + columns[None]) % 2 == 0, first, second)


def _cohort_rows(
    table: Cohort, kept: Sequence[bool], folder: Path, fixed: str, moving: Sequence[str]
) -> list[dict[str, str]]:
    """The table's rows that were kept; other volumes keep their files, named in full."""
    rows = []
    for visit, good in zip(table, kept, strict=True):
        if not good:
            continue
        volumes = {name: str(visit.volumes[name].resolve()) for name in MODALITIES if name in visit.volumes}
        volumes |= {name: f"{visit.name}/{visit.name}_{name}.nii.gz" for name in moving}
        who = {"subject": visit.subject, "session": visit.session, "split": visit.split or ""}
        rows.append(who | volumes | {name: value or "" for name, value in visit.variables.items()})
    names = [name for name in rows[0] if any(row.get(name) for row in rows)]
    return [{name: row.get(name, "") for name in names} for row in rows]
