"""The command line. Each command is a few lines over one room; heavy libraries are imported where they are used."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modality_synthesis import choices, cli_checks
from modality_synthesis._version import __version__
from modality_synthesis.cli_figures import figures_app
from modality_synthesis.cli_recipes import recipes_app, sample
from modality_synthesis.cli_session import ProgressOption, require_all
from modality_synthesis.cli_session import command as _command
from modality_synthesis.cli_session import need as _need
from modality_synthesis.cli_session import one_result as _one_result
from modality_synthesis.cli_session import result as _result
from modality_synthesis.console import JsonReporter, finish, write_json_line
from modality_synthesis.environment import shown
from modality_synthesis.errors import ModalitySynthesisError, UsageError
from modality_synthesis.evaluation.requests import check_contenders, check_report, check_way_of_atlas

if TYPE_CHECKING:
    from modality_synthesis.progress import Reporter

app = typer.Typer(
    help="Synthesize one brain modality from another and measure how far the result can be trusted. "
    "Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


models_app = typer.Typer(help="Model packages: list, show, install, remove, verify, export, import.",
                         no_args_is_help=True, rich_markup_mode=None)  # fmt: skip
app.add_typer(models_app, name="models")
app.add_typer(figures_app, name="figures")
app.add_typer(recipes_app, name="recipes")
app.command(epilog="Example: modality-synthesis sample -o head.nii.gz")(sample)

PARTLY_DONE = 3
FromOption = Annotated[
    str | None, typer.Option("--from", help="What the input is (T1w, CT, ...), where it does not say so itself.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
SeedOption = Annotated[int, typer.Option("--seed", help="For generators that draw noise.")]
SamplesOption = Annotated[
    int, typer.Option("--samples", min=1, help="Samples to draw (diffusion models); the volume is their mean.")
]
ManufacturerOption = Annotated[
    str | None,
    typer.Option("--manufacturer", help="Of the scanner whose image is wanted: Siemens, GE, Philips, ... or pooled."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="FOLDER",
        help="For preprocessed volumes and checks; default MODALITY_SYNTHESIS_CACHE, .cache beside the table, or where "
        "that is read-only, your own cache folder.",
    ),
]  # fmt: skip
SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series", metavar="N", help="Of a DICOM folder with several series: number or UID. FOLDER#N says the same."
    ),
]
RowTimeoutOption = Annotated[
    float | None,
    typer.Option("--row-timeout", metavar="SECONDS", min=1, help="Give a row up that takes longer; default never."),
]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=1, help="Worker processes; default one per core.")]


@app.command(epilog="Example: modality-synthesis synthesize sub-01_T1w.nii.gz --to FDG-PET -o sub-01_pet.nii.gz")
def synthesize(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Volume file, or a DICOM folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Volume to write; its .json sidecar goes beside it.")],
    to: Annotated[str | None, typer.Option("--to", help="Target modality, FDG-PET for example.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model id or package folder, instead of --to.")] = None,
    origin: FromOption = None,
    series: SeriesOption = None,
    clinical: Annotated[
        str, typer.Option("--clinical", help="Clinical variables: age=71,sex=F (others unknown).")
    ] = "",
    manufacturer: ManufacturerOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    samples: SamplesOption = 1,
    uncertainty: Annotated[
        Path | None, typer.Option("--uncertainty", help="Volume of the samples' standard deviation to write.")
    ] = None,
    space: Annotated[str, typer.Option("--space", metavar="native|template", help="Grid of the result.")] = "native",
    preview: Annotated[Path | None, typer.Option("--preview", help="Also write a picture (PNG).")] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Turn a volume into another modality, on the input's own grid."""
    with _command(progress) as reporter:
        cli_checks.one_of("space", space, choices.SPACES)
        cli_checks.device(device)
        cli_checks.volumes(source)
        cli_checks.target(to, model, origin)
        cli_checks.outputs([output, uncertainty])
        cli_checks.outputs([preview], [".png"])
        from modality_synthesis.synthesis.clinical import parse_clinical

        values = parse_clinical(clinical)
        from modality_synthesis.synthesis import synthesize as run
        from modality_synthesis.volumes import check_outputs, sidecar_path, with_series

        source = with_series(source, series)
        check_outputs([preview], described=[output, uncertainty], inputs=[source])
        with _one_result():
            result = run(
                source, output, to=to, model=model, origin=origin, clinical=values, manufacturer=manufacturer,
                device=device, seed=seed, space=space, samples=samples, uncertainty=uncertainty, reporter=reporter,
            )  # fmt: skip
            if preview is not None:
                from modality_synthesis.evaluation import save_preview

                save_preview(result, preview)
        files = {"volume": output, "sidecar": sidecar_path(output)}
        if uncertainty is not None:
            files |= {"uncertainty": uncertainty, "uncertainty_sidecar": sidecar_path(uncertainty)}
        if preview is not None:
            files["preview"] = preview
        _result(reporter, files, model=result.package.card.id, quality=result.prepared.quality)


