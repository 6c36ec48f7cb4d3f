"""The preprocessing of a model as data: what `model.json` stores, what training writes and synthesis reads.

Light on purpose (pydantic only): reading a model card needs neither SimpleITK nor torch.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modality_synthesis.preprocessing.manufacturers import canonical_manufacturer

Triple = tuple[float, float, float]
_Extent = Annotated[int, Field(ge=1, le=1024)]
_Step = Annotated[float, Field(ge=0.05, le=20.0)]
Size = tuple[_Extent, _Extent, _Extent]
Spacing = tuple[_Step, _Step, _Step]
# Radii and margins beyond a head's size say nothing, and take memory with their third power.
_Radius = Annotated[float, Field(gt=0, le=200)]
_Margin = Annotated[float, Field(ge=0, le=200)]
_MOST_STEPS = 32
_MOST_VOXELS = 512**3


class StepParameters(BaseModel):
    """Base of every step's parameters; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Reorient(StepParameters):
    """Permute and flip stored axes so that they run as close to Left-Posterior-Superior as they can (lossless)."""

    step: Literal["reorient"] = "reorient"


class BrainMask(StepParameters):
    """Find the brain with the shipped segmentation network."""

    step: Literal["brain-mask"] = "brain-mask"
    network: str = Field("brain-mask", description="File name, without ending, in Resources/Networks.")


class CTHead(StepParameters):
    """Check that the volume is a head CT in Hounsfield units; set what is around the head (table, holder) to air."""

    step: Literal["ct-head"] = "ct-head"
    clip: tuple[float, float] = Field((-1024.0, 3071.0), description="Range of Hounsfield units kept.")
    holder_mm: _Radius = Field(12.0, description="Thinner structures are no part of the head.")


class CTBrainMask(StepParameters):
    """Find the brain in a head CT by a marker-based watershed; the shipped network takes over where that fails."""

    step: Literal["ct-brain-mask"] = "ct-brain-mask"
    bone_hu: float = Field(200.0, description="Brighter is bone.")
    fat_hu: float = Field(-40.0, description="Darker is fat or air.")
    depth_mm: _Radius = Field(11.0, description="How deep in soft tissue the brain's core lies.")
    reach_mm: _Radius = Field(8.0, description="How far the brain may reach beyond the core grown back.")
    network: str = Field("brain-mask", description="File name, without ending, in Resources/Networks.")


class CTAnchor(StepParameters):
    """Shift a CT so that the deep brain lies at a fixed value: scanners differ by more than gray and white matter."""

    step: Literal["ct-anchor"] = "ct-anchor"
    deep_brain_hu: float = Field(31.0, description="Where the median of the deep brain is brought.")
    depth_mm: _Radius = Field(15.0, description="How far below the brain's surface it is measured.")
    largest_hu: float = Field(15.0, gt=0, description="A larger shift is refused.")


class Window(StepParameters):
    """Clip Hounsfield units to a range and map it to 0..1: [0, 80] shows brain, [-1024, 2000] everything."""

    step: Literal["window"] = "window"
    low: float = 0.0
    high: float = 80.0

    @model_validator(mode="after")
    def _low_below_high(self) -> Window:
        if self.low >= self.high:
            raise ValueError("the window's low end must lie below its high end")
        return self


class BiasField(StepParameters):
    """N4 bias field correction inside the brain mask (Tustison 2010)."""

    step: Literal["bias-field"] = "bias-field"
    shrink_mm: float = Field(6.0, ge=0.5, le=100, description="Sample spacing at which the field is fitted, mm.")
    iterations: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (50, 50, 50, 50), min_length=1, max_length=8, description="Most iterations per fitting level."
    )


class Register(StepParameters):
    """Rigid, then affine registration of the brain to the MNI152 template (Mattes mutual information)."""

    step: Literal["register"] = "register"
    template: Literal["mni152"] = "mni152"
    window: tuple[float, float] | None = Field(
        None, description="Intensities are clipped to this range for the registration only; [0, 80] for CT in HU."
    )
    warn_below: float = Field(0.90, ge=0, le=1, description="Dice with the template's brain: warn below this.")
    refuse_below: float = Field(0.80, ge=0, le=1, description="Dice with the template's brain: refuse below this.")


class Resample(StepParameters):
    """Sample the volume on the model's grid (axes along template Left-Posterior-Superior), one interpolation."""

    step: Literal["resample"] = "resample"
    size: Size = Field((96, 112, 96), description="Voxels along x, y, z.")
    spacing: Spacing = Field((2.0, 2.0, 2.0), description="Voxel size, mm.")
    center: Triple = Field((0.0, 18.0, 6.0), description="World position (template LPS, mm) of the grid's center.")

    @model_validator(mode="after")
    def _grid_has_a_size(self) -> Resample:
        if math.prod(self.size) > _MOST_VOXELS:
            raise ValueError(f"{'×'.join(map(str, self.size))} voxels are more than any model's grid has")
        return self


