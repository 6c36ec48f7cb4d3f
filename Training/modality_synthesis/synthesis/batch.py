"""Synthesize every row of a cohort table; one row's failure does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modality_synthesis.datasets.cohort import Cohort, Visit, read_cohort
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.models import ModelPackage
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter, current
from modality_synthesis.synthesis.manufacturer import manufacturers
from modality_synthesis.synthesis.pipeline import check_samples, choose_package, synthesize
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import (
    check_outputs,
    check_writable,
    clean_stale,
    file_sha256,
    read_sidecar,
    why_absent,
    write_rows,
)

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
    limit_s: float | None = None,
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
        jobs: worker processes; each needs the memory of one synthesis. With several rows there is always one, so that
            a row that takes its process down does not take the others with it.
        limit_s: seconds that one row may take.
        reporter: receives progress and the state of each row.

    Raises:
        BadInputError: the table cannot be read, or no row has a source volume. A row whose subject or session cannot
            name a file fails alone.
        UsageError: a result would replace a volume of the table, or something that this program did not write.
    """
    reporter = reporter or current()
    package = choose_package(to, model)
    table = read_cohort(cohort, reporter, skip_unsafe=True)
    if table.refused and not table.visits:
        raise BadInputError(f"{table.path.name}: no row can be used; {table.refused[0].text}.")
    if not any(package.card.route.source in visit.volumes for visit in table):
        raise BadInputError(f"{table.path.name}: no row has a {package.card.route.source} volume.")
    check_samples(package.card, samples)
    folder = Path(output)
    _check_outputs(table, folder, package, samples)
    work = partial(
        _run_row,
        package=package,
        folder=folder,
        resume=resume,
        device=device,
        seed=seed,
        samples=samples,
        manufacturer=manufacturer,
    )
    rows = {row.index: Row(row.visit.subject, row.visit.session, "failed", "", row.text) for row in table.refused}
    for index, row in rows.items():
        reporter.row(index, row.state, row.message)
    places = [index for index in range(len(table) + len(rows)) if index not in rows]

    def book(number: int, row: Row) -> None:
        rows[places[number]] = row
        reporter.row(places[number], row.state, row.message)
        write_rows(folder / TABLE, [rows[key] for key in sorted(rows)])

    def failed(index: int, error: ModalitySynthesisError) -> Row:
        visit = table.visits[index]
        target, _ = _files(visit, folder, package, samples)
        clean_stale(target.parent)
        return Row(visit.subject, visit.session, "failed", str(target.relative_to(folder)), str(error))

    parallel_map(
        work,
        table.visits,
        jobs=jobs,
        reporter=reporter,
        stage="Synthesizing",
        on_start=lambda number: reporter.row(places[number], "running"),
        on_result=book,
        on_failure=failed,
        limit_s=limit_s,
        isolate=len(table) > 1,
    )
    return [rows[index] for index in sorted(rows)]


def exit_code(rows: Sequence[Row]) -> int:
    """0 when every row is done, 3 when some are, 1 when none is."""
    finished = sum(row.state != "failed" for row in rows)
    return 0 if finished == len(rows) else 3 if finished else 1


def _run_row(
    visit: Visit,
    package: ModelPackage,
    folder: Path,
    resume: bool,
    device: str,
    seed: int,
    samples: int,
    manufacturer: str | None,
) -> Row:
    target, spread = _files(visit, folder, package, samples)
    book = partial(Row, visit.subject, visit.session, file=str(target.relative_to(folder)))
    try:
        source = visit.volumes.get(package.card.route.source)
        if source is None:
            raise BadInputError(f"no {package.card.route.source} volume in the table")
        if reason := why_absent(source):
            raise BadInputError(f"{source}: {reason}")
        if manufacturer is None and manufacturers(package.card):
            manufacturer = visit.manufacturer(package.card.route.target)
        if resume and _is_made(target, source, package, samples, manufacturer):
            return book(state="skipped", message="done already")
        names = [variable.name for variable in package.card.clinical_variables]
        clinical = {name: value for name in names if (value := visit.variable(name)) is not None}
        reporter = current()
        synthesize(
            source, target, model=package, clinical=clinical, manufacturer=manufacturer, device=device, seed=seed,
            samples=samples, uncertainty=spread, reporter=reporter,
        )  # fmt: skip
        return book(state="done", message=" ".join(reporter.warnings))
    except ModalitySynthesisError as error:
        if error.exit_code == 130:
            raise
        return book(state="failed", message=str(error))


def _files(visit: Visit, folder: Path, package: ModelPackage, samples: int) -> tuple[Path, Path | None]:
    """A row's volume, and that of the samples' standard deviation."""
    target = safe_place(folder, visit.name) / f"{visit.name}_{package.card.route.target}.nii.gz"
    return target, target.with_name(target.name.replace(".nii.gz", "_sd.nii.gz")) if samples > 1 else None


def _check_outputs(table: Cohort, folder: Path, package: ModelPackage, samples: int) -> None:
    described = [file for visit in table for file in _files(visit, folder, package, samples)]
    check_outputs([folder / TABLE], described=described, inputs=table.files())
    check_writable(folder / TABLE, endings=[".csv"])


def _is_made(target: Path, source: Path, package: ModelPackage, samples: int, manufacturer: str | None) -> bool:
    try:
        record = read_sidecar(target)  # refuses one that is not this file's
        same_model = record["Model"]["weights_sha256"] == package.card.weights.sha256
        same_model = same_model and record["Parameters"].get("samples", 1) == samples
        same_model = same_model and record["Parameters"].get("manufacturer") == manufacturer
        return target.exists() and same_model and record["Sources"][0]["sha256"] == file_sha256(source)
    except (OSError, ValueError, KeyError, IndexError, ModalitySynthesisError):
        return False
