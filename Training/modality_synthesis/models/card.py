"""The model card: `model.json`, everything about a model but its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from modality_synthesis.preprocessing.parameters import ChainParameters

if TYPE_CHECKING:
    from modality_synthesis.volumes import Mark

Source = Literal["T1w", "T2w", "FLAIR", "CT"]
Plane = Literal["axial", "coronal", "sagittal"]
Target = Literal["FDG-PET", "TAU-PET", "AMYLOID-PET", "T1w", "T2w", "CT"]
WEIGHTS_FILE: Literal["weights.safetensors"] = "weights.safetensors"
BASELINES_FILE: Literal["baselines.safetensors"] = "baselines.safetensors"
SCHEMA_FILE = "model.schema.json"
_DEEPEST = 32
_LARGEST_ARGUMENT, _LONGEST_ARGUMENT = 1_000_000, 256
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def _not_reserved(name: str) -> str:
    # Windows opens a device under these names, with any ending, and a model's id becomes its folder's name.
    if name.split(".")[0] in _DEVICES:
        raise ValueError(f"{name!r} is a reserved name on Windows")
    return name


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    """What the file will hold: tuples become lists; what JSON does not know is refused, not turned into null."""
    try:
        if _depth(value) > _DEEPEST:  # pydantic reads deeper cards than it can write
            raise ValueError("nested too deeply")
        return json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except RecursionError:
        raise ValueError("no JSON value: nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"no JSON value: {error}") from None


def _within_reason(value: Any) -> Any:
    """Arguments of a constructor that any generator could have: whoever builds it must not run out of memory."""
    if isinstance(value, (int, float)) and not abs(value) <= _LARGEST_ARGUMENT:
        raise ValueError(f"no number beyond {_LARGEST_ARGUMENT:,} is a generator's parameter")
    if isinstance(value, (dict, list, tuple)) and len(value) > _LONGEST_ARGUMENT:
        raise ValueError(f"no list of more than {_LONGEST_ARGUMENT} entries is a generator's parameter")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _within_reason(inner)
    return value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return 1 + max(map(_depth, inner), default=0)


_PRERELEASE = r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
_BUILD = r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
_LICENCE = r"[A-Za-z0-9][A-Za-z0-9.+:-]*"

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"), AfterValidator(_not_reserved)]
Version = Annotated[str, Field(pattern=rf"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){{2}}{_PRERELEASE}{_BUILD}$")]
Licence = Annotated[
    str,
    Field(
        pattern=rf"^\(*{_LICENCE}\)*( (AND|OR|WITH) \(*{_LICENCE}\)*)*$",
        description="SPDX expression: Apache-2.0, CC-BY-NC-4.0, LicenseRef-ADNI ...",
    ),
]
# Shown in lists and terminals, where control characters could forge what is read.
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]
Extent = Annotated[int, Field(ge=1, le=1024)]
Window = tuple[Extent, Extent, Extent]


class CardPart(BaseModel):
    """Base of the card's parts: unknown keys are refused, values do not change.

    NaN and infinity are refused too: JSON has no such numbers, so that a card with one could not be read back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Route(CardPart):
    """From which modality to which."""

    source: Source
    target: Target


class GeneratorSpec(CardPart):
    """A generator of the registry and its constructor's arguments."""

    name: str
    parameters: Annotated[JsonObject, AfterValidator(_within_reason)] = {}


class Inference(CardPart):
    """How the generator is run. The window belongs to the model: another one would give other values."""

    mode: Literal["whole", "sliding-window", "slices"]
    window: Window | None = Field(None, description="Voxels along z, y, x; sliding-window only.")
    overlap: float = Field(0.25, ge=0, le=0.9, description="Share of a window that its neighbor covers too.")
    blend: Literal["gaussian", "constant"] = "gaussian"
    # With one window at a time PyTorch takes a slow CPU path for small 3-D convolutions (up to 1.4 times the time).
    batch_size: int = Field(
        2, ge=2, le=1024, description="Windows or slices computed at a time; does not change the result."
    )
    planes: tuple[Plane, ...] = Field(
        ("axial",),
        min_length=1,
        description="Slices only: the planes the slices are cut in; the result is the mean over them.",
    )
    stochastic: bool = Field(False, description="Another seed gives another result; several give its uncertainty.")

    @model_validator(mode="after")
    def _window_fits_mode(self) -> Inference:
        if (self.mode == "sliding-window") != (self.window is not None):
            raise ValueError("a window goes with the mode 'sliding-window', and only with it")
        return self

    @model_validator(mode="after")
    def _planes_fit_mode(self) -> Inference:
        if len(set(self.planes)) != len(self.planes):
            raise ValueError("a plane is named twice")
        if self.mode != "slices" and self.planes != ("axial",):
            raise ValueError("planes go with the mode 'slices', and only with it")
        return self


class Output(CardPart):
    """What the voxels of a synthetic volume mean and how they are shown."""

    quantity: Literal["SUVR", "HU", "signal"]
    units: Line
    reference_region: str | None = Field(None, description="Of SUVR: the region whose mean is 1.")
    display_window: tuple[float, float] = Field(description="Lower and upper end of the colors, in units.")
    colormap: str | None = Field(None, description="A color table of 3D Slicer; None is Inferno for SUVR, else gray.")

    @model_validator(mode="after")
    def _window_is_ordered(self) -> Output:
        if self.display_window[0] >= self.display_window[1]:
            raise ValueError("the lower end of display_window is not below its upper end")
        return self


