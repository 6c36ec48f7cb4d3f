"""Reports of a comparison and of an evaluation: what was done, with what, and every figure with its definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from modality_synthesis._version import __version__
from modality_synthesis.evaluation import report_figures as figures
from modality_synthesis.evaluation.baselines import BASELINES
from modality_synthesis.evaluation.checklist import checklist
from modality_synthesis.evaluation.document import (
    Document,
    Section,
    Table,
    can_write_pdf,
    figure_files,
    interval,
    number,
    p_value,
    rounded,
    write_figures,
    write_html,
    write_pdf,
)
from modality_synthesis.evaluation.figures import montage as planes_of_all
from modality_synthesis.evaluation.figures.labels import short_names, shortened
from modality_synthesis.evaluation.figures.montage import Block
from modality_synthesis.evaluation.figures.style import difference_limit, pictures_of, value_colors, value_window
from modality_synthesis.evaluation.metrics import METRICS, Metric
from modality_synthesis.evaluation.report_downstream import downstream_sections
from modality_synthesis.evaluation.scoring import MEASURED, PLANES, middle_planes, record_path
from modality_synthesis.evaluation.statistics import FEWEST_FOR_INTERVAL, patient_groups
from modality_synthesis.evaluation.verdict import verdicts
from modality_synthesis.names import PRIMARY_REGIONS, structure_name
from modality_synthesis.preprocessing.atlas import regions
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.progress import Reporter
from modality_synthesis.volumes import atomic_files, bounding_box

if TYPE_CHECKING:
    from modality_synthesis.evaluation.comparison import Comparison
    from modality_synthesis.evaluation.study import AgreementRow, Evaluation

_FOREST = ("MAE", "PSNR", "SSIM", "MS-SSIM", "NCC", "NMI", "Tenengrad ratio", "Spectrum ratio")
FILES = ("report.html", "report.pdf")
_MOST_SHOWN = 6  # contenders whose planes fit on a page
_LABEL_INCHES = 1.7  # of a predictor's name beside a diagram
_MARK = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
_COLUMNS = 5  # metrics side by side


def write_comparison_report(result: Comparison, folder: Path, reporter: Reporter | None = None) -> list[Path]:
    """Write the report of one comparison; returns the files."""
    with pictures_of([result.mark, result.reference_mark]):
        document = comparison_document(result)
    return write_document(document, folder, reporter)


def write_cohort_report(evaluation: Evaluation, folder: Path, reporter: Reporter | None = None) -> list[Path]:
    """Write the report of an evaluation; returns the files."""
    with pictures_of(mark for name in evaluation.contenders for mark in evaluation.marks.get(name, ())):
        document = cohort_document(evaluation, folder)
    return write_document(document, folder, reporter)


def write_document(document: Document, folder: Path, reporter: Reporter | None = None) -> list[Path]:
    """Write each figure as PDF, SVG and PNG into `figures`, `report.pdf` where fpdf2 is installed, and `report.html`.

    Returns:
        The files; the page, which is written last: where it is, the rest is.
    """
    page, printed = (folder / name for name in FILES)
    with atomic_files():
        written = write_figures(document, folder)
        if can_write_pdf():
            write_pdf(document, printed)
            written.append(printed)
        elif reporter is not None:
            reporter.status("No report.pdf: fpdf2 is not installed (pip install 'modality-synthesis[report]').")
        write_html(document, page)
    return [page, *written]


def document_files(document: Document, folder: Path) -> list[Path]:
    """Every file that `write_document` writes."""
    return [*(folder / name for name in FILES), *figure_files(document, folder)]


# One comparison


def comparison_document(result: Comparison) -> Document:
    """The report of one comparison as data."""
    record = (result.inputs.get("synthetic") or {}).get("provenance") or {}
    units = record.get("Units", "target units")
    inside = result.inside
    made, wanted = (sitk.GetArrayFromImage(image) for image in (result.synthetic, result.reference))
    error = made[inside].astype(np.float64) - wanted[inside]
    window = value_window(record.get("DisplayWindow"), wanted[inside])
    pictures = [
        _montage(
            [Block(name, planes, "difference" if name == "difference" else "values")
             for name, planes in _comparison_planes(result).items()],
            window, difference_limit(error, window), str(record.get("Quantity", "")), units,
        ),
        figures.difference_histogram(error, units),
        figures.voxel_scatter(made[inside], wanted[inside], units),
    ]  # fmt: skip
    sections = [
        Section("What was compared", tables=[_inputs_table(result, record)]),
        Section("Figures", [_background_note(result)], [_metrics_table(result)]),
        Section("Pictures", pictures=pictures),
    ]
    if result.regions:
        sections.append(_regions_section(result, units))
    if result.calibration is not None:
        found = {"uncertainty": result.calibration.as_dict()}
        sections.append(
            Section(
                "Uncertainty",
                [
                    "Coverage and sparsification over the voxels of this person; they say nothing about one voxel, nor "
                    "whether a lesion is real.",
                ],
                [_calibration_table(found)],
                [figures.calibration_curves(found)],
            )
        )
    lead = (
        f"{result.statement} The mask holds {result.voxels} voxels ({result.mask_source}). Written by "
        f"modality-synthesis {__version__}."
    )
    warnings = [
        text
        for test, text in (
            (
                (record.get("Model") or {}).get("trained_on_simulated_data"),
                "The model was trained on simulated data: the figures show that the software works, not that the model "
                "is clinically valid.",
            ),
            (
                not record,
                "The synthetic volume has no provenance record: which model made it is not known.",
            ),
        )
        if test
    ]
    return Document("Synthetic volume against its reference", lead, warnings, sections)


def _montage(
    blocks: Sequence[Block], window: tuple[float, float], limit: float, quantity: str, units: str, *, title: str = "",
    name: str = "planes",
) -> figures.Picture:  # fmt: skip
    names = [block.name for block in blocks]
    drawn = planes_of_all.montage(
        blocks, window=window, limit=limit, colors=value_colors(quantity), units=units, title=title
    )
    told = planes_of_all.caption(title, names, window, limit, units)
    return figures.picture(name, told, f"Axial, coronal and sagittal planes of {', '.join(names)}.", drawn)


def _comparison_planes(result: Comparison) -> dict[str, list[np.ndarray]]:
    volumes = {"synthetic": result.synthetic, "reference": result.reference, "difference": result.difference}
    mask = sitk.GetImageFromArray(result.inside.astype(np.uint8))
    mask.CopyInformation(result.reference)
    spacing = max(1.0, min(result.reference.GetSpacing()))
    inside = sitk.GetArrayFromImage(resample_isotropic(sitk.DICOMOrient(mask, "LPS"), spacing, is_mask=True)) > 0
    around, middle = bounding_box(inside, margin=8), middle_planes(inside)
    shown = {}
    for name, image in volumes.items():
        values = sitk.GetArrayFromImage(resample_isotropic(sitk.DICOMOrient(image, "LPS"), spacing))
        if name == "difference":
            values = np.where(inside, values, 0.0)
        shown[name] = [_upright(values.take(index, axis), axis, around) for axis, index in enumerate(middle)]
    return shown


def _upright(plane: np.ndarray, axis: int, around: tuple[slice, ...] | None = None) -> np.ndarray:
    """A plane of a (z, y, x) volume in Left-Posterior-Superior order, with the front or the top of the head up."""
    if around is not None:
        rest = [box for other, box in enumerate(around) if other != axis]
        plane = plane[rest[0], rest[1]]
    return plane if axis == 0 else plane[::-1]


def _inputs_table(result: Comparison, record: Mapping[str, Any]) -> Table:
    rows = [
        [role, facts["file"], facts["sha256"][:16]]
        for role, facts in result.inputs.items()
        if isinstance(facts, Mapping) and "file" in facts
    ]
    model = record.get("Model") or {}
    if model:
        rows.append(["model", f"{model.get('id')} {model.get('version')}", str(model.get("weights_sha256", ""))[:16]])
    if result.alignment is not None:
        found = result.alignment
        moved = (
            f"rigid: {found.shift_mm:.1f} mm, {found.rotation_degrees:.1f} degrees; correlation "
            f"{found.correlation[0]:.2f} before, {found.correlation[1]:.2f} after"
        )
        rows.append(["registration", moved, ""])
    if result.signal_factor is not None:
        scaled = f"reference multiplied by {result.signal_factor:.4g} (MRI has no unit): least absolute difference"
        rows.append(["signal", scaled, ""])
    if result.unmatched is not None:
        rows.append(["signal", result.unmatched, ""])
    return Table("Inputs", ["role", "what", "SHA-256 (first 16 digits)"], rows)


def _metrics_table(result: Comparison) -> Table:
    rows = [
        [name, number(value, 4), number(result.whole_volume[name], 4), metric.unit, number(float(metric.ideal)),
         metric.definition + (f"; data range {result.data_range:.4g}" if metric.uses_data_range else "")]
        for name, value in result.metrics.items()
        for metric in [METRICS[name]]
    ]  # fmt: skip
    return Table("All figures", ["metric", "inside the mask", "whole volume", "unit", "ideal", "definition"], rows)


def _background_note(result: Comparison) -> str:
    share = 1 - result.voxels / result.inside.size
    gain = result.whole_volume["PSNR"] - result.metrics["PSNR"]
    told = (
        f"which changes PSNR by {gain:+.1f} dB".replace("-", "\N{MINUS SIGN}")
        if np.isfinite(gain)
        else "where PSNR is not defined"
    )
    return (
        f"Judge by the figures inside the mask. The whole volume holds {100 * share:.0f} % background, {told}. "
        f"Data range: {result.data_range:.4g} ({result.data_range_source})."
    )


def _regions_section(result: Comparison, units: str) -> Section:
    meta = [row for row in result.regions if row.kind == "meta-region" and row.hemisphere == "both"]
    known = [row for row in meta if np.isfinite(row.synthetic_mean)]
    bars = figures.region_bars(
        [structure_name(row.region) for row in known],
        {"reference": [row.reference_mean for row in known], "synthetic": [row.synthetic_mean for row in known]},
        units,
    )
    header = ["region", "side", "ml", "synthetic", "reference", "bias", "bias, %", "MAE", "RMSE"]

    def table(caption: str, rows: Sequence[Any], *, wide: bool) -> Table:
        cells = [
            [structure_name(row.region), row.hemisphere, number(row.volume_ml), number(row.synthetic_mean),
             number(row.reference_mean), number(row.bias), number(row.bias_percent), number(row.mae), number(row.rmse)]
            for row in rows
        ]  # fmt: skip
        return Table(caption, header, cells, wide)

    return Section(
        "Regions",
        ["Atlas: Desikan-Killiany and aseg of MNI152, registered affinely; small regions are approximate."],
        [table("Meta-regions", meta, wide=False), table("All regions", result.regions, wide=True)],
        [bars] if known else [],
    )


def _calibration_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    levels = next(iter(found.values()))["levels"]
    header = ["predictor", *(f"coverage at {100 * level:.0f} %" for level in levels), "AUSE", "rank correlation"]
    rows = [
        [name, *(f"{100 * share:.1f} %" for share in one["coverage"]), number(one["ause"]), number(one["spearman"])]
        for name, one in found.items()
    ]
    return Table("Calibration", header, rows)


# A cohort


def cohort_document(evaluation: Evaluation, folder: Path) -> Document:
    """The report of an evaluation as data; `folder` holds the visits' planes."""
    facts = evaluation.facts
    route, cohort = facts["route"], facts["cohort"]
    fairness, calibration = evaluation.fairness(), evaluation.calibration_summary()
    summary = _contenders_first(evaluation)
    sections = [
        Section("What was evaluated", tables=_provenance_tables(evaluation)),
        Section("Figures", _figures_notes(evaluation), _summary_tables(evaluation, summary), [_forest(summary)]),
        Section("Tests between predictors", [_tests_note(evaluation)], [_tests_table(evaluation)]),
        Section("Patients", pictures=_montages(evaluation, folder)),
    ]
    if evaluation.regional:
        sections.append(_agreement_section(evaluation))
    if calibration:
        curves = figures.calibration_curves(calibration)
        sections.append(Section("Uncertainty", tables=[_calibration_table(calibration)], pictures=[curves]))
    if fairness:
        sections.append(_fairness_section(evaluation, fairness))
    sections += downstream_sections(evaluation)
    sections += [
        Section("Definitions", tables=[_definitions(evaluation)]),
        _checklist_section(facts, subgroups=bool(fairness), calibrated=bool(calibration)),
    ]
    lead = (
        f"{', '.join(evaluation.contenders)}: {route['target']} from {route['source']}, {len(evaluation.subjects)} "
        f"visits of {len(set(evaluation.patients))} patients ({evaluation.split}) of {cohort['table']}, on "
        f"{facts['date']}, by modality-synthesis {__version__}."
    )
    simulated = [card["id"] for card in facts["models"] if card["training"]["simulated"]]
    warnings = []
    if simulated:
        warnings.append(
            f"{', '.join(simulated)}: trained on simulated data. Figures on simulated people show that the software "
            "works, not that a model is clinically valid."
        )
    patients = len(set(evaluation.patients))
    if patients < FEWEST_FOR_INTERVAL:
        warnings.append(f"Only {patients} patient(s): too few for intervals, tests or a statement about others.")
    elif patients < 20:
        warnings.append(
            f"Only {patients} patients: intervals are wide, and fewer than 19 cannot certify a coverage of 95 %."
        )
    title = f"Evaluation: {route['source']} to {route['target']}"
    return Document(title, lead, warnings, sections, [verdict.text for verdict in verdicts(evaluation)])


