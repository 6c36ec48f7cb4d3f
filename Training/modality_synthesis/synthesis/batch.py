"""Synthesize every row of a cohort table; one row's failure does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from modality_synthesis.datasets.cache_folder import cache_folder
from modality_synthesis.datasets.cohort import Cohort, Visit, read_cohort
from modality_synthesis.datasets.cohort_check import Screening, decision_tables, screen
from modality_synthesis.datasets.qc import Decisions
from modality_synthesis.datasets.visit_check import Request, refusal
from modality_synthesis.errors import BadInputError, ModalitySynthesisError
from modality_synthesis.findings import Finding
from modality_synthesis.models import ModelPackage
from modality_synthesis.parallel import parallel_map
from modality_synthesis.progress import Reporter, current
from modality_synthesis.synthesis.choice import choose_for_table
from modality_synthesis.synthesis.manufacturer import manufacturers
from modality_synthesis.synthesis.pipeline import Synthesis, check_samples, synthesis_fingerprint, synthesize
from modality_synthesis.synthesis.synthesizer import kept_synthesizer
from modality_synthesis.tables import safe_place
from modality_synthesis.volumes import (
    check_outputs,
    check_writable,
    clean_stale,
    file_sha256,
    read_sidecar,
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


@dataclass(frozen=True)
class _Outcome:
    """A row, and what was found about its volume on the way."""

    row: Row
    findings: tuple[Finding, ...] = ()


def synthesize_batch(
    cohort: str | Path,
    output: str | Path,
    *,
    to: str | None = None,
    model: str | Path | ModelPackage | None = None,
    origin: str | None = None,
    manufacturer: str | None = None,
    resume: bool = False,
    device: str = "auto",
    seed: int = 0,
    samples: int = 1,
    jobs: int = 1,
    cache: str | Path | None = None,
    preview: Callable[[Synthesis, Path], None] | None = None,
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> list[Row]:
    """Synthesize all visits of a cohort.

    Every source is looked at first; rows that cannot be used, or that a person rejected in `qc.tsv`, are not run.

    Writes `OUTPUT/<visit>/<visit>_<target>.nii.gz` with its sidecar, and `OUTPUT/batch.csv`, which is up to date after
    every row, and `OUTPUT/qc.tsv`: what was found, and the user's decisions.

    Args:
        cohort: table with a column of the model's source modality; columns of the clinical variables it declares are
            used.
        output: folder.
        to: target modality, instead of `model`.
        model: id, folder or opened package.
        origin: the column to start from (`T1w`, `CT`, ...), where models start from several of them.
        manufacturer: of the scanners whose images are wanted, for every row; None takes each row's own
            (`Visit.manufacturer`), if the model is standardized by manufacturer.
        resume: skip a visit whose result is whole and was made from this very file, with this model, these clinical
            values and parameters, by a program that gives the same results.
        device: auto, cpu, cuda, cuda:N or mps.
        seed: for generators that draw noise.
        samples: per visit; with several, the volume is their mean and `<visit>_<target>_sd.nii.gz` their standard
            deviation.
        jobs: worker processes; each needs the memory of one synthesis. With several rows there is always one, so that
            a row that takes its process down does not take the others with it.
        cache: folder that remembers what was found about the volumes; default as in `cache_folder`.
        limit_s: seconds that one row may take.
        preview: draws the picture of a synthesis into a PNG beside the volume (`evaluation.save_preview`); a
            module-level function.
        reporter: receives progress and the state of each row.

    Raises:
        BadInputError: the table cannot be read, or no row has a source volume. A row whose subject or session cannot
            name a file fails alone.
        UsageError: a result would replace a volume of the table, or something that this program did not write.
    """
    reporter = reporter or current()
    table = read_cohort(cohort, reporter)
    table.require_some()
    package = choose_for_table(table, to, model, origin)
    if not any(package.card.route.source in visit.volumes for visit in table):
        raise BadInputError(f"{table.path.name}: no row has a {package.card.route.source} volume.")
    check_samples(package.card, samples)
    folder = Path(output)
    _check_outputs(table, folder, package, samples, preview is not None)
    screening = _screen(table, package, folder, cache, jobs, reporter)
    work = partial(
        _run_row,
        package=package,
        folder=folder,
        resume=resume,
        device=device,
        seed=seed,
        samples=samples,
        manufacturer=manufacturer,
        decisions=screening.findings.decisions,
        preview=preview,
    )
    rows = {row.index: Row(row.visit.subject, row.visit.session, "failed", "", row.text) for row in table.refused}
    for index, row in rows.items():
        reporter.row(index, row.state, row.message)
    free = [index for index in range(len(table) + len(rows)) if index not in rows]
    for index, visit in zip(free, table, strict=True):
        if reasons := screening.findings.reasons(visit):
            file = str(_files(visit, folder, package, samples)[0].relative_to(folder))
            rows[index] = Row(visit.subject, visit.session, "failed", file, " ".join(reasons))
            reporter.row(index, "failed", rows[index].message)
    places = [index for index in free if index not in rows]
    visits = screening.usable(table)

    def book(number: int, outcome: _Outcome) -> None:
        row, visit = outcome.row, visits[number]
        rows[places[number]] = row
        reporter.row(places[number], row.state, row.message)
        screening.findings.add(visit, [(package.card.route.source, finding) for finding in outcome.findings])
        write_rows(folder / TABLE, [rows[key] for key in sorted(rows)])

    def failed(index: int, error: ModalitySynthesisError) -> _Outcome:
        visit = visits[index]
        target, _ = _files(visit, folder, package, samples)
        clean_stale(target.parent)
        return _Outcome(Row(visit.subject, visit.session, "failed", str(target.relative_to(folder)), str(error)))

    parallel_map(
        work,
        visits,
        jobs=jobs,
        reporter=reporter,
        stage="Synthesizing",
        on_start=lambda number: reporter.row(places[number], "running"),
        on_result=book,
        name=lambda visit: visit.name,
        on_failure=failed,
        limit_s=limit_s,
        isolate=len(visits) > 1,
    )
    write_rows(folder / TABLE, [rows[key] for key in sorted(rows)])
    screening.write()
    return [rows[index] for index in sorted(rows)]


def preview_path(volume: Path) -> Path:
    """Where the picture of a row's volume is."""
    return volume.with_name(volume.name.replace(".nii.gz", ".png"))


