"""The results of an evaluation, and every table that follows from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modality_synthesis._version import __version__
from modality_synthesis.evaluation.baselines import BASELINES
from modality_synthesis.evaluation.downstream import Downstream, Effect, write_downstream
from modality_synthesis.evaluation.folds import FoldTable, fold_table
from modality_synthesis.evaluation.metrics import METRICS, SLICE_METRICS, Metric
from modality_synthesis.evaluation.scoring import MEASURED, Record
from modality_synthesis.evaluation.statistics import (
    Agreement,
    GroupRow,
    PairedTest,
    agreement,
    bootstrap_interval,
    paired_tests,
    patient_groups,
    per_patient,
    subgroups,
)
from modality_synthesis.evaluation.verdict import verdicts
from modality_synthesis.preprocessing.atlas import Region, regions
from modality_synthesis.volumes import Mark, mark_columns, write_json, write_rows

FACTS = "metrics.json"
TABLES = (
    FACTS, "metrics.csv", "summary.csv", "tests.csv", "agreement.csv", "subgroups.csv", "clinical_effects.csv",
    "measured_regions.csv", "regions.csv", "downstream.json", "classification.csv", "fairness.csv", "surface.png",
)  # fmt: skip
INTERVAL = (
    "95 % percentile bootstrap over patients (2000 draws, fixed seed); visits of a patient are averaged first; none "
    "under five patients"
)
TESTS_NOTE = (
    "paired over patients, two-sided; Holm's correction over all tests of this table. independent: the independent "
    "t-test, as published; ignores the pairing, not corrected"
)


@dataclass(frozen=True)
class AgreementRow:
    """A region's mean, synthetic against measured, over the patients; see `statistics.Agreement`."""

    predictor: str
    region: str
    name: str
    hemisphere: str
    kind: str
    count: int
    bias: float
    bias_low: float
    bias_high: float
    limit_low: float
    limit_high: float
    proportional_slope: float
    proportional_p: float
    icc: float
    icc_low: float
    icc_high: float
    slope: float
    slope_low: float
    slope_high: float
    r: float
    mae: float


