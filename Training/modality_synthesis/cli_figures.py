"""`modality-synthesis figures ...`: figures for a paper. Each command is a few lines over `evaluation.figures`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from modality_synthesis import choices, cli_checks
from modality_synthesis.cli_session import ProgressOption, command, result
from modality_synthesis.errors import UsageError

figures_app = typer.Typer(help="Figures for a paper: filters, feature maps, curves, differences, profiles, folds.",
                          no_args_is_help=True, rich_markup_mode=None)  # fmt: skip

FIGURES = (".png", ".pdf", ".svg")

ModelArgument = Annotated[str, typer.Argument(help="Model id or package folder.")]
FigureOption = Annotated[Path, typer.Option("-o", "--output", help="Figure to write (.png, .pdf or .svg).")]

MatchOption = Annotated[
    bool | None,
    typer.Option("--match-signal/--no-match-signal", help="MRI has no unit: scale the real one (default: if so)."),
]


@figures_app.command("filters", epilog="Example: modality-synthesis figures filters my-drunet -o filters.png")
def filters(model: ModelArgument, output: FigureOption) -> None:
    """The filters of a model's first convolution."""
    with command("none") as reporter:
        cli_checks.models(model)
        cli_checks.outputs([output], FIGURES)
        from modality_synthesis.evaluation.figures import draw_filters

        draw_filters(model, output)
        result(reporter, {"figure": output})


@figures_app.command("features", epilog="Example: modality-synthesis figures features my-drunet ct.nii.gz -o maps.png")
def features(
    model: ModelArgument,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Volume file, or a DICOM folder.")],
    output: FigureOption,
    slice_index: Annotated[
        int | None, typer.Option("--slice", min=0, help="On the model's grid; default the largest.")
    ] = None,
    maps: Annotated[int, typer.Option("--maps", min=1, help="Feature maps per layer.")] = 8,
    progress: ProgressOption = "auto",
) -> None:
    """The feature maps of every layer for one axial slice."""
    with command(progress) as reporter:
        cli_checks.volumes(source)
        cli_checks.models(model)
        cli_checks.outputs([output], FIGURES)
        from modality_synthesis.evaluation.figures import draw_features

        draw_features(model, source, output, slice_index=slice_index, maps=maps, reporter=reporter)
        result(reporter, {"figure": output})


@figures_app.command("curves", epilog="Example: modality-synthesis figures curves runs/34-mse runs/34-cx -o curves.png")
def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of training runs.")],
    output: FigureOption,
) -> None:
    """The losses and validation figures of training runs over their epochs."""
    with command("none") as reporter:
        cli_checks.existing(*runs)
        cli_checks.outputs([output], FIGURES)
        from modality_synthesis.evaluation.figures import draw_curves

        draw_curves(runs, output)
        result(reporter, {"figure": output})


@figures_app.command(
    "difference", epilog="Example: modality-synthesis figures difference synthetic.nii.gz real.nii.gz -o difference.png"
)
def difference(
    synthetic: Annotated[Path, typer.Argument(help="Synthetic volume.")],
    reference: Annotated[Path, typer.Argument(help="Real volume, in the same units.")],
    output: FigureOption,
    mask: Annotated[Path | None, typer.Option("--mask", help="Show the difference inside this mask.")] = None,
    match_signal: MatchOption = None,
    limit: Annotated[float | None, typer.Option("--limit", help="End of the difference's colors.")] = None,
    units: Annotated[str, typer.Option("--units", help="For the color bars; default the sidecar's.")] = "",
    progress: ProgressOption = "auto",
) -> None:
    """Real, synthetic and their signed difference in three planes, with color bars."""
    with command(progress) as reporter:
        cli_checks.positive("--limit", limit)
        cli_checks.volumes(synthetic, reference, mask)
        cli_checks.outputs([output], FIGURES)
        from modality_synthesis.evaluation.figures import draw_difference

        draw_difference(
            synthetic, reference, output, mask=mask, match_signal=match_signal, limit=limit, units=units,
            reporter=reporter,
        )  # fmt: skip
        result(reporter, {"figure": output})


