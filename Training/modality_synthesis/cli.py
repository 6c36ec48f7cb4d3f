"""The command line. Each command is a few lines over one room; heavy libraries are imported where they are used."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from modality_synthesis._version import __version__
from modality_synthesis.console import JsonReporter, ProgressKind, finish, make_reporter, write_json_line
from modality_synthesis.errors import CancelledError, ModalitySynthesisError
from modality_synthesis.progress import Reporter

app = typer.Typer(
    help="Synthesize one brain modality from another and measure how far the result can be trusted. "
    "Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="Model packages: list, show, install, remove, verify, export.", no_args_is_help=True,
                         rich_markup_mode=None)  # fmt: skip
app.add_typer(models_app, name="models")

ProgressOption = Annotated[
    str,
    typer.Option("--progress", metavar="auto|bar|json|none", help="How progress is shown (json: worker protocol)."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
JobsOption = Annotated[int | None, typer.Option("--jobs", min=1, help="Worker processes; default one per core.")]


@app.command(epilog="Example: modality-synthesis synthesize sub-01_T1w.nii.gz --to FDG-PET -o sub-01_pet.nii.gz")
def synthesize(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Volume file, or a DICOM folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Volume to write; its .json sidecar goes beside it.")],
    to: Annotated[str | None, typer.Option("--to", help="Target modality, FDG-PET for example.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model id or package folder, instead of --to.")] = None,
    clinical: Annotated[
        str, typer.Option("--clinical", help="Clinical variables: age=71,sex=F (others unknown).")
    ] = "",
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="For generators that draw noise.")] = 0,
    space: Annotated[str, typer.Option("--space", metavar="native|template", help="Grid of the result.")] = "native",
    preview: Annotated[Path | None, typer.Option("--preview", help="Also write a picture (PNG).")] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Turn a volume into another modality, on the input's own grid."""
    with _command(progress) as reporter:
        from modality_synthesis.synthesis import synthesize as run
        from modality_synthesis.synthesis.clinical import parse_clinical
        from modality_synthesis.volumes import check_writable, sidecar_path

        if preview is not None:
            check_writable(preview, endings=[".png"])
        result = run(
            source, output, to=to, model=model, clinical=parse_clinical(clinical), device=device, seed=seed,
            space=space, reporter=reporter,
        )  # fmt: skip
        files = {"volume": output, "sidecar": sidecar_path(output)}
        if preview is not None:
            from modality_synthesis.evaluation import save_preview

            save_preview(result, preview)
            files["preview"] = preview
        _result(reporter, files, model=result.package.card.id, quality=result.prepared.quality)