def _contenders_first(evaluation: Evaluation) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """The summary with the models before the baselines, so that a model has one color in all figures."""
    summary = evaluation.summary()
    return {name: summary[name] for name in dict.fromkeys((*evaluation.contenders, *summary))}


def _provenance_tables(evaluation: Evaluation) -> list[Table]:
    facts, cohort = evaluation.facts, evaluation.facts["cohort"]
    rows = [
        ["Cohort", f"{cohort['table']}: {cohort['visits']} visits, {cohort['patients']} patients"],
        ["Evaluated", f"{cohort['tested']} visits; split: {evaluation.split}"],
        ["Baselines fitted on", facts["baselines_from"] if evaluation.baselines else "no baselines"],
        ["Preprocessing", ", ".join(step["step"] for step in facts["preprocessing"]["source"])],
        ["Samples per model", str(facts["samples"])],
        ["Seed", str(facts["seed"])],
    ]  # fmt: skip
    tables = [Table("Study", ["what", "which"], rows)]
    cards = facts["models"]
    if cards:
        header = ["model", "generator", "parameters", "trained on", "badge", "licence", "weights", "seconds per visit"]
        seconds = [float(np.mean(times)) for times in evaluation.seconds.values()] or [float("nan")] * len(cards)
        tables.append(
            Table(
                "Models",
                header,
                [
                    [f"{card['id']} {card['version']}", card["generator"]["name"], f"{card['weights']['parameters']:,}",
                     card["training"]["data"], card["badge"], card["licence"], card["weights"]["sha256"][:12],
                     number(seconds[min(index, len(seconds) - 1)])]
                    for index, card in enumerate(cards)
                ],
            )
        )  # fmt: skip
    lost = shortened(short_names(evaluation.scores, _LABEL_INCHES, 8, lines=1))
    if lost:
        tables.append(
            Table("Names that the figures shorten", ["in figures", "name"], [list(row) for row in lost.items()])
        )
    if evaluation.baselines:
        rows = [[name, BASELINES.get(name, "")] for name in evaluation.baselines]
        tables.append(Table("Baselines that a model must beat", ["name", "what it does"], rows))
    return tables