@figures_app.command(
    "profile",
    epilog='Example: modality-synthesis figures profile CT=ct.nii.gz T1w=t1.nii.gz "synthetic T1w=syn.nii.gz" -o p.png',
)
def profile(
    volumes: Annotated[list[str], typer.Argument(metavar="NAME=FILE...", help="Aligned volumes of one person.")],
    output: FigureOption,
    direction: Annotated[
        str, typer.Option("--direction", metavar="left-right|front-back", help="Of the line.")
    ] = "left-right",
    point: Annotated[str | None, typer.Option("--point", help="On the line: R,A,S in mm; default the center.")] = None,
) -> None:
    """Intensities of several volumes along one line; names that end in the same word share a panel.

    A real MRI that shares its panel with a synthetic one is shown in that one's signal.
    """
    with command("none") as reporter:
        cli_checks.one_of("direction", direction, choices.DIRECTIONS)
        line_point = _point(point)
        cli_checks.volumes(*map(Path, _named(volumes).values()))
        cli_checks.outputs([output], FIGURES)
        from modality_synthesis.evaluation.figures import draw_profile

        draw_profile(_named(volumes), output, direction=direction, point=line_point, reporter=reporter)  # type: ignore[arg-type]
        result(reporter, {"figure": output})


@figures_app.command(
    "slices", epilog="Example: modality-synthesis figures slices synthetic.nii.gz real.nii.gz --mask brain.nii.gz "
    "--range 0,1 -o slices.json"
)  # fmt: skip
def slices(
    synthetic: Annotated[Path, typer.Argument(help="Synthetic volume.")],
    reference: Annotated[Path, typer.Argument(help="Real volume, on the same grid.")],
    mask: Annotated[Path, typer.Option("--mask", help="The brain.")],
    value_range: Annotated[str, typer.Option("--range", metavar="LOW,HIGH", help="Values the target can take.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Figures with their definitions (.json).")],
    threshold: Annotated[float, typer.Option("--threshold", min=0, help="Of the Tenengrad.")] = 0.0,
) -> None:
    """PSNR, SSIM and Tenengrad per slice, as the literature reports them and as they should be read."""
    with command("none") as reporter:
        limits = _range(value_range)
        cli_checks.volumes(synthetic, reference, mask)
        cli_checks.outputs([output], [".json"])
        from modality_synthesis.evaluation.slicewise import write_slice_scores

        scores = write_slice_scores(synthetic, reference, mask, limits, output, threshold=threshold, reporter=reporter)
        result(reporter, {"scores": output}, **scores)


@figures_app.command("folds", epilog="Example: modality-synthesis figures folds runs/fold-1 runs/fold-2 -o folds.md")
def folds(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs, one per fold.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table to write (.csv or .md).")],
    predictor: Annotated[
        str | None, typer.Option("--predictor", help="Whose scores; default the model that was trained.")
    ] = None,
) -> None:
    """k-fold cross-validation in one table: each fold, and mean and deviation over patients."""
    with command("none") as reporter:
        cli_checks.existing(*runs)
        cli_checks.outputs([output], [".csv", ".md"])
        from modality_synthesis.evaluation.folds import read_fold_table, write_fold_table
        from modality_synthesis.volumes import check_outputs

        check_outputs([output], inputs=[file for run in runs for file in run.glob("*")])
        table = read_fold_table(runs, predictor=predictor)
        write_fold_table(table, output)
        result(reporter, {"table": output}, patients=sum(table.patients))


def _named(volumes: list[str]) -> dict[str, str]:
    named = {}
    for text in volumes:
        name, sign, file = text.partition("=")
        if not (sign and name.strip() and file):
            raise UsageError(f"Volumes are written NAME=FILE, CT=ct.nii.gz for example; {text!r} is not.")
        if name.strip() in named:
            raise UsageError(f"Two volumes are called {name.strip()!r}.")
        named[name.strip()] = file
    return named


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"A range is written LOW,HIGH, 0,1 for example; {text!r} is not.")
    return low, high


def _point(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        right, anterior, superior = (float(part) for part in text.split(","))
    except ValueError:
        right = anterior = superior = math.nan
    if not all(map(math.isfinite, (right, anterior, superior))):
        raise UsageError(f"A point is written R,A,S in mm, 10,-20,35 for example; {text!r} is not.")
    return right, anterior, superior