class RefineMask(StepParameters):
    """Hold the brain mask to the template's after registration: what lies deeper than `inside_mm` in the template's
    brain belongs to it, what lies farther than `outside_mm` from it does not."""

    step: Literal["refine-mask"] = "refine-mask"
    inside_mm: _Margin = 6.0
    outside_mm: _Margin = 6.0


class Normalize(StepParameters):
    """Scale intensities inside the brain mask; outside becomes 0.

    `z-score`: mean 0, standard deviation 1. `tissue`: the medians over the registered atlas' gray and deep white matter
    become 0.5 and 1 (in T1w, cerebrospinal fluid lands near 0).
    """

    step: Literal["normalize"] = "normalize"
    method: Literal["z-score", "tissue"] = "tissue"
    clip: tuple[float, float] = (-0.25, 1.75)


SourceStep = Annotated[
    Reorient
    | BrainMask
    | CTHead
    | CTBrainMask
    | CTAnchor
    | BiasField
    | Register
    | Resample
    | RefineMask
    | Window
    | Normalize,
    Field(discriminator="step"),
]


class SignalNormalization(StepParameters):
    """How a reference MRI, whose signal has no unit, is brought to a common scale before training and comparison.

    `white-matter`: the most frequent signal in the registered atlas' deep white matter becomes 1. `percentile`: the
    0.5th and 99.5th percentile inside the brain become 0 and 1.
    """

    method: Literal["white-matter", "percentile"] = "white-matter"
    bias_field: BiasField | None = Field(None, description="Correct the bias field first, on the model's grid.")


class TargetStatistics(StepParameters):
    """Target values of a group of training patients inside the brain, in the target's units."""

    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)
    minimum: float = Field(allow_inf_nan=False)
    maximum: float = Field(allow_inf_nan=False)
    subjects: int = Field(ge=1, description="Training patients they come from.")


class Standardization(StepParameters):
    """Network values relative to statistics of the training patients: of the scans of one manufacturer, or of all.

    `z-score`: network = (target - mean) / std. `min-max`: the training patients' range becomes 0 to 1; the comparator
    of the paper that standardizes by manufacturer (Cyclic 2.5D Perceptual Loss, arXiv:2406.12632).

    The paper does not say over which voxels and scans its statistics are taken. Here: the voxels of the brain mask on
    the model's grid, of the training patients alone, every patient with the same weight however many visits there are.
    A recipe states `by`, `method` and `fewest_subjects`; training adds the figures, which the model package keeps.
    """

    by: Literal["manufacturer", "all"] = "manufacturer"
    method: Literal["z-score", "min-max"] = "z-score"
    fewest_subjects: int = Field(
        3, ge=1, description="A manufacturer with fewer training patients shares the pooled statistics."
    )
    statistics: dict[str, TargetStatistics] = Field({}, description="By manufacturer; written by training.")
    pooled: TargetStatistics | None = Field(
        None, description="Of all training patients, for any other or an unknown manufacturer; written by training."
    )

    @model_validator(mode="after")
    def _names_are_canonical(self) -> Standardization:
        odd = next((name for name in self.statistics if canonical_manufacturer(name) != name), None)
        if odd is not None:
            raise ValueError(f"the manufacturer {odd!r} is written {canonical_manufacturer(odd)!r}")
        return self


class TargetMapping(StepParameters):
    """How network values relate to the target's units: target = scale * network + offset, at least `minimum`.

    Training divides the target by this mapping, synthesis applies it. Outside the brain mask grown by
    `mask_margin_mm` the target is `background`. With a `standardization`, scale and offset are the training patients'.
    """

    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    normalization: SignalNormalization | None = Field(None, description="For targets without a unit (MRI).")
    mask_margin_mm: _Margin = 6.0
    background: float = 0.0
    standardization: Standardization | None = None

    @model_validator(mode="after")
    def _one_scale(self) -> TargetMapping:
        if self.standardization is not None and (self.scale, self.offset) != (1.0, 0.0):
            raise ValueError("standardization takes the place of scale and offset; leave them out")
        return self

    @property
    def fixed(self) -> TargetMapping:
        """The mapping without its standardization: what does not depend on the training patients."""
        return self.model_copy(update={"standardization": None})


class ChainParameters(StepParameters):
    """All preprocessing of a model, in the order it runs."""

    source: tuple[SourceStep, ...] = Field((), max_length=_MOST_STEPS)
    target: TargetMapping = TargetMapping()

    @property
    def fixed(self) -> ChainParameters:
        """The chain without what training fits: what a cache of preprocessed volumes depends on."""
        return self.model_copy(update={"target": self.target.fixed})

    @property
    def grid(self) -> Resample | None:
        """The model's grid, if it lies in template space."""
        registered = any(isinstance(step, Register) for step in self.source)
        return next((step for step in reversed(self.source) if isinstance(step, Resample) and registered), None)

    @property
    def hounsfield_range(self) -> tuple[float, float] | None:
        """HU of the network values 0 and 1 of a CT; None when it is normalized, and its values are no HU any more."""
        low, high = 0.0, 1.0
        for step in self.source:
            if isinstance(step, Normalize):
                return None
            if isinstance(step, Window):
                low, high = low + step.low * (high - low), low + step.high * (high - low)
        return low, high
