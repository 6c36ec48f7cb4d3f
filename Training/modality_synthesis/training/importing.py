"""Make a model package from a checkpoint that another program trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modality_synthesis.choices import CHECKPOINT_FORMATS as FORMATS
from modality_synthesis.datasets.splits import Split
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.generators import build_generator
from modality_synthesis.models import ModelPackage, write_package
from modality_synthesis.progress import Reporter, current
from modality_synthesis.training.checkpoints import load_checkpoint
from modality_synthesis.training.export import card_facts
from modality_synthesis.training.recipe import Recipe, read_recipe
from modality_synthesis.volumes import check_outputs


def import_checkpoint(
    checkpoint: str | Path,
    config: str | Path | Recipe,
    folder: str | Path,
    *,
    format: str = "pasta",
    reporter: Reporter | None = None,
) -> ModelPackage:
    """Write a model package with a foreign checkpoint's weights.

    `pasta`: a file that the authors' code of PASTA wrote (`model.pt`); its averaged weights are taken where it has
    them. Nothing in the file is executed: it is read as tensors and plain values only.

    Args:
        checkpoint: the file.
        config: a recipe that says what the checkpoint does not hold: preprocessing, the generator's numbers, clinical
            variables with the training subjects' mean and standard deviation, output and licence.
        folder: of the package.
        format: which program wrote the checkpoint.
        reporter: hears which weights were taken.

    Raises:
        BadInputError: an unreadable or unsafe file, or weights that do not fit the recipe's generator.
    """
    from modality_synthesis.generators.pasta import Pasta
    from modality_synthesis.generators.pasta.checkpoint import load_published, published_weights

    reporter = reporter or current()
    check_outputs([], folders=[folder], inputs=[checkpoint, config])
    if format not in FORMATS:
        raise UsageError(f"Unknown checkpoint format {format!r}. Known: {', '.join(FORMATS)}.")
    recipe = config if isinstance(config, Recipe) else read_recipe(config)
    if recipe.generator.name != "pasta" or recipe.generator.parameters.get("layout") != "published":
        raise BadInputError(
            f"{recipe.name}: importing needs the generator 'pasta' with the parameter layout: published."
        )
    _check_statistics(recipe)
    generator = build_generator(recipe.generator.name, recipe.generator.parameters)
    assert isinstance(generator, Pasta)
    weights, what = published_weights(_read(Path(checkpoint)))
    load_published(generator, weights)
    reporter.status(f"Took the checkpoint's {what}: {len(weights)} tensors.")
    facts = card_facts(recipe, Split((), ()), 0.0, stochastic=generator.stochastic)
    facts["training"] |= {"date": "", "hardware": "", "package_version": "", "duration_minutes": None, "recipe": {}}
    return write_package(Path(folder), facts, generator.package_state())


def _check_statistics(recipe: Recipe) -> None:
    for variable in recipe.clinical_variables:
        if variable.kind != "number" or variable.mean is None or variable.std is None:
            raise BadInputError(
                f"{recipe.name}: the clinical variable {variable.name!r} needs kind: number, and mean and std of the "
                "subjects the checkpoint was trained on."
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_checkpoint(path)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise BadInputError(
            f"{path} is no checkpoint that can be read safely: {error}. Download or copy it again."
        ) from None
    if not isinstance(content, dict):
        raise BadInputError(f"{path} holds no mapping of weights.")
    return content