@dataclass(frozen=True)
class Evaluation:
    """Figures per predictor, metric and visit.

    Attributes:
        contenders: names of models and existing volumes: what is judged. Everything else is a baseline.
        split: which subjects.
        data_range: used by PSNR and SSIM, target units.
        data_range_source: where it comes from, in words.
        units: of the target.
        subjects: visits in the order of the scores.
        patients: whose visit each is.
        scores: predictor -> metric -> one figure per visit.
        regional: predictor or `MEASURED` -> (visits, regions of `atlas.regions()`); empty off template space.
        covered: percent of each region that was measured, (visits, regions); empty off template space.
        calibration: predictor -> one `Calibration.as_dict()` per visit that has one.
        seconds: contender -> time per visit.
        groups: variable -> each visit's group.
        marks: predictor -> who made its volume of each visit.
        folds: each visit's fold; empty without cross-validation.
        facts: provenance for the report: cards, cohort, settings.
        effects: contender -> what its clinical variables do, where the evaluation was told who is healthy.
        downstream: the downstream evaluation, where it was asked for.
        left_out: visits that failed, and why.
    """

    contenders: tuple[str, ...]
    split: str
    data_range: float
    units: str
    subjects: Sequence[str]
    patients: Sequence[str]
    scores: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    regional: dict[str, np.ndarray] = field(default_factory=dict)
    covered: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    calibration: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    marks: Mapping[str, Sequence[Mark]] = field(default_factory=dict)
    folds: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    effects: Mapping[str, Sequence[Effect]] = field(default_factory=dict)
    downstream: Downstream | None = None
    data_range_source: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What was measured: `METRICS`, and `SLICE_METRICS` from CT to MRI."""
        known = {**METRICS, **SLICE_METRICS}
        return {name: known[name] for name in next(iter(self.scores.values()), {})}

    @property
    def baselines(self) -> tuple[str, ...]:
        """Predictors that are no contenders."""
        return tuple(name for name in self.scores if name not in self.contenders)

    def made_by(self, predictor: str, visit: int | None = None) -> dict[str, str]:
        """The columns `synthetic` and `model` of a row about one visit, or about all."""
        marks = self.marks.get(predictor) or [Mark()]
        if visit is not None:
            return mark_columns(marks[visit] if len(marks) > 1 else marks[0])
        return {"synthetic": "yes", "model": "; ".join(dict.fromkeys(mark.name for mark in marks))}

    def patient_scores(self, predictor: str) -> dict[str, np.ndarray]:
        """Metric -> one figure per patient."""
        return {metric: per_patient(values, self.patients)[1] for metric, values in self.scores[predictor].items()}

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Predictor -> metric -> mean over patients with its 95 % bootstrap interval, SD and median."""
        result: dict[str, dict[str, dict[str, float]]] = {}
        for predictor in self.scores:
            result[predictor] = {}
            for metric, values in self.patient_scores(predictor).items():
                found = bootstrap_interval(values)
                known = values[np.isfinite(values)]
                result[predictor][metric] = {
                    "mean": found.value,
                    "low": found.low,
                    "high": found.high,
                    "sd": float(known.std(ddof=1)) if known.size > 1 else float("nan"),
                    "median": float(np.median(known)) if known.size else float("nan"),
                }
        return result

    def fold_tables(self) -> dict[str, FoldTable]:
        """Predictor -> its figures per fold and over all patients; empty without cross-validation."""
        names = sorted(set(self.folds))
        return {
            predictor: fold_table(self.folds, self.patients, scores, names=names)
            for predictor, scores in (self.scores.items() if names else ())
        }

    def tests(self) -> list[PairedTest]:
        """Contenders against each other, and each against every baseline; one Holm family."""
        pairs = [
            *itertools.combinations(self.contenders, 2),
            *itertools.product(self.contenders, self.baselines),
        ]
        return paired_tests({name: self.patient_scores(name) for name in self.scores}, pairs=pairs)

    def regional_of_patients(self, predictor: str) -> np.ndarray:
        """(patients, regions) means."""
        columns = [per_patient(column, self.patients)[1] for column in self.regional[predictor].T.tolist()]
        return np.array(columns).T

    def agreement(self) -> list[AgreementRow]:
        """Bland-Altman, ICC(2,1) and slope of every region and contender, meta-regions first."""
        if not self.regional:
            return []
        measured = self.regional_of_patients(MEASURED)
        rows = []
        for predictor in self.contenders:
            made = self.regional_of_patients(predictor)
            for index, region in enumerate(regions()):
                found = agreement(made[:, index], measured[:, index])
                if found is not None:
                    rows.append(_agreement_row(predictor, region, found))
        return sorted(rows, key=lambda row: (row.kind != "meta-region", row.hemisphere != "both"))

    def fairness(self) -> dict[str, list[GroupRow]]:
        """Contender -> each metric in each subgroup of patients."""
        members = patient_groups(self.groups, self.patients)
        shown = ("MAE", "PSNR", "SSIM", "NCC")
        return {
            name: subgroups({metric: self.patient_scores(name)[metric] for metric in shown}, members)
            for name in (self.contenders if members else ())
        }

    def calibration_summary(self) -> dict[str, dict[str, Any]]:
        """Predictor -> coverage per level, AUSE and rank correlation, means over visits."""
        result = {}
        for predictor, found in self.calibration.items():
            if found:
                result[predictor] = {
                    name: np.nanmean([np.array(one[name], dtype=float) for one in found], axis=0).tolist()
                    for name in (
                        "levels", "coverage", "width", "fractions", "sparsification", "oracle", "ause", "spearman",
                    )
                } | {"visits": len(found)}  # fmt: skip
        return result


def _agreement_row(predictor: str, region: Region, found: Agreement) -> AgreementRow:
    return AgreementRow(
        predictor, region.name, region.title, region.hemisphere, region.kind, found.count, found.bias.value,
        found.bias.low, found.bias.high, *found.limits, found.proportional_slope, found.proportional_p,
        found.icc.value, found.icc.low, found.icc.high, found.slope, *found.slope_interval, found.r, found.mae,
    )  # fmt: skip


