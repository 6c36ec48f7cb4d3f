"""Synthesize every row of a cohort table; one row's failure does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modality_synthesis.datasets.cohort import Visit, read_cohort
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.models import ModelPackage
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter
from modality_synthesis.synthesis.manufacturer import manufacturers
from modality_synthesis.synthesis.pipeline import Synthesis, check_samples, choose_package, synthesize
from modality_synthesis.volumes import file_sha256, sidecar_path, write_rows

TABLE = "batch.csv"


@dataclass(frozen=True)
class Row:
    """What became of one visit. `state` is done, skipped (it was done already) or failed."""

    subject: str
    session: str
    state: str
    file: str
    message: str = ""


def synthesize_batch(
    cohort: str | Path,
    output: str | Path,
    *,
    to: str | None = None,
    model: str | Path | ModelPackage | None = None,
    manufacturer: str | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
    samples: int = 1,
    jobs: int = 1,
    preview: Callable[[Synthesis, Path], None] | None = None,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Synthesize all visits of a cohort.

    Writes `OUTPUT/<visit>/<visit>_<target>.nii.gz` with its sidecar, and `OUTPUT/batch.csv`, which is up to date after
    every row.

    Args:
        cohort: table with a column of the model's source modality; columns of the clinical variables it declares are
            used.
        output: folder.
        to: target modality, instead of `model`.
        model: id, folder or opened package.
        manufacturer: of the scanners whose images are wanted, for every row; None takes each row's own
            (`Visit.manufacturer`), if the model is standardized by manufacturer.
        resume: skip a visit whose result was made by this very model from this very file.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: for generators that draw noise.
        samples: per visit; with several, the volume is their mean and `<visit>_<target>_sd.nii.gz` their standard
            deviation.
        jobs: worker processes; each needs the memory of one synthesis.
        preview: draws the picture of a synthesis into a PNG beside the volume (`evaluation.save_preview`); a
            module-level function.
        reporter: receives progress and the state of each row.

    Raises:
        BadInputError: the table cannot be read, or no row has a source volume.
    """
    reporter = reporter or Reporter()
    package = choose_package(to, model)
    table = read_cohort(cohort)
    if not any(package.card.route.source in visit.volumes for visit in table):
        raise BadInputError(f"{table.path.name}: no row has a {package.card.route.source} volume.")
    check_samples(package.card, samples)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(
        _run_row,
        package=package,
        folder=folder,
        resume=resume,
        device=device,
        seed=seed,
        samples=samples,
        manufacturer=manufacturer,
        preview=preview,
    )
    rows: dict[int, Row] = {}

    def book(index: int, row: Row) -> None:
        rows[index] = row
        reporter.row(index, row.state, row.message)
        write_rows(folder / TABLE, [rows[key] for key in sorted(rows)])

    def run_here(visit: Visit) -> Row:
        reporter.row(table.visits.index(visit), "running")
        return work(visit)

    parallel_map(
        run_here if jobs == 1 else work,
        table.visits,
        jobs=jobs,
        reporter=reporter,
        stage="Synthesizing",
        on_result=book,
        name=lambda visit: visit.name,
    )
    return [rows[index] for index in range(len(table))]


def preview_path(volume: Path) -> Path:
    """Where the picture of a row's volume is."""
    return volume.with_name(volume.name.replace(".nii.gz", ".png"))


def _run_row(
    visit: Visit,
    package: ModelPackage,
    folder: Path,
    resume: bool,
    device: str,
    seed: int,
    samples: int,
    manufacturer: str | None,
    preview: Callable[[Synthesis, Path], None] | None,
) -> Row:
    target = folder / visit.name / f"{visit.name}_{package.card.route.target}.nii.gz"
    spread = target.with_name(target.name.replace(".nii.gz", "_sd.nii.gz")) if samples > 1 else None
    book = partial(Row, visit.subject, visit.session, file=str(target.relative_to(folder)))
    try:
        source = visit.volumes.get(package.card.route.source)
        if source is None:
            raise BadInputError(f"no {package.card.route.source} volume in the table")
        if manufacturer is None and manufacturers(package.card):
            manufacturer = visit.manufacturer(package.card.route.target)
        drawn = preview is None or preview_path(target).is_file()
        if resume and drawn and _is_made(target, source, package, samples, manufacturer):
            return book(state="skipped", message="done already")
        names = [variable.name for variable in package.card.clinical_variables]
        clinical = {name: value for name in names if (value := visit.variable(name)) is not None}
        reporter = Reporter()
        made = synthesize(
            source, target, model=package, clinical=clinical, manufacturer=manufacturer, device=device, seed=seed,
            samples=samples, uncertainty=spread, reporter=reporter,
        )  # fmt: skip
        if preview is not None:
            preview(made, preview_path(target))
        return book(state="done", message=" ".join(reporter.warnings))
    except ModalitySynthesisError as error:
        if error.exit_code == 130:
            raise
        return book(state="failed", message=str(error))


def _is_made(target: Path, source: Path, package: ModelPackage, samples: int, manufacturer: str | None) -> bool:
    try:
        record = json.loads(sidecar_path(target).read_text(encoding="utf-8"))
        same_model = record["Model"]["weights_sha256"] == package.card.weights.sha256
        same_model = same_model and record["Parameters"].get("samples", 1) == samples
        same_model = same_model and record["Parameters"].get("manufacturer") == manufacturer
        return target.exists() and same_model and record["Sources"][0]["sha256"] == file_sha256(source)
    except (OSError, ValueError, KeyError, IndexError, ModalitySynthesisError):
        return False
