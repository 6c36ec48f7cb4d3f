"""A simulated paired cohort: a BIDS-like folder and `cohort.tsv`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from modality_synthesis._version import __version__
from modality_synthesis.choices import SIMULATED_MODALITIES as MODALITIES
from modality_synthesis.errors import BadInputError, ModalitySynthesisError, UsageError
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter, current
from modality_synthesis.simulation.clinical import draw_person
from modality_synthesis.simulation.labels import HEADS_BY_SPLIT
from modality_synthesis.simulation.pet import SCANNERS
from modality_synthesis.simulation.subject import Plan, is_simulated, simulate_subject, subject_files
from modality_synthesis.volumes import (
    atomic_files,
    check_folder_writable,
    clean_stale,
    refuse_foreign_json,
    write_json,
    write_rows,
)

DESCRIPTION = "dataset_description.json"


def simulate_cohort(
    count: int,
    folder: str | Path,
    *,
    seed: int = 0,
    modalities: Sequence[str] = MODALITIES,
    jobs: int | None = None,
    limit_s: float | None = None,
    on_failure: Callable[[str, ModalitySynthesisError], None] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Simulate paired subjects from the shipped head label maps.

    About 75 % of the subjects come from training heads, 10 % from validation heads and 15 % from test heads; a head
    belongs to one split only. Same arguments, same files, whatever `jobs` is.

    Args:
        count: number of subjects, at least 3.
        folder: output folder; made when missing.
        seed: cohort seed.
        modalities: which of T1w, T2w, CT, FDG-PET, TAU-PET to write.
        jobs: worker processes; default one per core.
        limit_s: seconds that one subject may take.
        on_failure: told of each subject that failed and is left out; without it the first one ends the work.
        reporter: receives progress.

    Returns:
        The path of `cohort.tsv`.

    Raises:
        BadInputError: an argument is out of range.
    """
    reporter = reporter or current()
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown:
        raise BadInputError(f"Unknown modality {unknown[0]!r}. Choose from {', '.join(MODALITIES)}.")
    if count < 3:
        raise BadInputError("A cohort needs at least 3 subjects, one for each of train, validation and test.")
    folder = Path(folder)
    plans = plan_cohort(count, seed, tuple(modalities))

    _refuse_other_data(plans, folder)

    def leave_out(index: int, error: ModalitySynthesisError) -> None:
        if on_failure is None:
            raise error
        on_failure(plans[index].subject, error)

    files: list[dict[str, str] | None] = parallel_map(
        partial(simulate_subject, folder=folder),
        plans,
        jobs=jobs,
        reporter=reporter,
        stage="Simulating subjects",
        name=lambda plan: plan.subject,
        on_failure=leave_out,
        limit_s=limit_s,
    )
    rows = [_row(plan, written) for plan, written in zip(plans, files, strict=True) if written is not None]
    if not rows:
        raise BadInputError("No subject could be simulated.")
    table = folder / "cohort.tsv"
    description = {
        "Name": "Simulated cohort",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "modality-synthesis simulate", "Version": __version__}],
        "Simulated": True,
        "Seed": seed,
    }
    with atomic_files():
        write_json(description, folder / DESCRIPTION)
        write_rows(table, rows, digits=None, delimiter="\t")
    return table


def _refuse_other_data(plans: Sequence[Plan], folder: Path) -> None:
    """Simulated subjects are numbered like real ones: only those of an earlier simulation are replaced."""
    check_folder_writable(folder)
    clean_stale(folder)
    refuse_foreign_json([folder / DESCRIPTION])
    for plan in plans:
        taken = [path for path in subject_files(plan, folder) if os.path.lexists(path)]
        if taken and not is_simulated(plan, folder):
            raise UsageError(
                f"{taken[0]} is there already and was not simulated by this program; it would be replaced. Choose "
                "another folder."
            )
    if (folder / "cohort.tsv").exists() and not (folder / DESCRIPTION).exists():
        raise UsageError(f"{folder} holds a cohort.tsv that would be replaced. Choose another folder.")


def plan_cohort(count: int, seed: int, modalities: tuple[str, ...]) -> list[Plan]:
    """Decide head, split, person and scanner of every subject."""
    plans = []
    for index, split in enumerate(_splits(count)):
        rng = np.random.default_rng([seed, index])
        heads = HEADS_BY_SPLIT[split]
        plans.append(
            Plan(
                subject=f"sub-{index + 1:04d}",
                split=split,
                head=heads[int(rng.integers(len(heads)))],
                seed=(seed, index),
                person=draw_person(rng),
                scanner=SCANNERS[int(rng.integers(len(SCANNERS)))],
                modalities=modalities,
            )
        )
    return plans


def _splits(count: int) -> list[str]:
    validation = max(round(0.10 * count), 1)
    test = max(round(0.15 * count), 1)
    return ["train"] * (count - validation - test) + ["validation"] * validation + ["test"] * test


def _row(plan: Plan, files: dict[str, str]) -> dict[str, object]:
    return {
        "subject": plan.subject,
        "split": plan.split,
        "head": plan.head,
        **files,
        **plan.person.variables(),
        "manufacturer": plan.scanner.manufacturer,
    }