def collect(records: Sequence[Record]) -> dict[str, Any]:
    """The parts of an `Evaluation` that come from the visits' records, in their order."""
    predictors = list(records[0].scores)
    metrics = [name for name in (*METRICS, *SLICE_METRICS) if name in records[0].scores[predictors[0]]]
    names = list(records[0].regions)
    return {
        "scores": {
            name: {metric: [record.scores[name][metric] for record in records] for metric in metrics}
            for name in predictors
        },
        "covered": np.array([record.covered for record in records], dtype=float),
        "regional": {name: np.array([record.regions[name] for record in records], dtype=float) for name in names},
        "calibration": {
            name: found
            for name in predictors
            if (found := [record.calibration[name] for record in records if name in record.calibration])
        },
        "marks": {name: [Mark(*record.marks[name]) for record in records] for name in predictors},
        "seconds": {name: [record.seconds[name] for record in records] for name in records[0].seconds},
    }


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `metrics.json` (everything aggregated, with definitions) and the tables as CSV.

    `metrics.csv` (a row per visit and predictor), `summary.csv`, `tests.csv` (paired tests; the columns
    `independent_ttest_as_published_...` are Student's independent t-test, which ignores the pairing), `agreement.csv`,
    `subgroups.csv`, `regions.csv` (a row per visit, predictor and region: the predictor's mean, and beside it the
    measured one) and `measured_regions.csv` (for `suvr --normal-cohort`). Rows about what a predictor made say that it
    is synthetic, and by whom.
    """
    summary, tests, fairness = evaluation.summary(), evaluation.tests(), evaluation.fairness()
    found = evaluation.agreement()
    write_json(
        {
            "contenders": list(evaluation.contenders),
            "baselines": {name: BASELINES.get(name, "") for name in evaluation.baselines},
            "split": evaluation.split,
            "visits": len(evaluation.subjects),
            "patients": len(set(evaluation.patients)),
            "data_range": evaluation.data_range,
            "data_range_source": evaluation.data_range_source,
            "units": evaluation.units,
            "region": "brain mask, on the evaluation's grid",
            "definitions": {name: metric.definition for name, metric in evaluation.metrics.items()},
            "interval": INTERVAL,
            "verdict": [verdict.as_dict() for verdict in verdicts(evaluation)],
            "summary": summary,
            "folds": {name: table.summary() for name, table in evaluation.fold_tables().items()},
            "tests": [asdict(test) for test in tests],
            "tests_note": TESTS_NOTE,
            "agreement": [asdict(row) for row in found if row.kind == "meta-region"],
            "calibration": evaluation.calibration_summary(),
            "subgroups": {name: [asdict(row) for row in rows] for name, rows in fairness.items()},
            "clinical_effects": {name: [asdict(row) for row in rows] for name, rows in evaluation.effects.items()},
            "seconds_per_visit": {name: float(np.mean(times)) for name, times in evaluation.seconds.items()},
            "facts": dict(evaluation.facts),
            "GeneratedBy": [{"Name": "modality-synthesis", "Version": __version__}],
        },
        folder / "metrics.json",
    )
    write_rows(
        folder / "metrics.csv",
        [
            {"subject": subject, "patient": patient, "predictor": predictor}
            | evaluation.made_by(predictor, index)
            | {metric: values[index] for metric, values in metrics.items()}
            for predictor, metrics in evaluation.scores.items()
            for index, (subject, patient) in enumerate(zip(evaluation.subjects, evaluation.patients, strict=True))
        ],
        digits=9,
    )
    write_rows(
        folder / "summary.csv",
        [
            {"predictor": predictor, "metric": metric, **figures, **evaluation.made_by(predictor)}
            for predictor, metrics in summary.items()
            for metric, figures in metrics.items()
        ],
    )
    write_rows(folder / "tests.csv", [_flat(_labeled(asdict(test))) for test in tests])
    write_rows(folder / "agreement.csv", [{**asdict(row), **evaluation.made_by(row.predictor)} for row in found])
    write_rows(
        folder / "subgroups.csv",
        [{"predictor": name, **_flat(asdict(row))} for name, rows in fairness.items() for row in rows],
    )
    write_rows(
        folder / "clinical_effects.csv",
        [
            {"predictor": name, "variable": row.variable, "figure": figure, **asdict(interval)}
            for name, rows in evaluation.effects.items()
            for row in rows
            for figure, interval in (("change", row.change), ("absolute", row.absolute), ("unknown", row.unknown))
            if interval is not None
        ],
    )
    _write_regions(evaluation, folder)
    if evaluation.downstream is not None:
        marks = [mark for name in evaluation.contenders for mark in evaluation.marks.get(name, ())]
        write_downstream(evaluation.downstream, folder, marks)


def _labeled(test: dict[str, Any]) -> dict[str, Any]:
    """A test's row, in which nobody can take the independent t-test for the paired one."""
    independent = test.pop("independent")
    return test | {"independent_ttest_as_published": independent}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Intervals as columns of their own."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat.update(
            {f"{name}_{part}": item for part, item in value.items()} if isinstance(value, dict) else {name: value}
        )
    return flat


def _write_regions(evaluation: Evaluation, folder: Path) -> None:
    if not evaluation.regional:
        return
    measured, covered = evaluation.regional[MEASURED], evaluation.covered
    value = "suvr" if evaluation.units == "SUVR" else "mean"
    write_rows(
        folder / "measured_regions.csv",
        [
            {"subject": patient, "visit": subject, "region": region.name, "name": region.title}
            | {"hemisphere": region.hemisphere}
            | {"kind": region.kind, "covered_percent": float(covered[visit, index])}
            | {value: float(measured[visit, index])}
            | mark_columns(None)
            for visit, (subject, patient) in enumerate(zip(evaluation.subjects, evaluation.patients, strict=True))
            for index, region in enumerate(regions())
        ],
    )
    write_rows(
        folder / "regions.csv",
        [
            {"subject": subject, "predictor": predictor, "region": region.name, "name": region.title}
            | {"hemisphere": region.hemisphere}
            | {"kind": region.kind, "covered_percent": float(covered[visit, index])}
            | {value: float(made[visit, index]), "measured": float(measured[visit, index])}
            | evaluation.made_by(predictor, visit)
            for predictor, made in evaluation.regional.items()
            if predictor != MEASURED
            for visit, subject in enumerate(evaluation.subjects)
            for index, region in enumerate(regions())
        ],
    )
