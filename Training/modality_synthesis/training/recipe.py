"""A recipe: the YAML file that says everything needed to train one generator."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modality_synthesis.datasets.parameters import Augmentation, AugmentationPreset, Sampling, check_fold
from modality_synthesis.errors import BadInputError, UsageError
from modality_synthesis.generators import check_generator
from modality_synthesis.losses import check_loss
from modality_synthesis.models.card import ClinicalVariable, Inference, Licence, Line, Output, Route, Slug, Version
from modality_synthesis.preprocessing import ChainParameters
from modality_synthesis.training.rates import CosineRate, Rate
from modality_synthesis.validation import validate
from modality_synthesis.volumes.paths import check_regular

if TYPE_CHECKING:
    from modality_synthesis.datasets.samples import SampleSpec

Parameters = dict[str, Any]
_LONGEST, _MOST_ENTRIES = 1 << 20, 10_000
Moment = Annotated[float, Field(ge=0, lt=1)]
# None of them but the loss depends on the losses' schedules, so that values of all epochs can be compared.
MonitorName = Literal["validation/MAE", "validation/RMSE", "validation/SSIM", "validation/PSNR", "validation/loss"]


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
    betas: tuple[Moment, Moment] = Field(
        (0.9, 0.999), description="Of Adam; adversarial systems publish 0.5 and 0.999."
    )
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Rate = CosineRate()
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    gradient_clip: float | None = Field(1.0, gt=0, description="Largest norm of a phase's gradient.")
    accumulate: int = Field(1, ge=1, description="Batches per optimizer step.")


class Schedule(_Part):
    """How long, how precise, how reproducible."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(1, ge=1)
    validate_every: int = Field(5, ge=1, description="Epochs between validations; the last epoch is always validated.")
    validate_subjects: int | None = Field(
        None, ge=1, description="At most so many volumes per validation, always the same; for slow samplers."
    )
    image_every: int = Field(10, ge=0, description="Epochs between pictures in TensorBoard; 0 for none.")
    sampling: Sampling = Sampling()
    augment: bool | AugmentationPreset | Augmentation = Field(True, description="True is the preset 'default'.")
    clinical_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Of a training sample, with this probability all clinical variables are forgotten, else each with "
        "it. 0 by default where PASTA is trained to the letter.",
    )
    average_decay: float | None = Field(0.995, gt=0, lt=1, description="Exponential moving average of the weights.")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    monitor: MonitorName = "validation/MAE"
    keep: Literal["best", "last"] = Field("best", description="Which weights are packaged: best by `monitor`, or last.")
    patience: int | None = Field(None, ge=1, description="Validations without a better `monitor` before stopping.")
    minimum_epochs: int = Field(1, ge=1, description="No stopping before; for losses that change by a schedule.")
    compile: bool = Field(False, description="Compile the networks with torch.compile.")
    deterministic: bool | Literal["warn"] = Field(
        False, description="Only algorithms that repeat exactly; 'warn' tolerates those that have no such form."
    )
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
    findings: list[str] = []
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
    losses: list[LossTerm] = []
    preprocessing: ChainParameters
    inference: Inference = Inference(mode="whole")
    output: Output
    clinical_variables: list[ClinicalVariable] = []
    meta_roi: str | list[str | int] = Field([], description="Atlas regions that generators may weight in training.")
    start_from: str | None = Field(
        None, description="Model id or package folder whose weights training starts from; not trained on test subjects."
    )
    classes: str | None = Field(
        None, description="COLUMN=HEALTHY,PATIENTS: the card then says how the clinical variables act."
    )
    optimizer: Optimizer = Optimizer()
    training: Schedule
    package: PackageFacts

    @model_validator(mode="before")
    @classmethod
    def _published_training_forgets_nothing(cls, data: Any) -> Any:
        """PASTA to the letter knows every clinical variable of every sample; no recipe has to say so."""
        if not _is_literal_pasta(data) or not isinstance(data.get("training"), Mapping):
            return data
        return {**data, "training": {"clinical_dropout": 0.0, **data["training"]}}

    @model_validator(mode="after")
    def _variables_are_forgotten_in_one_place(self) -> Recipe:
        if "clinical_dropout" in self.generator.parameters:
            raise ValueError(
                "generator.parameters.clinical_dropout is no more: variables are forgotten once, by "
                "training.clinical_dropout; move it there"
            )
        if self.training.clinical_dropout and _is_literal_pasta({"generator": self.generator.model_dump()}):
            raise ValueError(
                "literal: true reproduces a training that knows every clinical variable; leave "
                "training.clinical_dropout out, or set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _logits_go_with_bce(self) -> Recipe:
        # A generator's logits are no intensities: the other losses would compare them with the target all the same.
        logits = self.generator.parameters.get("activation") == "logits"
        if any((term.name == "bce") != logits for term in self.losses):
            raise ValueError("the loss 'bce', and no other, goes with the generator's parameter 'activation: logits'")
        return self

    @model_validator(mode="after")
    def _windows_know_their_units(self) -> Recipe:
        """HU windows as channels: what the source's 0 and 1 are in HU follows from the preprocessing's window."""
        parameters = self.generator.parameters
        if parameters.get("channels") != "windows":
            return self
        units = self.preprocessing.hounsfield_range
        if units is None:
            raise ValueError(
                "the generator's parameter 'channels: windows' needs HU, but preprocessing normalizes them"
            )
        stated = parameters.setdefault("source_range", list(units))
        if stated not in (units, list(units)):
            raise ValueError(
                f"the generator's parameter source_range {stated} is not what preprocessing.source makes of the CT, "
                f"{list(units)}; leave it out, it follows from the window"
            )
        return self

    @model_validator(mode="after")
    def _neighbors_are_there(self) -> Recipe:
        sampling = self.training.sampling
        depth = {"slab": sampling.thickness, "patch": sampling.size[0] if sampling.size else 0, "whole": 3}
        if self.generator.parameters.get("channels") == "neighbors" and depth[sampling.mode] < 3:
            key = "thickness: 3" if sampling.mode == "slab" else "size: [3, ...]"
            raise ValueError(
                "with the generator's parameter 'channels: neighbors' a sample of fewer than three slices holds no "
                f"neighbors, and training would repeat the slice instead; set training.sampling to {key} or more"
            )
        return self

    @model_validator(mode="after")
    def _planes_are_trained(self) -> Recipe:
        sampling, planes = self.training.sampling, self.inference.planes
        unseen = [plane for plane in planes if plane not in sampling.planes]
        if self.inference.mode == "slices" and unseen:
            remedy = "all" if len(planes) > 1 else planes[0]
            raise ValueError(
                f"inference.planes has {', '.join(unseen)} slices, which training never shows the generator; set "
                f"training.sampling to mode: slab and axis: {remedy}, or leave them out"
            )
        return self

    @property
    def samples(self) -> SampleSpec:
        """What a training sample holds."""
        from modality_synthesis.datasets.samples import SampleSpec

        regions = [self.meta_roi] if isinstance(self.meta_roi, str) else self.meta_roi
        return SampleSpec(self.route.target, self.preprocessing, tuple(self.clinical_variables), tuple(regions))

    def fitted(self, samples: SampleSpec) -> Recipe:
        """With what was fitted to the training patients (`SampleSpec.fitted`), as the model package will state it."""
        return self.model_copy(
            update={"preprocessing": samples.chain, "clinical_variables": list(samples.clinical_variables)}
        )


def recorded(recipe: Recipe) -> dict[str, Any]:
    """The recipe as a run folder, a report and a card tell it: files by their names, for the folders above them say
    whose computer it was, and what else lies there."""
    return _names_only(recipe.model_dump(mode="json"))


def _names_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _names_only(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_names_only(inner) for inner in value]
    if isinstance(value, str) and "\n" not in value:
        windows = PureWindowsPath(value)
        if windows.is_absolute() or PurePosixPath(value).is_absolute():
            return windows.name or value
    return value


def _is_literal_pasta(data: Any) -> bool:
    choice = data.get("generator") if isinstance(data, Mapping) else None
    parameters = choice.get("parameters") if isinstance(choice, Mapping) and choice.get("name") == "pasta" else None
    return isinstance(parameters, Mapping) and bool(parameters.get("literal"))


def parse_fold(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5).

    Raises:
        UsageError: written otherwise, or no such fold.
    """
    number, sign, folds = text.partition("/")
    if not sign or not number.strip().isdigit() or not folds.strip().isdigit():
        raise UsageError(f"A fold is written NUMBER/FOLDS, 1/5 for example; {text!r} is not.")
    check_fold(int(number), int(folds))
    return int(number), int(folds)


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    A recipe may build on others: `extends: base.yaml` (relative to it), or a list of which the later ones win. Mappings
    are merged, everything else is replaced. Overrides `training.epochs=5` are applied last; their values are YAML, and
    `losses.2.weight=0.5` is the third loss's.

    Raises:
        BadInputError: unreadable, an unknown key, generator, loss or parameter of one (the nearest known one is
            named), or a value out of range.
        UsageError: an override that is none.
    """
    path = Path(path)
    data = merged_recipe(path)
    for override in overrides:
        _apply(data, override)
    recipe = validate(Recipe, data, path.name)
    check_generator(recipe.generator.name, recipe.generator.parameters)
    for term in recipe.losses:
        check_loss(term.name, term.parameters)
    return recipe


def merged_recipe(path: Path) -> dict[str, Any]:
    """What a recipe says together with those it extends; not validated.

    Raises:
        BadInputError: unreadable, no YAML mapping, or a circle.
    """
    return _read(path, seen=())


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise BadInputError(f"{path.name}: 'extends' goes around in a circle.")
    check_regular(path)
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST)
    except OSError as error:
        raise BadInputError(f"The recipe {path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path.name} is no recipe: a recipe is text in UTF-8 (YAML), and it is not.") from None
    data = _yaml(text, path.name)
    if not isinstance(data, dict):
        raise BadInputError(f"{path.name}: a recipe is a YAML mapping.")
    bases = data.pop("extends", None) or []
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        merged = _merge(merged, _read(path.parent / str(base), (*seen, path.resolve())))
    return _merge(merged, data)


