"""A recipe: the YAML file that says everything needed to train one generator."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from modality_synthesis.errors import BadInputError
from modality_synthesis.models.card import ClinicalVariable, Inference, Licence, Line, Output, Route, Slug, Version
from modality_synthesis.preprocessing import ChainParameters
from modality_synthesis.validation import validate

Parameters = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GeneratorChoice(_Part):
    """Which generator, with which constructor arguments."""

    name: str
    parameters: Parameters = {}


class LossTerm(_Part):
    """One loss and its weight."""

    name: str
    weight: float = Field(1.0, ge=0)
    parameters: Parameters = {}


class Optimizer(_Part):
    """Optimizer and learning-rate schedule, the same for every phase."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "one-cycle"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    gradient_clip: float | None = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1, description="Batches per optimizer step.")


class Schedule(_Part):
    """How long, how precise, how reproducible."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(1, ge=1)
    validate_every: int = Field(5, ge=1, description="Epochs between validations.")
    augment: bool = True
    average_decay: float | None = Field(0.995, gt=0, lt=1, description="Exponential moving average of the weights.")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    patience: int | None = Field(None, ge=1, description="Validations without progress before stopping.")
    workers: int = Field(0, ge=0, description="Loader processes.")
    seed: int = 0


class PackageFacts(_Part):
    """What the model card says that the program cannot know."""

    id: Slug
    version: Version = "1.0.0"
    name: Line
    badge: Literal["demonstration", "research"] = "research"
    licence: Licence
    intended_use: str
    limits: list[str]
    citation: str
    data: str = Field(description="What the model was trained on.")
    simulated: bool = False
    access: str = Field("", description="Who may use the training data.")


class Recipe(_Part):
    """Everything needed to train one generator and to write its model package."""

    name: str
    route: Route
    cohort: str = Field(description="Table of the training cohort, relative to the working folder.")
    generator: GeneratorChoice
    losses: list[LossTerm] = Field(min_length=1)
    preprocessing: ChainParameters
    inference: Inference = Inference(mode="whole")
    output: Output
    clinical_variables: list[ClinicalVariable] = []
    optimizer: Optimizer = Optimizer()
    training: Schedule
    package: PackageFacts


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    A recipe may build on another: `extends: base.yaml` (relative to it). Mappings are merged, everything else is
    replaced. Overrides `training.epochs=5` are applied last; their values are YAML.

    Raises:
        BadInputError: unreadable, an unknown key (the nearest known one is named), or a value out of range.
    """
    path = Path(path)
    data = _read(path, seen=())
    for override in overrides:
        _apply(data, override)
    return validate(Recipe, data, path.name)


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise BadInputError(f"{path.name}: 'extends' goes around in a circle.")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"The recipe {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{path.name} is not YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(data, dict):
        raise BadInputError(f"{path.name}: a recipe is a YAML mapping.")
    base = data.pop("extends", None)
    if base is None:
        return data
    return _merge(_read(path.parent / str(base), (*seen, path.resolve())), data)


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _apply(data: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign:
        raise BadInputError(f"Overrides are written KEY=VALUE, training.epochs=5 for example; {override!r} is not.")
    *parents, last = key.strip().split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise BadInputError(f"The override {override!r} names a key inside something that is no mapping.")
    place[last] = yaml.safe_load(text)