def _screen(
    table: Cohort, package: ModelPackage, folder: Path, cache: str | Path | None, jobs: int, reporter: Reporter
) -> Screening:
    source = package.card.route.source
    return screen(
        list(table), Request((source,), (source,)), cache_folder(table.path, cache, needed=False),
        refused=table.refused, tables=decision_tables(table.path, folder), jobs=jobs, reporter=reporter.part(0.0, 0.1),
    )  # fmt: skip


def _run_row(
    visit: Visit,
    package: ModelPackage,
    folder: Path,
    resume: bool,
    device: str,
    seed: int,
    samples: int,
    manufacturer: str | None,
    decisions: Decisions,
    preview: Callable[[Synthesis, Path], None] | None,
) -> _Outcome:
    target, spread = _files(visit, folder, package, samples)
    book = partial(Row, visit.subject, visit.session, file=str(target.relative_to(folder)))
    modality = package.card.route.source
    reporter = Reporter(accepted=decisions.accepted(visit, modality))
    try:
        source = visit.volumes[modality]
        if manufacturer is None and manufacturers(package.card):
            manufacturer = visit.manufacturer(package.card.route.target)
        names = [variable.name for variable in package.card.clinical_variables]
        clinical = {name: value for name in names if (value := visit.variable(name)) is not None}
        if resume and (preview is None or preview_path(target).is_file()):
            made_of = synthesis_fingerprint(
                file_sha256(source), package, clinical=clinical, manufacturer=manufacturer, seed=seed, samples=samples
            )
            if all(_is_made(file, made_of) for file in (target, spread) if file is not None):
                return _Outcome(book(state="skipped", message="done already"))
        model = kept_synthesizer(package, device)
        made = synthesize(
            source, target, model=model, clinical=clinical, manufacturer=manufacturer, seed=seed, samples=samples,
            uncertainty=spread, reporter=reporter,
        )  # fmt: skip
        if preview is not None:
            preview(made, preview_path(target))
        return _Outcome(book(state="done", message=" ".join(reporter.warnings)), tuple(reporter.findings))
    except ModalitySynthesisError as error:
        found = [*reporter.findings, refusal(error, "not-synthesized")]
        return _Outcome(book(state="failed", message=str(error)), tuple(dict.fromkeys(found)))


def _files(visit: Visit, folder: Path, package: ModelPackage, samples: int) -> tuple[Path, Path | None]:
    """A row's volume, and that of the samples' standard deviation."""
    target = safe_place(folder, visit.name) / f"{visit.name}_{package.card.route.target}.nii.gz"
    return target, target.with_name(target.name.replace(".nii.gz", "_sd.nii.gz")) if samples > 1 else None


def _check_outputs(table: Cohort, folder: Path, package: ModelPackage, samples: int, previews: bool) -> None:
    described = [file for visit in table for file in _files(visit, folder, package, samples)]
    pictures = [preview_path(_files(visit, folder, package, 1)[0]) for visit in table if previews]
    check_outputs([folder / TABLE, *pictures], described=described, inputs=table.files())
    check_writable(folder / TABLE, endings=[".csv"])


def _is_made(file: Path, made_of: str) -> bool:
    """Whether a volume is there, whole, and made from what it would be made from now."""
    try:
        record = read_sidecar(file)  # refuses one that is not this file's
    except ModalitySynthesisError:
        return False
    return file.exists() and record.get("Fingerprint") == made_of
