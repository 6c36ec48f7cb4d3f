"""Evaluate models, existing volumes and baselines on the subjects of a cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from modality_synthesis.datasets.cache import Pair, preprocess_pairs
from modality_synthesis.datasets.cache_folder import cache_folder
from modality_synthesis.datasets.cohort import Cohort, Visit, read_cohort
from modality_synthesis.datasets.cohort_check import Screening, decision_tables, screen
from modality_synthesis.datasets.places import volume_place
from modality_synthesis.datasets.splits import Split, folds_in_column, split_cohort, subjects_of
from modality_synthesis.datasets.visit_check import Request
from modality_synthesis.errors import BadInputError, ModalitySynthesisError, UsageError
from modality_synthesis.evaluation.baseline_files import fitted_baselines, kept_baselines
from modality_synthesis.evaluation.classes import Classes
from modality_synthesis.evaluation.data_range import known_range
from modality_synthesis.evaluation.downstream import clinical_effects, visit_questions
from modality_synthesis.evaluation.downstream import downstream as judge_downstream
from modality_synthesis.evaluation.downstream_visit import VisitQuestions
from modality_synthesis.evaluation.kept_volumes import volume_path
from modality_synthesis.evaluation.metrics import METRICS, SLICE_METRICS
from modality_synthesis.evaluation.requests import check_contenders, check_report
from modality_synthesis.evaluation.scoring import (
    Contender,
    Existing,
    Record,
    Settings,
    Task,
    read_arrays,
    refuse_foreign_records,
    score,
)
from modality_synthesis.evaluation.statistics import FEWEST_FOR_INTERVAL, grouping
from modality_synthesis.evaluation.study import FACTS, TABLES, Evaluation, collect, write_evaluation
from modality_synthesis.findings import Finding
from modality_synthesis.models import ModelPackage, find_model
from modality_synthesis.parallel import parallel_map
from modality_synthesis.preprocessing import (
    BiasField,
    BrainMask,
    ChainParameters,
    Normalize,
    Register,
    Reorient,
    Resample,
    TargetMapping,
)
from modality_synthesis.progress import Reporter, current, parts
from modality_synthesis.tables import as_number
from modality_synthesis.volumes import (
    atomic_files,
    check_outputs,
    check_writable,
    is_own_json,
    read_sidecar,
    refuse_foreign_json,
)

# The grid on which volumes made elsewhere are judged when no model brings its own: 2 mm, MNI152.
DEFAULT_CHAIN = ChainParameters(
    source=(Reorient(), BrainMask(), BiasField(), Register(), Resample(), Normalize()),
    target=TargetMapping(mask_margin_mm=4.0),
)
Model = str | Path | ModelPackage


@dataclass(frozen=True)
class _Part:
    """Test visits with the models that never saw them, and the training visits for their baselines."""

    name: str
    tests: list[Visit]
    training: list[Visit]
    contenders: tuple[Contender, ...]


def evaluate(
    cohort: str | Path,
    model: Model | Sequence[Model] = (),
    output: str | Path | None = None,
    *,
    synthetic: Sequence[str] = (),
    uncertainty: str | None = None,
    to: str | None = None,
    split: str = "test",
    folds: str | None = None,
    groups: Sequence[str] | None = None,
    division: Split | None = None,
    baselines: bool = True,
    data_range: float | None = None,
    cache: str | Path | None = None,
    qc: str | Path | None = None,
    device: str = "auto",
    jobs: int | None = None,
    seed: int = 0,
    samples: int = 1,
    report: bool = False,
    classes: Classes | None = None,
    downstream: bool = False,
    keep_volumes: bool = False,
    limit_s: float | None = None,
    reporter: Reporter | None = None,
) -> Evaluation:
    """Judge models, or volumes made elsewhere, on a cohort that has both its source and its target volumes.

    Volumes are compared inside the brain mask on the first model's grid; what other models make on other grids is
    sampled there. From CT to MRI the whole-slice figures of the literature are added (`metrics.SLICE_METRICS`). A visit
    is written to `output/subjects` as soon as it is measured: started again, an interrupted evaluation goes on from
    there and ends with the same figures.

    Args:
        cohort: table with the route's two modalities.
        model: id, folder or opened package, or several.
        output: folder for `metrics.json` and the tables (`study.write_evaluation`); None writes nothing.
        synthetic: columns of the table with synthetic volumes to read, in the source's native space.
        uncertainty: column with the standard deviations of the first of them.
        to: target modality, when no model says it.
        split: train, validation, test or all.
        folds: column of the table with each subject's fold; the models, in the order of the sorted folds, are then the
            ones that were trained without it, and are pooled as one. `split` does not count.
        groups: columns for subgroups; default every column with a few groups or numbers.
        division: who is in which split; default the table's own split (`split_cohort`).
        baselines: also score copy of the input, population mean, voxelwise regression and, for T1w, mean x tissue,
            fitted on the cohort's training subjects, or, where the table has none, on those of the model's training,
            which its package keeps.
        data_range: for PSNR and SSIM; default that of `data_range.known_range`, as `compare` has it.
        cache: folder for preprocessed volumes; default as in `cache_folder`.
        qc: table of findings and decisions (`qc.tsv`); default in the output folder.
        device: auto, cpu, cuda, cuda:N or mps.
        jobs: worker processes; on a GPU they only preprocess.
        seed: of the random split, where the table has no `split` column, and of the generators' noise.
        samples: to draw per model; more than one adds the calibration of their standard deviation.
        report: also write `report.html` and, where fpdf2 is installed, `report.pdf`.
        classes: who is healthy and who is ill: models with clinical variables are then also run with the average
            variables of either group.
        downstream: classify, vary each clinical variable, project onto the surface (`evaluation.downstream`); needs an
            output folder. The classes default to CN and AD in the column `diagnosis`.
        keep_volumes: also write the models' volumes as NIfTI with sidecars into `output/volumes`.
        limit_s: seconds that one visit's preprocessing, or its scoring, may take.
        reporter: receives progress.

    Returns:
        The figures; visits that cannot be used, are rejected in `qc.tsv`, or failed are left out of them and named in
        `left_out`.

    Raises:
        UsageError: options that do not go together.
        BadInputError: the cohort lacks volumes or subjects, or every visit failed.
    """
    reporter = reporter or current()
    packages = _packages(model)
    check_report(report, output)
    check_report(downstream, output, "The downstream evaluation")
    check_contenders(packages, synthetic, uncertainty)
    if keep_volumes and (output is None or not packages):
        raise UsageError("Volumes are kept in the output folder (-o FOLDER), and made by a model (--model).")
    table = read_cohort(cohort, reporter)
    table.require_some()
    source, target = _route(packages, table, to)
    table.require_some(source, target)
    divided = _parts(table, packages, division or _division(table, split, seed), split, folds)
    if downstream:
        classes = classes or Classes()
    if classes is not None:
        classes.check(table.visits, table.path.name)
    _say_when_too_few(divided, reporter)
    chain = packages[0].card.preprocessing if packages else DEFAULT_CHAIN
    existing = tuple(
        Existing(column, column, uncertainty if number == 0 else None) for number, column in enumerate(synthetic)
    )
    data_range_used, data_range_source = _data_range(packages, synthetic, table, target, data_range)
    folder = cache_folder(table.path, cache)
    quantity = packages[0].card.output.quantity if packages else "SUVR" if target.endswith("PET") else None
    screening = _screen(divided, table, Request((source, target), (source, target), quantity), folder, qc, output,
                        training=baselines or classes is not None, jobs=jobs, reporter=reporter)  # fmt: skip
    settings = Settings(
        chain=chain,
        contenders=(),
        existing=existing,
        baselines=None,
        tissue=source == "T1w" and any(getattr(step, "method", "") == "tissue" for step in chain.source),
        data_range=data_range_used,
        device=device,
        seed=seed,
        samples=samples,
        folder=None if output is None else Path(output),
        keep_volumes=keep_volumes,
        low=packages[0].card.output.display_window[0] if packages else 0.0,
        metrics=(*METRICS, *(SLICE_METRICS if source == "CT" and not target.endswith("PET") else ())),
    )
    if output is not None:
        places = [
            volume_path(Path(output), visit.name, one.name)
            for part in divided
            for visit in part.tests
            for one in (part.contenders if keep_volumes else ())
        ]
        inputs = table.files(*synthetic, *([uncertainty] if uncertainty else ()))
        _check_outputs(Path(output), inputs, report, places)
        refuse_foreign_records(Path(output), [visit.name for part in divided for visit in part.tests])
    table = _with_absolute_paths(table, [name for name in (*synthetic, uncertainty) if name])
    left_out: dict[str, str] = {}

    def leave_out(visit: Visit, error: ModalitySynthesisError) -> None:
        left_out[visit.name] = str(error)
        reporter.warning(f"{visit.name} is left out: {error}")

    with_paths = {visit.name: visit for visit in table}
    measure = partial(
        _measure, source=source, target=target, folder=folder, baselines=baselines, jobs=jobs, classes=classes,
        thorough=downstream, limit_s=limit_s, leave_out=leave_out, screening=screening, quantity=quantity,
    )  # fmt: skip
    records: list[Record] = []
    in_z_scores = True
    visits: list[Visit] = []
    names: list[str] = []
    for part, progress in zip(divided, parts(reporter, [len(part.tests) for part in divided]), strict=True):
        tests = [with_paths[visit.name] for visit in screening.usable(part.tests)]
        part = replace(part, tests=tests, training=screening.usable(part.training))
        tests, found, questions = measure(part, replace(settings, contenders=part.contenders), reporter=progress)
        records += found
        in_z_scores = in_z_scores and questions is not None and questions.normals is not None
        visits += tests
        names += [part.name] * len(tests)
    screening.write()
    left_out |= {visit.name: " ".join(screening.findings.reasons(visit)) for visit in screening.left_out}
    screening.say(reporter)
    if not records:
        raise BadInputError(
            f"{table.path.name}: no visit could be evaluated. {next(iter(left_out.values()), '')} "
            f"{screening.summary()}".strip()
        )
    grouped = _groups(visits, groups, {*synthetic, uncertainty, folds})
    contenders = (*(contender.name for contender in divided[0].contenders), *(one.name for one in existing))
    asked = None
    if downstream and classes is not None and settings.folder is not None:
        if split in ("train", "all") and not folds:
            reporter.warning("The models saw the training subjects: classification flatters them.")
        asked = judge_downstream(
            classes, visits, records, contenders, partial(read_arrays, settings.folder), source=source, target=target,
            clinical=next((one.card.clinical_variables for one in packages if one.card.clinical_variables), ()),
            groups=grouped, in_z_scores=in_z_scores, seed=seed,
        )  # fmt: skip
    result = Evaluation(
        contenders=contenders,
        split="cross-validation" if folds else split,
        data_range=settings.data_range,
        data_range_source=data_range_source,
        units=packages[0].card.output.units if packages else "SUVR" if target.endswith("PET") else "target units",
        subjects=[visit.name for visit in visits],
        patients=[visit.subject for visit in visits],
        groups=grouped,
        folds=names if folds else (),
        facts=_facts(table, divided, packages, source, target, settings),
        effects=clinical_effects(records, [visit.subject for visit in visits]),
        downstream=asked,
        left_out=left_out,
        **collect(records),
    )
    with atomic_files():
        if output is not None:
            write_evaluation(result, Path(output))
        if report and output is not None:
            from modality_synthesis.evaluation.report import write_cohort_report

            write_cohort_report(result, Path(output), reporter)
    return result


def _say_when_too_few(divided: Sequence[_Part], reporter: Reporter) -> None:
    count = len({visit.subject for part in divided for visit in part.tests})
    if count < FEWEST_FOR_INTERVAL:
        reporter.finding(
            Finding(
                "few-patients", "look",
                f"Only {count} patient(s) to evaluate: too few for intervals, tests or a statement about others.",
                f"Evaluate at least {FEWEST_FOR_INTERVAL} patients.", count, FEWEST_FOR_INTERVAL,
            )
        )  # fmt: skip


def _check_outputs(folder: Path, inputs: Sequence[Path], report: bool, volumes: Sequence[Path]) -> None:
    names = [*TABLES, *(["report.html", "report.pdf"] if report else [])]
    check_outputs([folder / name for name in names], described=volumes, inputs=inputs)
    if not is_own_json(folder / FACTS):
        refuse_foreign_json([folder / FACTS, folder / "downstream.json"])
    check_writable(folder / FACTS, endings=[".json"])


def _screen(
    divided: Sequence[_Part], table: Cohort, request: Request, folder: Path, qc: str | Path | None,
    output: str | Path | None, *, training: bool, jobs: int | None, reporter: Reporter,
) -> Screening:  # fmt: skip
    """Look at the visits that are going to be used.

    Raises:
        BadInputError: no visit to test can be used.
    """
    used = {visit.name: visit for part in divided for visit in (*part.tests, *(part.training if training else ()))}
    visits = [visit for visit in table if visit.name in used]
    tables = (*decision_tables(table.path, None if output is None else Path(output)), *([Path(qc)] if qc else []))
    writes = output is not None or qc is not None
    screening = screen(
        visits, request, folder, refused=table.refused, tables=tables, writes=writes, jobs=jobs, reporter=reporter
    )
    tests = [visit for part in divided for visit in part.tests]
    if not screening.usable(tests):
        screening.write()
        first = " ".join(screening.findings.reasons(tests[0]))
        raise BadInputError(f"{table.path.name}: no visit can be evaluated. {first} {screening.summary()}".strip())
    return screening


def _packages(model: Model | Sequence[Model]) -> list[ModelPackage]:
    models = [model] if isinstance(model, (str, Path, ModelPackage)) else list(model)
    return [one if isinstance(one, ModelPackage) else find_model(one) for one in models]


def _route(packages: Sequence[ModelPackage], table: Cohort, to: str | None) -> tuple[str, str]:
    if not packages:
        if to is None:
            raise UsageError("Without a model, say which modality the volumes are of: --to FDG-PET, for example.")
        present = table.visits[0].volumes
        sources = [name for name in ("T1w", "CT", "T2w") if name in present and name != to]
        if not sources:
            raise BadInputError(f"{table.path.name}: no T1w, CT or T2w column to find the brain with.")
        return sources[0], to
    routes = {(package.card.route.source, package.card.route.target) for package in packages}
    if len(routes) > 1:
        raise UsageError(f"The models go different ways: {', '.join(f'{a} to {b}' for a, b in sorted(routes))}.")
    route = packages[0].card.route
    if to is not None and to != route.target:
        raise UsageError(f"The model {packages[0].card.id} makes {route.target}, not {to}.")
    return route.source, route.target


def _division(table: Cohort, split: str, seed: int) -> Split:
    subjects = {visit.subject: None for visit in table}
    if split == "all" and len(subjects) < 3 and not any(visit.split for visit in table):
        return Split((), (), tuple(subjects))  # too few to divide, and everybody is evaluated anyway
    return split_cohort(table, seed=seed, needed=())


def _parts(
    table: Cohort, packages: Sequence[ModelPackage], division: Split, split: str, folds: str | None
) -> list[_Part]:
    if folds is None:
        tests = table.of_subjects(subjects_of(division, split))
        if not tests:
            raise BadInputError(f"{table.path.name}: no subject is in the split {split!r}.")
        return [_Part(split, tests, table.of_subjects(division.train), _contenders(packages))]
    of_subject = folds_in_column(table, folds)
    # Fold 2 before fold 10: the models are given in this order.
    names = sorted(
        {fold for fold in of_subject.values() if fold is not None}, key=lambda fold: (as_number(fold) or 0, fold)
    )
    if len(names) != len(packages):
        raise UsageError(
            f"{table.path.name}: the column {folds!r} has {len(names)} folds and {len(packages)} models are given; "
            "each fold needs the model that was trained without it."
        )
    name = f"{packages[0].card.id} ({len(names)}-fold)"
    return [
        _Part(
            fold,
            [visit for visit in table if of_subject[visit.subject] == fold],
            [visit for visit in table if of_subject[visit.subject] not in (fold, None)],
            (Contender(name, package),),
        )
        for fold, package in zip(names, packages, strict=True)
    ]


def _contenders(packages: Sequence[ModelPackage]) -> tuple[Contender, ...]:
    ids = [package.card.id for package in packages]
    names = [
        one.card.id if ids.count(one.card.id) == 1 else f"{one.card.id} {one.card.version} ({one.folder.parent.name})"
        for one in packages
    ]
    if len(set(names)) < len(names):
        raise UsageError("The same model is given twice.")
    return tuple(Contender(name, package) for name, package in zip(names, packages, strict=True))


def _data_range(
    packages: Sequence[ModelPackage], synthetic: Sequence[str], table: Cohort, target: str, given: float | None
) -> tuple[float, str]:
    """The data range and where it comes from: `data_range.known_range` of the first model or existing volume."""
    record: Mapping[str, Any] = {}
    if packages:
        record = {"DisplayWindow": packages[0].card.output.display_window}
    elif synthetic:
        named = next((value for visit in table if (value := visit.variables.get(synthetic[0]))), None)
        record = {} if named is None else read_sidecar(volume_place(named, table.path.parent.resolve()))
    found = known_range(record, given, pet=target.endswith("PET"))
    if found is None:
        raise UsageError("Without a model, say what the data range is (PSNR and SSIM need it): --data-range 1000.")
    return found


def _measure(
    part: _Part,
    settings: Settings,
    *,
    source: str,
    target: str,
    folder: Path,
    baselines: bool,
    jobs: int | None,
    classes: Classes | None,
    thorough: bool,
    limit_s: float | None,
    leave_out: Callable[[Visit, ModalitySynthesisError], None],
    screening: Screening,
    quantity: str | None,
    reporter: Reporter,
) -> tuple[list[Visit], list[Record], VisitQuestions | None]:
    first, second, third = parts(reporter, (4, 1, 4))

    def preprocess(visits: list[Visit], chain: ChainParameters, progress: Reporter) -> list[Pair]:
        return preprocess_pairs(
            visits, source, target, chain, folder, quantity=quantity, screening=screening, jobs=jobs, limit_s=limit_s,
            reporter=progress,
        )  # fmt: skip

    training = part.training if baselines or classes is not None else []
    together = {visit.name: visit for visit in [*training, *part.tests]}
    made = {pair.visit.name: pair for pair in preprocess(list(together.values()), settings.chain, first)}
    tests = {visit.name: made[visit.name] for visit in part.tests if visit.name in made}
    trains = [made[visit.name] for visit in training if visit.name in made]
    own: dict[str, dict[str, Pair]] = {name: {} for name in tests}
    for contender in part.contenders:
        chain = contender.package.card.preprocessing
        if chain.source != settings.chain.source:
            there = {one.visit.name: one for one in preprocess([one.visit for one in tests.values()], chain, first)}
            tests = {name: pair for name, pair in tests.items() if name in there}
            for name in tests:
                own[name][contender.name] = there[name]
    if baselines and tests:
        found = _baselines(part, settings, next(iter(tests.values())), trains, folder, second)
        settings = replace(settings, baselines=found)
    if classes is not None:
        questions = visit_questions(classes, part.contenders, trains, settings, folder, thorough=thorough)
        settings = replace(settings, questions=questions)
    work = partial(score, settings=settings)
    tasks = [Task(pair, own[name]) for name, pair in tests.items()]
    records: list[Record | None] = parallel_map(
        work, tasks, jobs=_scoring_jobs(settings, jobs), reporter=third, stage="Scoring", limit_s=limit_s,
        on_failure=lambda index, error: leave_out(tasks[index].pair.visit, error),
        name=lambda task: task.pair.visit.name,
    )  # fmt: skip
    done = [(task.pair.visit, record) for task, record in zip(tasks, records, strict=True) if record is not None]
    return [visit for visit, _ in done], [record for _, record in done], settings.questions


def _scoring_jobs(settings: Settings, jobs: int | None) -> int | None:
    """One process for a GPU: several would only take each other's memory."""
    if not settings.contenders:
        return jobs
    from modality_synthesis.synthesis.devices import choose_device

    return jobs if choose_device(settings.device).type == "cpu" else 1