def _yaml(text: str, what: str) -> Any:
    """The value that a text of YAML stands for.

    Raises:
        BadInputError: not YAML (`what` begins the message), or more than a recipe can be.
    """
    try:
        value = yaml.safe_load(text)
        entries = _entries(value, _MOST_ENTRIES)
    except (yaml.YAMLError, ValueError) as error:
        raise BadInputError(f"{what} is not YAML: {(str(error).splitlines() or ['?'])[0][:200]}.") from None
    except RecursionError:
        raise BadInputError(f"{what} is no recipe: it is nested too deeply to be read.") from None
    if len(text) >= _LONGEST or entries > _MOST_ENTRIES:
        raise BadInputError(f"{what} is no recipe: it is too large.")
    return value


def _entries(value: Any, most: int) -> int:
    """How many values there are, those that aliases repeat counted each time; not much further than to `most`."""
    count = 1
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        count += _entries(inner, most - count)
        if count > most:
            break
    return count


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
        raise UsageError(f"Overrides are written KEY=VALUE, training.epochs=5 for example; {override!r} is not.")
    try:
        value = _yaml(text, "its value")
    except BadInputError as error:
        raise UsageError(f"The override {override[:80]!r} cannot be applied: {error}") from None
    *parents, last = key.strip().split(".")
    place: Any = data
    for parent in parents:
        place = place.setdefault(parent, {}) if isinstance(place, dict) else place[_position(place, parent, override)]
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_position(place, last, override)] = value


def _position(place: Any, key: str, override: str) -> int:
    """A key inside a list is a position, counted from 0."""
    if not isinstance(place, list):
        raise UsageError(f"The override {override!r} names a key inside something that is no mapping.")
    if not key.isdecimal() or int(key) >= len(place):
        raise UsageError(
            f"The override {override!r} names {key!r} in a list of {len(place)}: give a position, counted from 0."
        )
    return int(key)