@app.command(epilog="Example: modality-synthesis batch cohort.csv --to FDG-PET -o results --resume")
def batch(
    cohort: Annotated[Path, typer.Argument(help="Cohort table (CSV or TSV).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    to: Annotated[str | None, typer.Option("--to", help="Target modality, FDG-PET for example.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model id or package folder, instead of --to.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what is done already.")] = False,
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="For generators that draw noise.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 1,
    progress: ProgressOption = "auto",
) -> None:
    """Synthesize every row of a table; exit code 3 when only some succeed."""
    with _command(progress) as reporter:
        from modality_synthesis.synthesis.batch import TABLE, exit_code, synthesize_batch

        rows = synthesize_batch(
            cohort, output, to=to, model=model, resume=resume, device=device, seed=seed, jobs=jobs, reporter=reporter
        )
        states = {state: sum(row.state == state for row in rows) for state in ("done", "skipped", "failed")}
        finish(reporter)
        for row in rows:
            if row.state == "failed" and not isinstance(reporter, JsonReporter):
                print(f"Failed: {row.subject} {row.session}: {row.message}", file=sys.stderr)
        _result(reporter, {"table": output / TABLE}, **states)
        if code := exit_code(rows):
            raise typer.Exit(code)


@app.command(epilog="Example: modality-synthesis compare synthetic_pet.nii.gz real_pet.nii.gz -o comparison")
def compare(
    synthetic: Annotated[Path, typer.Argument(help="Synthetic volume.")],
    reference: Annotated[Path, typer.Argument(help="Real volume, in the same units.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for figures and maps.")] = None,
    difference: Annotated[Path | None, typer.Option("--difference", help="File for the signed difference.")] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Compare inside this mask.")] = None,
    data_range: Annotated[float | None, typer.Option("--data-range", help="For PSNR and SSIM, in units.")] = None,
    progress: ProgressOption = "auto",
) -> None:
    """Compare a synthetic volume with the real one: figures and difference maps."""
    with _command(progress) as reporter:
        from modality_synthesis.evaluation import compare as run

        result = run(
            synthetic, reference, output, mask=mask, difference=difference, data_range=data_range, reporter=reporter
        )
        finish(reporter)
        if not isinstance(reporter, JsonReporter):
            print(f"Inside the mask ({result.mask_source}), data range {result.data_range:g}:")
            for name, value in result.metrics.as_dict().items():
                print(f"  {name:<5} {value:.4f}")
        files = {} if output is None else {"metrics": output / "metrics.json", "maps": output}
        _result(reporter, files if difference is None else {**files, "difference": difference}, **result.as_dict())


@app.command(epilog="Example: modality-synthesis suvr pet.nii.gz --mri t1.nii.gz -o regions.csv --image suvr.nii.gz")
def suvr(
    pet: Annotated[Path, typer.Argument(help="PET volume, real or synthetic.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table of regions (CSV).")],
    mri: Annotated[Path | None, typer.Option("--mri", help="The person's T1w MRI, aligned with the PET.")] = None,
    template_space: Annotated[bool, typer.Option("--template-space", help="The PET is in MNI152 space.")] = False,
    reference_region: Annotated[
        str, typer.Option("--reference-region", help="cerebellar-gray, whole-cerebellum or pons.")
    ] = "cerebellar-gray",
    image: Annotated[Path | None, typer.Option("--image", help="Also write the SUVR volume.")] = None,
    progress: ProgressOption = "auto",
) -> None:
    """SUVR and its table of regions and meta-regions."""
    with _command(progress) as reporter:
        from modality_synthesis.evaluation import suvr as run

        result = run(
            pet, output, mri=mri, template_space=template_space, reference_region=reference_region, image=image,
            reporter=reporter,
        )  # fmt: skip
        files = {"table": output} if image is None else {"table": output, "image": image}
        meta = {row.region: round(row.mean, 4) for row in result.rows if row.kind == "meta-region"}
        _result(
            reporter, files, reference_region=result.reference_region, reference_mean=result.reference_mean, meta=meta
        )


@app.command(epilog="Example: modality-synthesis simulate -n 20 -o cohorts/demo --seed 1")
def simulate(
    count: Annotated[int, typer.Option("-n", "--count", min=3, help="Number of subjects.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Cohort folder (BIDS-like).")],
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same cohort.")] = 0,
    modalities: Annotated[str, typer.Option("--modalities", help="Comma-separated.")] = "T1w,T2w,CT,FDG-PET,TAU-PET",
    jobs: JobsOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Make a simulated paired cohort from the shipped head label maps."""
    with _command(progress) as reporter:
        from modality_synthesis.simulation import simulate_cohort

        names = [name.strip() for name in modalities.split(",") if name.strip()]
        table = simulate_cohort(count, output, seed=seed, modalities=names, jobs=jobs, reporter=reporter)
        _result(reporter, {"cohort": table})


@app.command(
    epilog="Example: modality-synthesis train Training/recipes/demo-t1w-fdg.yaml -o runs/demo training.epochs=5"
)
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; default runs/NAME.")] = None,
    cohort: Annotated[Path | None, typer.Option("--cohort", help="Cohort table instead of the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    accelerator: Annotated[str, typer.Option("--accelerator", help="auto, cpu, gpu or mps.")] = "auto",
    devices: Annotated[int, typer.Option("--devices", min=1, help="Number of devices.")] = 1,
    jobs: JobsOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Train a generator from a recipe and write its model package."""
    with _command(progress) as reporter:
        _need("lightning", "yaml", extra="train")
        from modality_synthesis.training import read_recipe
        from modality_synthesis.training import train as run

        settings = read_recipe(recipe, overrides or [])
        result = run(
            settings, output or Path("runs") / settings.name, cohort=cohort, resume=resume, accelerator=accelerator,
            devices=devices, jobs=jobs, reporter=reporter,
        )  # fmt: skip
        _result(reporter, {"package": result.package.folder, "run": result.folder}, model=result.package.card.id)


@app.command(epilog="Example: modality-synthesis evaluate cohorts/fdg/cohort.tsv --model demo-t1w-fdg -o evaluation")
def evaluate(
    cohort: Annotated[Path, typer.Argument(help="Cohort table with source and target volumes.")],
    model: Annotated[str, typer.Option("--model", help="Model id or package folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for metrics.json and metrics.csv.")],
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "test",
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Score simple predictors too.")] = True,
    data_range: Annotated[float | None, typer.Option("--data-range", help="For PSNR and SSIM, target units.")] = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    progress: ProgressOption = "auto",
) -> None:
    """Score a model, and the baselines it must beat, on a cohort."""
    with _command(progress) as reporter:
        from modality_synthesis.evaluation import evaluate as run

        result = run(
            cohort, model, output, split=split, baselines=baselines, data_range=data_range, device=device, jobs=jobs,
            reporter=reporter,
        )  # fmt: skip
        finish(reporter)
        summary = result.summary()
        if not isinstance(reporter, JsonReporter):
            _print_table(summary, len(result.subjects), result.data_range)
        _result(
            reporter,
            {"metrics": output / "metrics.json", "subjects": output / "metrics.csv"},
            summary=summary,
        )


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
        from modality_synthesis.models import list_models

        packages = list_models(source=source, target=target, reporter=reporter)
        if as_json:
            cards = [{"folder": str(found.folder), **found.card.model_dump(mode="json")} for found in packages]
            write_json_line({"models": cards})
            return
        for found in packages:
            card = found.card
            route = f"{card.route.source} -> {card.route.target}"
            print(f"{card.id:<24} {card.version:<8} {route:<18} {card.badge:<14} {card.name}")
        if not packages:
            print("No models installed. Install one with: modality-synthesis models install FOLDER_OR_ZIP")


@models_app.command("show", epilog="Example: modality-synthesis models show demo-t1w-fdg")
def models_show(model: Annotated[str, typer.Argument(help="Model id or package folder.")]) -> None:
    """Print a model's card (model.json)."""
    with _command("none"):
        from modality_synthesis.models import find_model

        print(find_model(model).card.model_dump_json(indent=2))


@models_app.command("install", epilog="Example: modality-synthesis models install my-model.zip --sha256 0123...")
def models_install(
    source: Annotated[str, typer.Argument(help="Package folder, zip file or https URL.")],
    sha256: Annotated[str | None, typer.Option("--sha256", help="Expected SHA-256 of the zip.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an installed model of that id.")] = False,
    progress: ProgressOption = "auto",
) -> None:
    """Install a model package; it is verified before it becomes visible."""
    with _command(progress) as reporter:
        from modality_synthesis.models import install_model

        package = install_model(source, sha256=sha256, replace=replace, reporter=reporter)
        _result(reporter, {"package": package.folder}, model=package.card.id)


@models_app.command("remove", epilog="Example: modality-synthesis models remove my-model")
def models_remove(model: Annotated[str, typer.Argument(help="Model id.")]) -> None:
    """Remove an installed model."""
    with _command("none"):
        from modality_synthesis.models import remove_model

        print(f"Removed {remove_model(model)}")


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
        from modality_synthesis.models import export_model

        export_model(model, output)
        _result(reporter, {"zip": output})


def main() -> None:
    """Entry point of the console script."""
    app()


@contextmanager
def _command(progress: str) -> Iterator[Reporter]:
    """Give a command its reporter; turn errors and signals into messages and exit codes."""
    kind: ProgressKind = progress if progress in ("auto", "bar", "json", "none") else "auto"  # type: ignore[assignment]
    reporter = make_reporter(kind)
    before = _on_signals(_cancel)
    try:
        yield reporter
    except ModalitySynthesisError as error:
        _fail(reporter, error.code, str(error), error.exit_code)
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        _fail(
            reporter,
            CancelledError.code,
            "Cancelled. Nothing was left half-written.",
            CancelledError.exit_code,
        )
    except MemoryError:
        _fail(reporter, "OUT_OF_MEMORY", "Not enough memory. Close other programs and try again.", 1)
    except Exception as error:
        traceback.print_exc()
        _fail(reporter, "INTERNAL", f"Unexpected error ({type(error).__name__}): {error}", 1)
    finally:
        finish(reporter)
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_signals(handler: Callable[[int, Any], None]) -> dict[signal.Signals, Any]:
    """Set the handler for Ctrl-C and termination; returns the ones that were set."""
    return {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}


def _cancel(number: int, frame: Any) -> None:
    # A second signal must not interrupt the cleaning up that the first one started.
    _on_signals(lambda *_: None)
    raise CancelledError("Cancelled. Nothing was left half-written.")


def _fail(reporter: Reporter, code: str, message: str, exit_code: int) -> None:
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "error", "code": code, "message": message})
    else:
        print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(exit_code)


def _result(reporter: Reporter, files: dict[str, Path], **facts: Any) -> None:
    """Say what was written."""
    finish(reporter)
    if isinstance(reporter, JsonReporter):
        write_json_line({"type": "result", "files": {name: str(path) for name, path in files.items()}, **facts})
        return
    for name, path in files.items():
        print(f"{name + ':':<10} {os.fspath(path)}")


def _need(*modules: str, extra: str) -> None:
    import importlib.util

    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModalitySynthesisError(
                f"This command needs {module!r}. Install it with: pip install 'modality-synthesis[{extra}]'"
            )


def _print_table(summary: dict[str, dict[str, dict[str, float]]], subjects: int, data_range: float) -> None:
    metrics = list(next(iter(summary.values())))
    print(f"{subjects} subjects, in the brain; PSNR and SSIM with data range {data_range:g}; mean [95 % interval]")
    print(f"{'':<26}" + "".join(f"{name:>24}" for name in metrics))
    for predictor, figures in summary.items():
        cells = (f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" for value in figures.values())
        print(f"{predictor:<26}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