@app.command(epilog="Example: modality-synthesis batch cohort.csv --to FDG-PET -o results --resume")
def batch(
    cohort: Annotated[Path, typer.Argument(help="Cohort table (CSV or TSV).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    to: Annotated[str | None, typer.Option("--to", help="Target modality, FDG-PET for example.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model id or package folder, instead of --to.")] = None,
    origin: FromOption = None,
    manufacturer: ManufacturerOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what is done already.")] = False,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    samples: SamplesOption = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
    preview: Annotated[
        bool, typer.Option("--preview", help="Also a picture per row, and batch.html with all.")
    ] = False,
    cache: CacheOption = None,
    row_timeout: RowTimeoutOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Synthesize every row of a table; exit code 3 when only some succeed."""
    with _command(progress) as reporter:
        cli_checks.device(device)
        cli_checks.existing(cohort)
        cli_checks.output_folder(output)
        cli_checks.target(to, model, origin)
        from modality_synthesis.evaluation import save_preview
        from modality_synthesis.synthesis.batch import TABLE, synthesize_batch

        rows = synthesize_batch(
            cohort, output, to=to, model=model, origin=origin, manufacturer=manufacturer, resume=resume,
            device=device, seed=seed, samples=samples, jobs=jobs, cache=cache, limit_s=row_timeout,
            preview=save_preview if preview else None, reporter=reporter,
        )  # fmt: skip
        files = {"table": output / TABLE}
        if preview:
            from modality_synthesis.evaluation.batch_page import write_batch_page

            files["page"] = write_batch_page(output, rows)
        states = {state: sum(row.state == state for row in rows) for state in ("done", "skipped", "failed")}
        finish(reporter)
        for row in rows:
            if row.state == "failed" and not isinstance(reporter, JsonReporter):
                print(shown(f"Failed: {row.subject} {row.session}: {row.message}"), file=sys.stderr)
        _result(reporter, files, **states)
        require_all(len(rows) - states["failed"], len(rows))


@app.command(epilog="Example: modality-synthesis compare synthetic_pet.nii.gz real_pet.nii.gz -o comparison")
def compare(
    synthetic: Annotated[Path, typer.Argument(help="Synthetic volume.")],
    reference: Annotated[Path, typer.Argument(help="Real volume, in the same units.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for figures and maps.")] = None,
    difference: Annotated[Path | None, typer.Option("--difference", help="File for the signed difference.")] = None,
    series: SeriesOption = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Compare inside this mask.")] = None,
    data_range: Annotated[float | None, typer.Option("--data-range", help="For PSNR and SSIM, in units.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Align the reference rigidly first.")] = False,
    match_signal: Annotated[
        bool | None,
        typer.Option("--match-signal/--no-match-signal", help="MRI has no unit: scale the reference (default: if so)."),
    ] = None,
    mri: Annotated[Path | None, typer.Option("--mri", help="T1w MRI, aligned: adds a table of atlas regions.")] = None,
    template_space: Annotated[
        bool, typer.Option("--template-space", help="Both are in MNI152 space: adds the table of regions.")
    ] = False,
    uncertainty: Annotated[
        Path | None, typer.Option("--uncertainty", help="Standard deviation of the synthetic volume: adds calibration.")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write report.html (and report.pdf).")] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Compare a synthetic volume with the real one: figures, difference maps, regions, report."""
    with _command(progress) as reporter:
        check_way_of_atlas("volumes", mri, template_space, required=False)
        check_report(report, output)
        cli_checks.positive("--data-range", data_range)
        cli_checks.volumes(synthetic, reference, mask, mri, uncertainty)
        cli_checks.output_folder(output)
        cli_checks.outputs([difference])
        from modality_synthesis.cli_tables import print_comparison
        from modality_synthesis.evaluation import compare as run
        from modality_synthesis.volumes import with_series

        with _one_result():
            result = run(
                synthetic, with_series(reference, series), output, mask=mask, difference=difference,
                data_range=data_range, register=register, match_signal=match_signal, mri=mri,
                template_space=template_space, uncertainty=uncertainty, report=report, reporter=reporter,
            )  # fmt: skip
        finish(reporter)
        if not isinstance(reporter, JsonReporter):
            print_comparison(result)
        files = {} if output is None else {"metrics": output / "metrics.json", "maps": output}
        if output is not None and report:
            files["report"] = output / "report.html"
        _result(reporter, files if difference is None else {**files, "difference": difference}, metrics=result.metrics)


@app.command(epilog="Example: modality-synthesis suvr pet.nii.gz --mri t1.nii.gz -o regions.csv --image suvr.nii.gz")
def suvr(
    pet: Annotated[Path, typer.Argument(help="PET volume, real or synthetic.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of regions (CSV).")],
    series: SeriesOption = None,
    mri: Annotated[Path | None, typer.Option("--mri", help="The person's T1w MRI, aligned with the PET.")] = None,
    template_space: Annotated[bool, typer.Option("--template-space", help="The PET is in MNI152 space.")] = False,
    reference_region: Annotated[
        str,
        typer.Option(
            "--reference-region",
            help="cerebellar-gray, whole-cerebellum, pons, cerebellum-pons or white-matter-eroded.",
        ),
    ] = "cerebellar-gray",
    reference_mask: Annotated[
        Path | None, typer.Option("--reference-mask", help="A mask of your own instead, aligned with the PET.")
    ] = None,
    normal_cohort: Annotated[
        Path | None, typer.Option("--normal-cohort", help="Table of healthy people (region, mean, sd): adds z-scores.")
    ] = None,
    tracer: Annotated[str | None, typer.Option("--tracer", help="florbetapir or florbetaben: adds Centiloids.")] = None,
    pvc_fwhm: Annotated[
        float | None, typer.Option("--pvc-fwhm", help="Correct for a point spread of this many mm (iterative Yang).")
    ] = None,
    image: Annotated[Path | None, typer.Option("--image", help="Also write the SUVR volume.")] = None,
    z_map: Annotated[
        Path | None, typer.Option("--z-map", help="Also write a volume of the regions' z-scores (--normal-cohort).")
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option("--label-map", help="Also write the regions' labels on the PET's grid.")
    ] = None,
    progress: ProgressOption = "auto",
) -> None:
    """SUVR and its table of regions and meta-regions."""
    with _command(progress) as reporter:
        check_way_of_atlas("PET", mri, template_space, required=True)
        cli_checks.one_of("reference region", reference_region, choices.REFERENCE_REGIONS)
        if tracer is not None:
            from modality_synthesis.preprocessing.meta_regions import CENTILOID

            cli_checks.one_of("tracer", tracer, tuple(CENTILOID))
        cli_checks.positive("--pvc-fwhm", pvc_fwhm)
        cli_checks.volumes(pet, mri, reference_mask)
        cli_checks.existing(normal_cohort)
        cli_checks.outputs([output], [".csv"])
        cli_checks.outputs([image, z_map, label_map])
        from modality_synthesis.evaluation import suvr as run
        from modality_synthesis.volumes import with_series

        with _one_result():
            result = run(
                with_series(pet, series), output, mri=mri, template_space=template_space,
                reference_region=reference_region, custom_reference=reference_mask, normal_cohort=normal_cohort,
                tracer=tracer, pvc_fwhm_mm=pvc_fwhm,
                image=image, z_map=z_map, label_map=label_map, reporter=reporter,
            )  # fmt: skip
        written = {"table": output, "image": image, "z_map": z_map, "label_map": label_map}
        files = {role: path for role, path in written.items() if path is not None}
        meta = {
            row.region: round(row.suvr, 4)
            for row in result.rows
            if (row.kind, row.hemisphere) == ("meta-region", "both")
        }
        _result(
            reporter, files, reference_region=result.reference_region, reference_mean=result.reference_mean, meta=meta,
            centiloid=result.centiloid,
        )  # fmt: skip


@app.command(epilog="Example: modality-synthesis export sub-01_pet.nii.gz -o sub-01_dicom --source-dicom sub-01_mri")
def export(
    volume: Annotated[Path, typer.Argument(help="Synthetic volume with its .json sidecar beside it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="New folder for the DICOM files.")],
    file_format: Annotated[
        str, typer.Option("--format", metavar="dicom-series|dicom-parametric-map", help="16-bit slices, or exact.")
    ] = "dicom-series",
    source_dicom: Annotated[
        Path | None,
        typer.Option("--source-dicom", help="The source's DICOM series: take patient, study and space from it."),
    ] = None,
    series: SeriesOption = None,
    patient_id: Annotated[str, typer.Option("--patient-id", help="Without a source; default neutral.")] = "",
    patient_name: Annotated[str, typer.Option("--patient-name", help="Family^Given; default SYNTHETIC.")] = "",
    progress: ProgressOption = "auto",
) -> None:
    """Write a synthetic volume as DICOM, marked as synthetic."""
    with _command(progress) as reporter:
        cli_checks.one_of("format", file_format, choices.EXPORT_FORMATS)
        if series is not None and source_dicom is None:
            raise UsageError("--series chooses in the source's DICOM folder: add --source-dicom FOLDER.")
        cli_checks.volumes(volume, source_dicom)
        cli_checks.output_folder(output)
        from modality_synthesis.synthesis import export_dicom
        from modality_synthesis.volumes import with_series

        if source_dicom is not None:
            source_dicom = with_series(source_dicom, series)
        with _one_result():
            result = export_dicom(
                volume, output, file_format=file_format, source_dicom=source_dicom, patient_id=patient_id,
                patient_name=patient_name, reporter=reporter,
            )  # fmt: skip
        finish(reporter)
        if result.largest_error and not isinstance(reporter, JsonReporter):
            print(f"Stored in steps of {result.step:g}; largest rounding error {result.largest_error:g}")
        _result(reporter, {"folder": output}, step=result.step, largest_error=result.largest_error)


@app.command(
    epilog="Examples: modality-synthesis cohort my-bids-folder -o cohort.tsv --require T1w --require FDG-PET   |   "
    "modality-synthesis cohort cohort.tsv --check"
)
def cohort(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|TABLE", help="BIDS dataset, or a folder laid out like one; for --check a table."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Cohort table to write (TSV or CSV); with --check, the findings (qc.tsv)."),
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option("--require", help="Leave visits without this modality out; repeatable.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Look at every volume instead; exit code 0: all fine, 3: some bad, 1: none."),
    ] = False,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Write a BIDS dataset's cohort table (the best volumes of each visit), or look at all volumes (--check)."""
    with _command(progress) as reporter:
        if output is None and not check:
            raise UsageError("Say which table to write (-o cohort.tsv), or look at the volumes (--check).")
        required = [cli_checks.modality("--require", name) for name in require or ()]
        cli_checks.existing(folder)
        cli_checks.outputs([output], [".tsv"] if check else [".tsv", ".csv"])
        if check or output is None:
            _check_cohort(folder, output, required, jobs, cache, reporter)
            return
        from modality_synthesis.datasets.bids import write_bids_cohort

        with _one_result():
            written = write_bids_cohort(folder, output, require=required, reporter=reporter)
        files = {"cohort": output} | ({"not used": written.unused_list} if written.unused_list else {})
        _result(
            reporter, files, people=written.people, visits=written.visits, pairs=written.pairs,
            left_out=len(written.left_out), not_used=len(written.found.unused),
        )  # fmt: skip


def _check_cohort(
    place: Path, output: Path | None, require: Sequence[str], jobs: int | None, cache: Path | None, reporter: Reporter
) -> None:
    from modality_synthesis.datasets.cohort_check import check_cohort

    screening = check_cohort(place, output, require=require, cache=cache, jobs=jobs, reporter=reporter)
    finish(reporter)
    usable, total = len(screening.usable()), len(screening.visits)
    rows = screening.rows()
    if not isinstance(reporter, JsonReporter):
        for row in rows:
            if row.level != "ok":
                who = f"{row.subject} {row.session}".strip()
                decided = f" ({row.decision}ed in qc.tsv)" if row.decision else ""
                print(shown(f"{row.level:<7} {who:<16} {row.modality:<12} {row.code:<18} {row.message}{decided}"))
        print(f"{usable} of {total} visits can be used.")
    files = {} if output is None else {"findings": output}
    _result(reporter, files, visits=total, left_out=total - usable, qc=[dataclasses.asdict(row) for row in rows])
    if usable < total:
        raise typer.Exit(PARTLY_DONE if usable else 1)


@app.command(epilog="Example: modality-synthesis align cohort.csv --fixed CT --moving T1w --moving T2w -o aligned")
def align(
    cohort: Annotated[Path, typer.Argument(help="Cohort table (CSV or TSV).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for moved volumes, pictures and tables.")],
    fixed: Annotated[str, typer.Option("--fixed", help="Modality that stays: CT, or T1w for PET.")],
    moving: Annotated[list[str], typer.Option("--moving", help="Modality brought onto it; repeatable.")],
    affine: Annotated[bool, typer.Option("--affine", help="Also scale and shear: for distorted scans only.")] = False,
    jobs: JobsOption = None,
    cache: CacheOption = None,
    row_timeout: RowTimeoutOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Align each person's volumes before training; what does not fit is rejected and shown, with exit code 3."""
    with _command(progress) as reporter:
        fixed = cli_checks.modality("--fixed", fixed)
        moving = [cli_checks.modality("--moving", name) for name in moving]
        if fixed in moving or len(set(moving)) < len(moving):
            raise UsageError("--fixed and each --moving are different modalities.")
        cli_checks.existing(cohort)
        cli_checks.output_folder(output)
        from modality_synthesis.datasets.alignment import COHORT, TABLE, align_cohort

        rows = align_cohort(
            cohort, output, fixed=fixed, moving=moving, affine=affine, jobs=jobs, cache=cache, limit_s=row_timeout,
            reporter=reporter,
        )  # fmt: skip
        states = {state: sum(row.state == state for row in rows) for state in ("aligned", "rejected", "failed")}
        _result(reporter, {"cohort": output / COHORT, "table": output / TABLE}, **states)
        require_all(states["aligned"], len(rows))


@app.command(epilog="Example: modality-synthesis simulate -n 20 -o cohorts/demo --seed 1")
def simulate(
    count: Annotated[int, typer.Option("-n", "--count", min=3, max=100_000, help="Number of subjects.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Cohort folder (BIDS-like).")],
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same cohort.")] = 0,
    modalities: Annotated[str, typer.Option("--modalities", help="Comma-separated.")] = "T1w,T2w,CT,FDG-PET,TAU-PET",
    jobs: JobsOption = None,
    row_timeout: RowTimeoutOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Make a simulated paired cohort from the shipped head label maps."""
    with _command(progress) as reporter:
        names = [name.strip() for name in modalities.split(",") if name.strip()]
        for name in names:
            cli_checks.one_of("modality", name, choices.SIMULATED_MODALITIES)
        if not names:
            raise UsageError(f"--modalities names none of {', '.join(choices.SIMULATED_MODALITIES)}.")
        cli_checks.output_folder(output)
        from modality_synthesis.simulation import simulate_cohort

        left_out: list[str] = []

        def leave_out(subject: str, error: ModalitySynthesisError) -> None:
            left_out.append(subject)
            reporter.warning(f"{subject} is left out: {error}")

        table = simulate_cohort(
            count, output, seed=seed, modalities=names, jobs=jobs, limit_s=row_timeout, on_failure=leave_out,
            reporter=reporter,
        )  # fmt: skip
        _result(reporter, {"cohort": table}, left_out=len(left_out))
        if left_out:
            raise typer.Exit(PARTLY_DONE)


@app.command(
    epilog="Example: modality-synthesis train Training/recipes/demo-t1w-fdg.yaml -o runs/demo training.epochs=5"
)
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; default runs/NAME.")] = None,
    cohort: Annotated[Path | None, typer.Option("--cohort", help="Cohort table instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    fold: Annotated[str | None, typer.Option("--fold", metavar="I/K", help="One fold of a cross-validation.")] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="K", min=2, help="All K folds, one after another.")
    ] = None,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, gpu or mps.")] = "auto",
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Per machine; default 1, or what torchrun or SLURM started.")
    ] = None,
    num_nodes: Annotated[int | None, typer.Option("--num-nodes", min=1, help="Machines; default as above.")] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", metavar="auto|ddp", help="With several devices: ddp.")
    ] = "auto",
    jobs: JobsOption = None,
    cache: CacheOption = None,
    row_timeout: RowTimeoutOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Train a generator from a recipe and write its model package."""
    with _command(progress) as reporter:
        _need("lightning", "yaml", extra="train")
        cli_checks.one_of("accelerator", accelerator, choices.ACCELERATORS)
        cli_checks.one_of("strategy", strategy, choices.STRATEGIES)
        if fold is not None and folds is not None:
            raise UsageError("Give --fold or --folds, not both.")
        cli_checks.existing(recipe, cohort)
        from modality_synthesis.training import parse_fold, read_recipe
        from modality_synthesis.training.processes import check_wish

        check_wish(accelerator, devices, num_nodes, strategy)
        part = None if fold is None else parse_fold(fold)
        settings = read_recipe(recipe, overrides or [])
        cli_checks.existing(cohort or Path(settings.cohort))
        cli_checks.models(settings.start_from)
        folder = output or Path("runs") / settings.name
        cli_checks.output_folder(folder)
        from modality_synthesis.training import train as run
        from modality_synthesis.training import train_folds
        from modality_synthesis.training.folds import TABLE

        hardware: dict[str, Any] = {
            "accelerator": accelerator,
            "devices": devices,
            "num_nodes": num_nodes,
            "strategy": strategy,
            "limit_s": row_timeout,
            "cache": cache,
        }
        if folds is not None:
            done = train_folds(
                settings, folder, folds, cohort=cohort, resume=resume, jobs=jobs, reporter=reporter, **hardware
            )
            if done.table is None:  # a process that helped the one that reports
                return
            finish(reporter)
            if not isinstance(reporter, JsonReporter):
                print(shown(done.table.markdown()), end="")
            _result(reporter, {"folds": folder, "table": folder / TABLE}, summary=done.table.summary(),
                    left_out=done.left_out)  # fmt: skip
            if done.left_out:
                raise typer.Exit(PARTLY_DONE)
            return
        result = run(
            settings, folder, cohort=cohort, resume=resume, jobs=jobs, part=part,
            reporter=reporter, **hardware,
        )  # fmt: skip
        if result.package is None:  # a process that helped the one that reports
            return
        files = {"package": result.package.folder, "report": result.folder / "report.html", "run": result.folder}
        verdict = result.package.card.verdict
        if verdict and not isinstance(reporter, JsonReporter):
            finish(reporter)
            print(shown(verdict))
        _result(reporter, files, model=result.package.card.id, verdict=verdict, left_out=result.left_out)
        if result.left_out:
            raise typer.Exit(PARTLY_DONE)


@app.command(epilog="Example: modality-synthesis report runs/demo")
def report(run: Annotated[Path, typer.Argument(help="Run folder of a finished training.")]) -> None:
    """Write a training's report (report.html) again."""
    with _command("none") as reporter:
        cli_checks.existing(run)
        from modality_synthesis.training import write_report

        _result(reporter, {"report": write_report(run)})


@app.command(epilog="Example: modality-synthesis evaluate cohorts/fdg/cohort.tsv --model demo-t1w-fdg -o evaluation")
def evaluate(
    cohort: Annotated[Path, typer.Argument(help="Cohort table with source and target volumes.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report, metrics.json and tables.")],
    model: Annotated[list[str] | None, typer.Option("--model", help="Model id or package folder; repeatable.")] = None,
    synthetic: Annotated[
        list[str] | None, typer.Option("--synthetic", help="Column of synthetic volumes to read; repeatable.")
    ] = None,
    uncertainty: Annotated[
        str | None, typer.Option("--uncertainty", help="Column of the first --synthetic's standard deviations.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Target modality, without a model.")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "test",
    folds: Annotated[
        str | None, typer.Option("--folds", help="Column of folds; one --model per fold, trained without it.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Column for subgroups; repeatable. Default: all that fit.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Score simple predictors too.")] = True,
    data_range: Annotated[float | None, typer.Option("--data-range", help="For PSNR and SSIM, target units.")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Samples per model; 2 or more: calibration.")] = 1,
    downstream: Annotated[
        bool,
        typer.Option("--downstream", help="Classify patients, vary clinical variables, project onto the surface."),
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="COLUMN=HEALTHY,PATIENTS", help="Default diagnosis=CN,AD."),
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html and report.pdf.")] = True,
    keep_volumes: Annotated[
        bool, typer.Option("--keep-volumes", help="Also write the models' volumes as NIfTI with sidecars.")
    ] = False,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    cache: CacheOption = None,
    row_timeout: RowTimeoutOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Judge models on a cohort beside the baselines they must beat; started again, it goes on where it stopped."""
    with _command(progress) as reporter:
        cli_checks.device(device)
        cli_checks.one_of("split", split, choices.SPLITS)
        check_report(downstream, output, "The downstream evaluation")
        check_contenders(model or (), synthetic or (), uncertainty)
        to = None if to is None else cli_checks.modality("--to", to)
        cli_checks.positive("--data-range", data_range)
        from modality_synthesis.evaluation import Classes

        asked = None if classes is None else Classes.parse(classes)
        cli_checks.existing(cohort)
        cli_checks.output_folder(output)
        cli_checks.models(*(model or ()))
        if downstream:
            _need("sklearn", extra="downstream")
        from modality_synthesis.cli_tables import print_evaluation
        from modality_synthesis.evaluation import evaluate as run
        from modality_synthesis.evaluation.verdict import verdicts

        result = run(
            cohort, model or (), output, synthetic=synthetic or (), uncertainty=uncertainty, to=to, split=split,
            folds=folds, groups=group, baselines=baselines, data_range=data_range, samples=samples, report=report,
            classes=asked, downstream=downstream,
            keep_volumes=keep_volumes, device=device, jobs=jobs, cache=cache, limit_s=row_timeout, reporter=reporter,
        )  # fmt: skip
        finish(reporter)
        if not isinstance(reporter, JsonReporter):
            print_evaluation(result)
        files = {"metrics": output / "metrics.json", "subjects": output / "metrics.csv"}
        files |= {"volumes": output / "volumes"} if keep_volumes else {}
        files |= {"report": output / "report.html"} if report else {}
        verdict = [one.as_dict() for one in verdicts(result)]
        _result(reporter, files, summary=result.summary(), verdict=verdict, left_out=dict(result.left_out))
        if result.left_out:
            raise typer.Exit(PARTLY_DONE)


@app.command(epilog="Example: modality-synthesis doctor --json")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Check this installation: versions, devices, models."""
    with _command("none"):
        from modality_synthesis.doctor import examine, print_report

        report = examine()
        if as_json:
            write_json_line(report)
        else:
            print_report(report)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@models_app.command("list", epilog="Example: modality-synthesis models list --to FDG-PET")
def models_list(
    source: Annotated[str | None, typer.Option("--from", help="Only models from this modality.")] = None,
    target: Annotated[str | None, typer.Option("--to", help="Only models to this modality.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the installed models."""
    with _command("none") as reporter:
        source = None if source is None else cli_checks.modality("--from", source)
        target = None if target is None else cli_checks.modality("--to", target)
        from modality_synthesis.models import hidden_by, list_models

        packages = list_models(source=source, target=target, reporter=reporter)
        if as_json:
            cards = [
                {
                    "folder": str(found.folder),
                    "hides": [str(other.folder) for other in hidden_by(found)],
                    **found.card.model_dump(mode="json"),
                }
                for found in packages
            ]
            write_json_line({"models": cards})
            return
        for found in packages:
            card = found.card
            route = f"{card.route.source} -> {card.route.target}"
            print(shown(f"{card.id:<24} {card.version:<8} {route:<18} {card.badge:<14} {card.name}"))
            for other in hidden_by(found):
                print(shown(f"{'':<24} hides {other.card.id} {other.card.version} in {other.folder}"))
        if not packages:
            print("No models installed. Install one with: modality-synthesis models install FOLDER_OR_ZIP")


@models_app.command("show", epilog="Example: modality-synthesis models show demo-t1w-fdg")
def models_show(model: Annotated[str, typer.Argument(help="Model id or package folder.")]) -> None:
    """Print a model's card (model.json)."""
    with _command("none"):
        from modality_synthesis.models import find_model

        print(shown(find_model(model).card.model_dump_json(indent=2)))


@models_app.command("install", epilog="Example: modality-synthesis models install my-model.zip --sha256 0123...")
def models_install(
    source: Annotated[str, typer.Argument(help="Package folder, zip file or https URL.")],
    sha256: Annotated[str | None, typer.Option("--sha256", help="Expected SHA-256 of the zip.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an installed model of that id.")] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Install a model package; it is verified before it becomes visible."""
    with _command(progress) as reporter:
        if "://" not in source:
            cli_checks.existing(Path(source))
        from modality_synthesis.models import install_model

        package = install_model(source, sha256=sha256, replace=replace, reporter=reporter)
        _result(reporter, {"package": package.folder}, model=package.card.id)


@models_app.command("remove", epilog="Example: modality-synthesis models remove my-model")
def models_remove(model: Annotated[str, typer.Argument(help="Model id.")]) -> None:
    """Remove an installed model."""
    with _command("none"):
        from modality_synthesis.models import remove_model

        print(shown(f"Removed {remove_model(model)}"))


@models_app.command("verify", epilog="Example: modality-synthesis models verify demo-t1w-fdg")
def models_verify(model: Annotated[str, typer.Argument(help="Model id or package folder.")]) -> None:
    """Check a model's card against the schema and its weights against their SHA-256."""
    with _command("none"):
        from modality_synthesis.models import verify_model

        package = verify_model(model)
        print(f"{package.card.id} {package.card.version}: card and weights are intact")


@models_app.command("export", epilog="Example: modality-synthesis models export demo-t1w-fdg -o demo.zip")
def models_export(
    model: Annotated[str, typer.Argument(help="Model id or package folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Zip file to write.")],
) -> None:
    """Pack a model into a zip file that `models install` takes."""
    with _command("none") as reporter:
        cli_checks.models(model)
        cli_checks.outputs([output], [".zip"])
        from modality_synthesis.models import export_model

        with _one_result():
            export_model(model, output)
        _result(reporter, {"zip": output})


@models_app.command(
    "import",
    epilog="Example: modality-synthesis models import model.pt --format pasta --config my-pasta.yaml -o my-pasta",
)
def models_import(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint file.")],
    config: Annotated[Path, typer.Option("--config", help="Recipe (YAML) with what the checkpoint does not hold.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model package to write.")],
    format: Annotated[str, typer.Option("--format", metavar="pasta", help="Which program wrote it.")] = "pasta",
    progress: ProgressOption = "auto",
) -> None:
    """Make a model package from a checkpoint of another program; nothing in it is executed."""
    with _command(progress) as reporter:
        _need("yaml", extra="train")
        cli_checks.one_of("format", format, choices.CHECKPOINT_FORMATS)
        cli_checks.existing(checkpoint, config)
        cli_checks.output_folder(output)
        from modality_synthesis.training import import_checkpoint

        with _one_result():
            package = import_checkpoint(checkpoint, config, output, format=format, reporter=reporter)
        _result(reporter, {"package": package.folder}, model=package.card.id)


def main() -> None:
    """Entry point, also of `python -m modality_synthesis.cli` and of the panels' worker."""
    from modality_synthesis.program import run

    run(lambda: app)


if __name__ == "__main__":
    main()