def _keeper(contenders: Sequence[Contender], settings: Settings) -> ModelPackage | None:
    """The model whose package keeps baselines on the evaluation's grid."""
    return next(
        (
            one.package
            for one in contenders
            if one.package.card.baselines is not None and one.package.card.preprocessing.source == settings.chain.source
        ),
        None,
    )


def _baselines(
    part: _Part, settings: Settings, test: Pair, trains: Sequence[Pair], folder: Path, reporter: Reporter
) -> Path | None:
    """Fitted on the table's training subjects; without any, those that the model's package keeps."""
    if trains:
        return fitted_baselines(trains, settings.chain.target, folder, reporter)
    keeper = _keeper(part.contenders, settings)
    if keeper is not None:
        return kept_baselines(keeper, test.brain().shape)
    reporter.warning(
        "The table has no training subjects and no model's package keeps baselines: none is scored, so that nothing "
        "says whether a simple predictor does as well."
    )
    return None


def _with_absolute_paths(table: Cohort, columns: Sequence[str]) -> Cohort:
    """The same table, with the named columns' paths relative to the table made absolute.

    Raises:
        BadInputError: a column that the table does not have.
    """
    for column in columns:
        if not any(column in visit.variables for visit in table):
            known = ", ".join(table.visits[0].variables) or "none"
            raise BadInputError(f"{table.path.name} has no column {column!r}. Its columns of this kind: {known}.")
    folder = table.path.parent.resolve()
    visits = tuple(
        replace(
            visit,
            variables={
                name: str(volume_place(value, folder)) if name in columns and value is not None else value
                for name, value in visit.variables.items()
            },
        )
        for visit in table
    )
    return replace(table, visits=visits)