def _figures_notes(evaluation: Evaluation) -> list[str]:
    return [
        f"Inside the brain mask; means over patients with 95 % bootstrap intervals; data range of PSNR and SSIM "
        f"{evaluation.data_range:g} {evaluation.units}. No figure alone decides: PSNR and SSIM hardly notice blur, the "
        "ratios hardly notice a wrong pattern.",
    ]


def _forest(summary: Mapping[str, Mapping[str, Mapping[str, float]]]) -> figures.Picture:
    return figures.forest(summary, _FOREST, {name: metric.ideal for name, metric in METRICS.items()})


def _summary_tables(evaluation: Evaluation, summary: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Table]:
    tables = metrics_tables(summary, evaluation.contenders, evaluation.metrics)
    folds = evaluation.fold_tables()
    for name in evaluation.contenders if folds else ():
        header, *rows = folds[name].rows()
        tables.append(Table(f"Mean over the patients of each fold, {name}", header, rows))
    return tables


def metrics_tables(
    summary: Mapping[str, Mapping[str, Mapping[str, float]]],
    contenders: Sequence[str],
    metrics: Mapping[str, Metric],
) -> list[Table]:
    """The predictors' means, the contenders on top and marked; the best of each metric, whoever reached it, in bold.

    Args:
        summary: predictor -> metric -> `mean`, `low` and `high`, NaN where unknown.
        contenders: what is judged.
        metrics: in the tables' order.
    """
    names = list(dict.fromkeys((*contenders, *summary)))
    every = list(metrics)
    size = -(-len(every) // max(1, -(-len(every) // _COLUMNS)))  # parts of nearly equal size
    parts = [every[start : start + size] for start in range(0, len(every), size)]
    tables = []
    for place, part in enumerate(parts, start=1):
        rows = [
            [f"{_MARK} {name}" if name in contenders else name]
            + [interval(*(summary[name][metric][one] for one in ("mean", "low", "high"))) for metric in part]
            for name in names
        ]
        best = {
            (row, column)
            for column, metric in enumerate(part, start=1)
            for row in best_rows([summary[name][metric]["mean"] for name in names], metrics[metric])
        }
        which = f", {place} of {len(parts)}" if len(parts) > 1 else ""
        caption = f"Mean over patients [95 % interval]{which}; {_MARK} is judged here, bold is the best"
        marked = range(len([name for name in names if name in contenders]))
        tables.append(Table(caption, ["predictor", *part], rows, best=best, marked=marked))
    return tables


def best_rows(values: Sequence[float], metric: Metric) -> list[int]:
    """Which of the figures are the best of a metric; none where there is nothing to choose from."""
    known = {index: value for index, value in enumerate(values) if np.isfinite(value)}
    if len(known) < 2:
        return []
    rank = {
        index: {"lower": value, "higher": -value}.get(metric.better, abs(value - metric.ideal))
        for index, value in known.items()
    }
    return [index for index, value in rank.items() if value == min(rank.values())]


def _tests_note(evaluation: Evaluation) -> str:
    patients = len(set(evaluation.patients))
    return (
        "Paired over patients, two-sided; p is corrected after Holm over all tests of the table. With "
        f"{patients} patients the Wilcoxon test cannot go below {min(1.0, 2.0 ** (1 - patients)):.2g} uncorrected. "
        "The last column is the independent t-test, as papers publish it: it ignores the pairing and is not corrected."
    )


def _tests_table(evaluation: Evaluation) -> Table:
    rows = [
        [test.metric, test.first, test.second,
         interval(test.difference.value, test.difference.low, test.difference.high),
         p_value(test.wilcoxon_p), p_value(test.wilcoxon_p_holm), p_value(test.t_p_holm),
         p_value(test.independent.p if test.independent else float("nan"))]
        for test in evaluation.tests()
    ]  # fmt: skip
    header = ["metric", "first", "second", "first − second [95 % interval]", "Wilcoxon p", "Holm", "paired t, Holm",
              "independent t p, as published"]  # fmt: skip
    return Table("Paired tests", header, rows, wide=len(rows) > 30)


def _montages(evaluation: Evaluation, folder: Path) -> list[figures.Picture]:
    """The patients with the median and the largest error of the first contender."""
    errors = np.array(evaluation.scores[evaluation.contenders[0]]["MAE"])
    order = np.argsort(errors)
    chosen = {"Median patient": int(order[len(order) // 2]), "Worst patient": int(order[-1])}
    pictures = []
    for title, index in chosen.items():
        planes = _planes(record_path(folder, evaluation.subjects[index]).with_suffix(".safetensors"))
        if planes:
            mae = f"MAE of {evaluation.contenders[0]} {errors[index]:.3g}"
            whose = f"{title}, {evaluation.subjects[index]} ({mae})"
            pictures.append(_planes_of_patient(evaluation, planes, whose, title.lower().replace(" ", "-")))
    return pictures if len(set(chosen.values())) > 1 else pictures[:1]


def _planes(path: Path) -> dict[str, list[np.ndarray]]:
    from safetensors.numpy import load_file

    if not path.exists():
        return {}
    arrays = load_file(path)
    names = dict.fromkeys(name.rpartition("/")[0] for name in arrays if name.rpartition("/")[2] in PLANES)
    return {
        name: [_upright(arrays[f"{name}/{plane}"].astype(np.float32), axis) for axis, plane in enumerate(PLANES)]
        for name in names
    }


def _planes_of_patient(
    evaluation: Evaluation, planes: Mapping[str, list[np.ndarray]], title: str, name: str
) -> figures.Picture:
    measured = planes[MEASURED]
    blocks = [Block("source", planes["source"], "anatomy"), Block(MEASURED, measured)]
    errors = []
    for made in evaluation.contenders[:_MOST_SHOWN]:
        errors.append([one - real for one, real in zip(planes[made], measured, strict=True)])
        blocks += [Block(made, planes[made]), Block(f"{made} \N{MINUS SIGN} measured", errors[-1], "difference")]
    cards = evaluation.facts["models"]
    shown = np.concatenate([plane.ravel() for plane in measured])
    window = value_window(cards[0]["output"]["display_window"] if cards else None, shown[shown != 0])
    every = np.concatenate([plane[real != 0] for one in errors for plane, real in zip(one, measured, strict=True)])
    quantity = "SUVR" if evaluation.facts["route"]["target"].endswith("PET") else "signal"
    limit = difference_limit(every, window)
    return _montage(blocks, window, limit, quantity, evaluation.units, title=title, name=name)


def _agreement_section(evaluation: Evaluation) -> Section:
    rows = evaluation.agreement()
    primary = PRIMARY_REGIONS.get(evaluation.facts["route"]["target"], ("braak_5",))[0]
    index = next(i for i, r in enumerate(regions()) if (r.name, r.hemisphere) == (primary, "both"))
    measured = evaluation.regional_of_patients(MEASURED)[:, index]
    pictures = []
    points = {}
    for name in evaluation.contenders:
        made = evaluation.regional_of_patients(name)[:, index]
        known = np.isfinite(made) & np.isfinite(measured)
        if known.sum() >= 3:
            points[name] = (made[known], measured[known])
            title = f"{structure_name(primary)}, {name}"
            pictures.append(
                figures.bland_altman(
                    made[known], measured[known], title, evaluation.units, name=f"bland-altman-{len(points)}"
                )
            )
    if points:
        pictures.insert(0, figures.identity_scatter(points, structure_name(primary), evaluation.units))
    pictures.append(_mean_bars(evaluation))
    meta = [row for row in rows if row.kind == "meta-region" and row.hemisphere == "both"]
    return Section(
        "Regional agreement",
        [
            "Mean of each region per patient. Bias and limits of agreement after Bland and Altman; ICC(2,1) is "
            "absolute agreement; a slope below 1 is regression to the mean.",
        ],
        [_agreement_table("Meta-regions", meta, wide=False), _agreement_table("All regions", rows, wide=True)],
        pictures,
    )


def _mean_bars(evaluation: Evaluation) -> figures.Picture:
    meta = [(i, r) for i, r in enumerate(regions()) if r.kind == "meta-region" and r.hemisphere == "both"]
    # A region that the grid does not hold has no mean in anybody.
    chosen = [(i, r) for i, r in meta if np.isfinite(evaluation.regional[MEASURED][:, i]).any()]
    series = {
        name: [float(np.nanmean(evaluation.regional[name][:, i])) for i, _ in chosen]
        for name in (MEASURED, *evaluation.contenders)
    }
    return figures.region_bars([structure_name(r.name) for _, r in chosen], series, evaluation.units)


def _agreement_table(caption: str, rows: Sequence[AgreementRow], *, wide: bool) -> Table:
    header = ["region", "side", "predictor", "patients", "bias [95 %]", "limits of agreement", "ICC(2,1) [95 %]",
              "slope [95 %]", "r", "MAE"]  # fmt: skip
    cells = [
        [structure_name(row.region), row.hemisphere, row.predictor, str(row.count),
         interval(row.bias, row.bias_low, row.bias_high), _limits(row), interval(row.icc, row.icc_low, row.icc_high),
         interval(row.slope, row.slope_low, row.slope_high), number(row.r, 2), number(row.mae, 2)]
        for row in rows
    ]  # fmt: skip
    return Table(caption, header, cells, wide)


def _limits(row: AgreementRow) -> str:
    width = row.limit_high - row.limit_low
    if not np.isfinite(width) or width <= 0:
        return number(row.bias)
    return f"{rounded(row.limit_low, width)} to {rounded(row.limit_high, width)}"


def _fairness_section(evaluation: Evaluation, fairness: Mapping[str, Sequence[Any]]) -> Section:
    groups = patient_groups(evaluation.groups, evaluation.patients)
    lead = evaluation.contenders[0]
    rows = [
        [name, row.variable, row.group, row.metric, str(row.value.count),
         interval(row.value.value, row.value.low, row.value.high), number(row.gap),
         p_value(row.p_holm)]
        for name, found in fairness.items()
        for row in found
    ]  # fmt: skip
    header = ["predictor", "variable", "group", "metric", "patients", "mean [95 %]", "gap to the others", "p (Holm)"]
    return Section(
        "Subgroups",
        ["Mann-Whitney test of each group against all others. A missing difference in a small group proves nothing."],
        [Table("Figures by subgroup", header, rows, wide=len(rows) > 40)],
        [figures.violins(evaluation.patient_scores(lead)["MAE"], groups, f"MAE of {lead}, {evaluation.units}")],
    )  # fmt: skip


def _definitions(evaluation: Evaluation) -> Table:
    rows = [
        [name, metric.definition, metric.unit or "none", number(float(metric.ideal)), metric.better,
         f"{evaluation.data_range:g}" if metric.uses_data_range else "not used"]
        for name, metric in evaluation.metrics.items()
    ]  # fmt: skip
    return Table(
        "Metrics, inside the brain mask", ["metric", "definition", "unit", "ideal", "better", "data range"], rows
    )


def _checklist_section(facts: Mapping[str, Any], *, subgroups: bool, calibrated: bool) -> Section:
    items = checklist(facts, subgroups=subgroups, calibrated=calibrated)
    tables = []
    for name in dict.fromkeys(item.checklist for item in items):
        mine = [item for item in items if item.checklist == name]
        filled = sum(item.filled for item in mine)
        tables.append(
            Table(
                f"{name}: {filled} of {len(mine)} items filled in from provenance",
                ["no.", "item", "answer"],
                [[str(item.number), item.item, item.answer] for item in mine],
                wide=True,
            )
        )
    return Section(
        "Reporting checklists",
        ["Items are named in short; the published wording binds. What provenance does not know is the authors' part."],
        tables,
    )
