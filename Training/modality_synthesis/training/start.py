"""Start a training from the weights of a model package instead of random ones."""

from __future__ import annotations

from modality_synthesis.errors import BadInputError
from modality_synthesis.generators.base import Generator
from modality_synthesis.models import ModelPackage, find_model, load_weights
from modality_synthesis.training.recipe import Recipe


def find_start(recipe: Recipe) -> ModelPackage | None:
    """The package that the recipe starts from; None when it starts from random weights.

    Raises:
        BadInputError: not installed, or of another generator.
    """
    if recipe.start_from is None:
        return None
    package = find_model(recipe.start_from)
    made = package.card.generator.name
    if made != recipe.generator.name:
        raise BadInputError(
            f"start_from: {package.card.id} is a {made}, the recipe trains a {recipe.generator.name}. Weights go into "
            "a generator of the same kind and size only."
        )
    return package


def load_start(generator: Generator, package: ModelPackage) -> None:
    """Put a package's weights into a generator; what serves training only keeps its own.

    Raises:
        BadInputError: a generator of another size.
    """
    weights = load_weights(package)
    own = generator.package_state()
    wrong = next((name for name in own if name not in weights or weights[name].shape != own[name].shape), None)
    if wrong is not None or set(weights) - set(own):
        name = wrong or sorted(set(weights) - set(own))[0]
        raise BadInputError(
            f"start_from: the weights of {package.card.id} do not fit the recipe's generator ({name!r} differs). Give "
            "generator.parameters as the package's card has them."
        )
    generator.load_state_dict({**generator.state_dict(), **weights})


def started_from(package: ModelPackage) -> dict[str, str]:
    """The package as provenance names it."""
    card = package.card
    return {"id": card.id, "version": card.version, "weights_sha256": card.weights.sha256}