def _groups(
    visits: Sequence[Visit], wanted: Sequence[str] | None, taken: set[str | None]
) -> dict[str, list[str | None]]:
    present = list(dict.fromkeys(name for visit in visits for name in visit.variables))
    unknown = [name for name in wanted or () if name not in present]
    if unknown:
        raise BadInputError(f"The cohort has no column {unknown[0]!r} to group by.")
    found = {}
    for name in wanted if wanted is not None else [name for name in present if name not in taken]:
        members = grouping([visit.variables.get(name) for visit in visits])
        if members is not None:
            found[name] = members
    return found


def _baselines_from(table: Cohort, divided: Sequence[_Part], settings: Settings) -> str:
    """What the baselines were fitted on, where they were scored."""
    count = sum(len(part.training) for part in divided)
    if count:
        return f"{count} training visits of {table.path.name}"
    keepers = [_keeper(part.contenders, settings) for part in divided]
    kept = [one.card for one in keepers if one is not None]
    return "; ".join(
        f"the {card.baselines.subjects} training subjects of {card.id} {card.version}, kept in its package"
        for card in kept
        if card.baselines is not None
    )


def _facts(
    table: Cohort, divided: Sequence[_Part], packages: Sequence[ModelPackage], source: str, target: str,
    settings: Settings,
) -> dict[str, Any]:  # fmt: skip
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cohort": {
            "table": table.path.name,
            "visits": len(table),
            "patients": len({visit.subject for visit in table}),
            "tested": sum(len(part.tests) for part in divided),
            "training_for_baselines": sum(len(part.training) for part in divided),
        },
        "baselines_from": _baselines_from(table, divided, settings),
        "route": {"source": source, "target": target},
        "models": [package.card.model_dump(mode="json") for package in packages],
        "existing_columns": [one.column for one in settings.existing],
        "preprocessing": settings.chain.model_dump(mode="json"),
        "samples": settings.samples,
        "seed": settings.seed,
    }
