"""Look at every visit of a cohort, in parallel, and remember it until a volume changes."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from modality_synthesis.datasets.cache_folder import CACHE_VARIABLE, cache_folder
from modality_synthesis.datasets.cohort import RefusedRow, Visit, read_cohort
from modality_synthesis.datasets.contents import content_hashes
from modality_synthesis.datasets.qc import TABLE, Decisions, Findings, QcRow, refuse_foreign_qc, write_qc
from modality_synthesis.datasets.visit_check import Noted, Request, check_visit
from modality_synthesis.errors import ModalitySynthesisError
from modality_synthesis.findings import Finding
from modality_synthesis.fingerprint import fingerprint
from modality_synthesis.json_files import read_json_object
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing.target_checks import FAR, MEDIAN, far_finding, far_from_cohort
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import check_writable, write_json


@dataclass
class Screening:
    """Which visits of a cohort can be used, and why not the others.

    Attributes:
        findings: so far; the user's decisions are in them.
        visits: that were looked at.
        table: `qc.tsv`; None writes none.
    """

    findings: Findings
    visits: list[Visit]
    table: Path | None

    def usable(self, visits: Iterable[Visit] | None = None) -> list[Visit]:
        """Those of the visits (default: all) that can be used."""
        return [visit for visit in (self.visits if visits is None else visits) if self.findings.is_usable(visit)]

    def note_far(self) -> None:
        """Name the people whose target's median in the brain is far from the others', modality by modality."""
        self.findings.drop(FAR)
        of_modality: dict[str, list[tuple[Visit, QcRow]]] = {}
        for visit in self.usable():
            for row in self.findings.of(visit):
                if row.code == MEDIAN:
                    of_modality.setdefault(row.modality, []).append((visit, row))
        for modality, members in of_modality.items():
            medians = [float(row.value) for _, row in members]
            for (visit, row), score in zip(members, far_from_cohort(medians), strict=True):
                if score is not None:
                    name = visit.volumes[modality].name
                    finding = far_finding(score, float(row.value), statistics.median(medians), name)
                    self.findings.add(visit, [(modality, finding)])

    @property
    def left_out(self) -> list[Visit]:
        """The visits that are not used."""
        return [visit for visit in self.visits if not self.findings.is_usable(visit)]

    def write(self) -> None:
        """Write `qc.tsv`; the user's decisions stay."""
        if self.table is not None:
            write_qc(self.table, self.findings.table(), [(visit.subject, visit.session) for visit in self.visits])

    def say(self, reporter: Reporter) -> None:
        """Doubts one by one; then how many visits are left out, and the first reasons."""
        for rows in self.findings.rows.values():
            for row in rows:
                if row.level == "look" and row.decision != "accept":
                    reporter.warning(row.message)
                elif row.level == "refuse" and not row.leaves_out:
                    reporter.warning(f"{row.message} Accepted in qc.tsv.")
        left = self.left_out
        if not left:
            return
        for visit in left[:10]:
            reporter.warning(f"{visit.name} is left out: {' '.join(self.findings.reasons(visit))}")
        if len(left) > 10:
            reporter.warning(f"... and {len(left) - 10} more")
        reporter.warning(self.summary())

    def summary(self) -> str:
        """`2 of 7 visits left out, see qc.tsv`; empty when none is."""
        left = len(self.left_out)
        where = f", see {self.table}" if self.table is not None else ""
        return f"{left} of {len(self.visits)} visits left out{where}." if left else ""

    def rows(self) -> list[QcRow]:
        """What `qc.tsv` says."""
        return self.findings.table()


def screen(
    visits: Sequence[Visit],
    request: Request,
    cache: Path | None,
    *,
    refused: Sequence[RefusedRow] = (),
    tables: Sequence[Path] = (),
    writes: bool = True,
    jobs: int | None = None,
    wait: bool = False,
    reporter: Reporter | None = None,
) -> Screening:
    """Check every visit (`check_visit`), or find out what was said about these very volumes.

    Args:
        visits: of a cohort.
        request: what to look at.
        cache: the cohort's cache folder; None remembers nothing.
        refused: rows of the cohort's table that are no visits (`Cohort.refused`): left out, said and counted as those.
        tables: of earlier decisions (`qc.tsv`), the later ones winning; the last one is where `Screening.write` writes.
        writes: False of a screening that is not written.
        jobs: worker processes.
        wait: another process checks the same visits; wait for what it finds.
        reporter: receives progress.

    Raises:
        BadInputError: a table of decisions that cannot be read.
        UsageError: the last one holds something else, too, which would be lost.
    """
    written = tables[-1] if writes and tables else None
    if written is not None:
        refuse_foreign_qc(written)
    screening = Screening(Findings(Decisions.read(*tables)), list(visits), written)
    keys = _keys(visits, request, cache, jobs)
    kept: dict[int, list[Noted]] = {}
    for index, key in enumerate(keys):
        found = _recall(cache, key) if not wait else _recall_later(cache, key)
        if found is not None:
            kept[index] = found
    missing = [index for index in range(len(keys)) if index not in kept]

    def book(number: int, noted: list[Noted]) -> None:
        kept[missing[number]] = noted
        _remember(cache, keys[missing[number]], noted)

    work = partial(check_visit, request=request)
    todo = [visits[index] for index in missing]
    parallel_map(work, todo, jobs=jobs, reporter=reporter, stage="Checking the volumes", on_result=book)
    for index, visit in enumerate(visits):
        screening.findings.add(visit, kept[index])
    for row in refused:
        screening.visits.append(row.visit)
        screening.findings.add(
            row.visit, [("", Finding("unreadable", "refuse", f"{row.text[0].upper()}{row.text[1:]}."))]
        )
    screening.note_far()
    return screening