class ClinicalVariable(CardPart):
    """A variable the generator takes beside the image."""

    name: Slug
    label: Line
    kind: Literal["number", "choice"]
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    required: bool = False
    mean: float | None = Field(None, description="Of the training subjects.")
    std: float | None = Field(None, gt=0, description="Of the training subjects.")

    @model_validator(mode="after")
    def _choices_fit_kind(self) -> ClinicalVariable:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("choices go with the kind 'choice', and only with it")
        return self

    @model_validator(mode="after")
    def _range_is_ordered(self) -> ClinicalVariable:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is above maximum")
        if self.choices and len(set(self.choices)) != len(self.choices):
            raise ValueError("a choice is given twice")
        return self


class Subjects(CardPart):
    """Numbers of people."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(0, ge=0)

    @property
    def total(self) -> int:
        """Of all parts."""
        return self.train + self.validation + self.test


class TrainingCohort(CardPart):
    """The cohort that trained this very model, as counted when it was trained."""

    table: Line = Field(description="The cohort table's file name.")
    people: Subjects
    visits: Subjects = Field(description="Numbers of visits.")
    simulated_visits: int = Field(0, ge=0, description="Visits marked as simulated, of all.")


class TrainingFacts(CardPart):
    """What the model learned from, and how."""

    data: str
    simulated: bool = Field(description="True when the training images were simulated.")
    subjects: Subjects
    cohort: TrainingCohort | None = Field(None, description="Counted by the training; older cards lack it.")
    access: str = Field("", description="Who may use the training data.")
    seed: int = 0
    meta_roi: tuple[Line, ...] = Field((), description="Atlas regions whose errors weighed more in training.")
    recipe: JsonObject = {}
    package_version: str = ""
    date: str = ""
    duration_minutes: float | None = None
    hardware: str = ""


class Metric(CardPart):
    """One measured figure, with all that is needed to read it."""

    name: str
    value: float
    low: float | None = Field(None, description="Lower end of the 95 % confidence interval.")
    high: float | None = None
    unit: str = ""
    definition: str
    region: str
    dataset: str
    subjects: int = Field(ge=0)
    better: Literal["lower", "higher", "nearer 1"] | None = Field(None, description="Which figure is the better one.")
    compared_with: dict[str, float] = Field({}, description="The same figure of simple predictors.")

    @field_validator("low", "high", mode="before")
    @classmethod
    def _unknown_is_none(cls, value: Any) -> Any:
        # One test subject gives no interval; the figure itself is still worth keeping.
        return None if isinstance(value, float) and value != value else value

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> Metric:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("the interval's low end is above its high end")
        return self


class Weights(CardPart):
    """The file of weights."""

    file: Literal["weights.safetensors"] = WEIGHTS_FILE
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    parameters: int = Field(ge=1, description="Numbers in it.")


class KeptBaselines(CardPart):
    """Simple predictors that were fitted on the training subjects, so that any test subject can judge the model."""

    file: Literal["baselines.safetensors"] = BASELINES_FILE
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    subjects: int = Field(ge=1, description="Training subjects they were fitted on.")


class Card(CardPart):
    """A model card (schema version 1)."""

    schema_version: Literal[1] = 1
    id: Slug
    version: Version
    name: Line
    badge: Literal["demonstration", "research"]
    route: Route
    generator: GeneratorSpec
    inference: Inference
    preprocessing: ChainParameters
    output: Output
    clinical_variables: tuple[ClinicalVariable, ...] = ()
    training: TrainingFacts
    verdict: Line | None = Field(None, description="Whether it beats the best simple predictor, in a sentence.")
    metrics: tuple[Metric, ...] = ()
    baselines: KeptBaselines | None = Field(None, description="What a model must beat, fitted.")
    licence: Licence
    intended_use: str
    limits: tuple[str, ...]
    findings: tuple[str, ...] = Field((), description="What else was measured, on other data or beside it; sentences.")
    citation: str
    input_ranges: dict[str, tuple[float, float]] = Field({}, description="Seen in training, by name.")
    weights: Weights

    @property
    def is_demonstration(self) -> bool:
        """True when the model only shows what the software does."""
        return self.badge == "demonstration"

    def route_matches(self, source: str | None = None, target: str | None = None) -> bool:
        """Whether the model goes from `source` to `target`; None stands for any modality."""
        return source in (None, self.route.source) and target in (None, self.route.target)

    @property
    def mark(self) -> Mark:
        """The mark of what the model makes."""
        from modality_synthesis.volumes import Mark

        return Mark(self.id, self.version, self.weights.sha256)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Card:
        if self.route.source == self.route.target:
            raise ValueError(f"the route leads from {self.route.source} to itself")
        standardization = self.preprocessing.target.standardization
        if standardization is not None and standardization.pooled is None:
            raise ValueError("preprocessing.target.standardization lacks the training patients' pooled statistics")
        names = [variable.name for variable in self.clinical_variables]
        if len(set(names)) != len(names):
            raise ValueError("a clinical variable is declared twice")
        reversed_range = next((name for name, (low, high) in self.input_ranges.items() if low > high), None)
        if reversed_range is not None:
            raise ValueError(f"input_ranges: the low end of {reversed_range!r} is above its high end")
        return self


def card_schema() -> dict[str, Any]:
    """The JSON schema of `model.json`."""
    schema = Card.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ModalitySynthesis model card",
    }


def schema_text() -> str:
    """The published schema file's exact text."""
    return json.dumps(card_schema(), indent=2) + "\n"


def write_schema(path: str | Path | None = None) -> Path:
    """Write the JSON schema; by default to where it ships, `Resources/Models/model.schema.json`."""
    from modality_synthesis.resources import resources_folder
    from modality_synthesis.volumes import atomic_output

    path = resources_folder() / "Models" / SCHEMA_FILE if path is None else Path(path)
    with atomic_output(path) as temporary:
        temporary.write_text(schema_text(), encoding="utf-8", newline="\n")
    return path
