"""The model card: `model.json`, everything about a model but its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modality_synthesis.preprocessing.parameters import ChainParameters

Source = Literal["T1w", "T2w", "CT"]
Target = Literal["FDG-PET", "TAU-PET", "AMYLOID-PET", "T1w", "T2w", "CT"]
WEIGHTS_FILE: Literal["weights.safetensors"] = "weights.safetensors"
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")]
Window = tuple[
    Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
]  # fmt: skip


class CardPart(BaseModel):
    """Base of the card's parts: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Route(CardPart):
    """From which modality to which."""

    source: Source
    target: Target


class GeneratorSpec(CardPart):
    """A generator of the registry and its constructor's arguments."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(CardPart):
    """How the generator is run. The window belongs to the model: another one would give other values."""

    mode: Literal["whole", "sliding-window"]
    window: Window | None = Field(None, description="Voxels along z, y, x; sliding-window only.")
    overlap: float = Field(0.25, ge=0, lt=1, description="Share of a window that its neighbor covers too.")
    blend: Literal["gaussian", "constant"] = "gaussian"
    batch_size: int = Field(2, ge=1, description="Windows computed at a time; does not change the result.")

    @model_validator(mode="after")
    def _window_fits_mode(self) -> Inference:
        if (self.mode == "sliding-window") != (self.window is not None):
            raise ValueError("a window goes with the mode 'sliding-window', and only with it")
        return self


class Output(CardPart):
    """What the voxels of a synthetic volume mean and how they are shown."""

    quantity: Literal["SUVR", "HU", "signal"]
    units: str
    reference_region: str | None = Field(None, description="Of SUVR: the region whose mean is 1.")
    display_window: tuple[float, float] = Field(description="Lower and upper end of the colors, in units.")
    colormap: str | None = Field(None, description="A color table's name, PET-Heat for example; None is gray.")


class ClinicalVariable(CardPart):
    """A variable the generator takes beside the image."""

    name: Slug
    label: str
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


class Subjects(CardPart):
    """Numbers of people."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(0, ge=0)


class TrainingFacts(CardPart):
    """What the model learned from, and how."""

    data: str
    simulated: bool = Field(description="True when the training images were simulated.")
    subjects: Subjects
    access: str = Field("", description="Who may use the training data.")
    seed: int = 0
    recipe: dict[str, Any] = {}
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
    subjects: int
    compared_with: dict[str, float] = Field({}, description="The same figure of simple predictors.")


class Weights(CardPart):
    """The file of weights."""

    file: Literal["weights.safetensors"] = WEIGHTS_FILE
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    parameters: int = Field(ge=1, description="Numbers in it.")


class Card(CardPart):
    """A model card (schema version 1)."""

    schema_version: Literal[1] = 1
    id: Slug
    version: str = Field(pattern=r"^\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?$")
    name: str
    badge: Literal["demonstration", "research"]
    route: Route
    generator: GeneratorSpec
    inference: Inference
    preprocessing: ChainParameters
    output: Output
    clinical_variables: tuple[ClinicalVariable, ...] = ()
    training: TrainingFacts
    metrics: tuple[Metric, ...] = ()
    licence: str
    intended_use: str
    limits: tuple[str, ...]
    citation: str
    input_ranges: dict[str, tuple[float, float]] = Field({}, description="Seen in training, by name.")
    weights: Weights

    @property
    def is_demonstration(self) -> bool:
        """True when the model only shows what the software does."""
        return self.badge == "demonstration"


def card_schema() -> dict[str, Any]:
    """The JSON schema of `model.json`."""
    schema = Card.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ModalitySynthesis model card",
    }