def check_cohort(
    place: Path,
    output: Path | None = None,
    *,
    require: Sequence[str] = (),
    cache: Path | None = None,
    jobs: int | None = None,
    reporter: Reporter | None = None,
) -> Screening:
    """Look at all volumes of a table or of a BIDS dataset, PET as SUVR and on the person's MRI or CT.

    Args:
        place: table, or folder of a dataset.
        output: where to write the findings (`qc.tsv`), with the decisions that are there; None writes nothing.
        require: modalities without which a visit is of no use.
        cache: named by the user. A dataset's folder is never written to without it.
        jobs: worker processes.
        reporter: receives progress.

    Raises:
        BadInputError: no such table or dataset.
    """
    from modality_synthesis.datasets.bids import write_bids_cohort

    if output is not None:
        check_writable(output, endings=[".tsv"])
    if place.is_dir():
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "cohort.tsv"
            write_bids_cohort(place, path)
            table = read_cohort(path, reporter)
        visits = [_without_detour(visit) for visit in table]
        kept = cache_folder(place / "cohort.tsv", cache) if cache or os.environ.get(CACHE_VARIABLE) else None
    else:
        table = read_cohort(place, reporter)
        visits = list(table)
        kept = cache_folder(place, cache, needed=False)
    beside = (place if place.is_dir() else place.parent) / TABLE
    tables = (beside,) if output is None else (beside, output)
    request = Request(required=tuple(require), quantity="SUVR")
    screening = screen(
        visits, request, kept, refused=table.refused, tables=tables, writes=output is not None, jobs=jobs,
        reporter=reporter,
    )  # fmt: skip
    screening.write()
    return screening


def _without_detour(visit: Visit) -> Visit:
    """Volumes by paths that do not lead through the folder of the table, which is gone by now."""
    return replace(visit, volumes={name: Path(os.path.normpath(path)) for name, path in visit.volumes.items()})


def decision_tables(cohort: Path, output: Path | None) -> tuple[Path, ...]:
    """Where decisions are read: `qc.tsv` beside the cohort's table holds for all runs, the run's own before it."""
    beside = (cohort.parent / TABLE,)
    return beside if output is None or output.resolve() == cohort.parent.resolve() else (*beside, output / TABLE)


def _keys(visits: Sequence[Visit], request: Request, cache: Path | None, jobs: int | None) -> list[str | None]:
    """One per visit, of everything its findings depend on; None when a volume cannot be read."""
    if cache is None:
        return [None] * len(visits)
    of_visit = [
        {name: path for name, path in visit.volumes.items() if name in (request.modalities or visit.volumes)}
        for visit in visits
    ]
    hashes = content_hashes((path for volumes in of_visit for path in volumes.values()), cache, jobs=jobs)
    return [
        fingerprint(
            request=asdict(request), visit=visit.name,
            volumes={name: (path.name, hashes[path]) for name, path in volumes.items()},
        ) if all(path in hashes for path in volumes.values()) else None
        for visit, volumes in zip(visits, of_visit, strict=True)
    ]  # fmt: skip


def _place(cache: Path, key: str) -> Path:
    return cache / "checks" / f"{key[:32]}.json"


def _recall(cache: Path | None, key: str | None) -> list[Noted] | None:
    if cache is None or key is None:
        return None
    try:
        kept = read_json_object(_place(cache, key))
        if kept["key"] != key:
            return None
        return [(modality, Finding(**finding)) for modality, finding in kept["findings"]]
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: looked at again
        return None


def _recall_later(cache: Path | None, key: str | None, *, patience: float = 3600.0) -> list[Noted] | None:
    """What another process finds. What it cannot remember (an unreadable volume) is looked at here, too."""
    if cache is None or key is None:
        return None
    since = time.monotonic()
    while (found := _recall(cache, key)) is None:
        if time.monotonic() - since > patience:
            raise ModalitySynthesisError(
                f"The first process has checked nothing for {patience / 60:.0f} minutes in {cache}. Do all processes "
                "see the same folder?"
            )
        time.sleep(0.2)
    return found


def _remember(cache: Path | None, key: str | None, noted: Sequence[Noted]) -> None:
    if cache is None or key is None:
        return
    place = _place(cache, key)
    write_json({"key": key, "findings": [[modality, finding.as_dict()] for modality, finding in noted]}, place)
