"""The preprocessing of a model as data: what `model.json` stores, what training writes and synthesis reads.

Light on purpose (pydantic only): reading a model card needs neither SimpleITK nor torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Triple = tuple[float, float, float]
IntTriple = tuple[int, int, int]


class StepParameters(BaseModel):
    """Base of every step's parameters; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reorient(StepParameters):
    """Permute and flip stored axes so that they run as close to Left-Posterior-Superior as they can (lossless)."""

    step: Literal["reorient"] = "reorient"


class BrainMask(StepParameters):
    """Find the brain with the shipped segmentation network."""

    step: Literal["brain-mask"] = "brain-mask"
    network: str = Field("brain-mask", description="File name, without ending, in Resources/Networks.")


class BiasField(StepParameters):
    """N4 bias field correction inside the brain mask (Tustison 2010)."""

    step: Literal["bias-field"] = "bias-field"
    shrink_mm: float = Field(6.0, gt=0, description="Sample spacing at which the field is fitted, mm.")
    iterations: tuple[int, ...] = Field((50, 50, 50, 50), description="Most iterations per fitting level.")


class Register(StepParameters):
    """Rigid, then affine registration of the brain to the MNI152 template (Mattes mutual information)."""

    step: Literal["register"] = "register"
    template: Literal["mni152"] = "mni152"
    warn_below: float = Field(0.90, ge=0, le=1, description="Dice with the template's brain: warn below this.")
    refuse_below: float = Field(0.80, ge=0, le=1, description="Dice with the template's brain: refuse below this.")


class Resample(StepParameters):
    """Sample the volume on the model's grid (axes along template Left-Posterior-Superior), one interpolation."""

    step: Literal["resample"] = "resample"
    size: IntTriple = Field((96, 112, 96), description="Voxels along x, y, z.")
    spacing: Triple = Field((2.0, 2.0, 2.0), description="Voxel size, mm.")
    center: Triple = Field((0.0, 18.0, 6.0), description="World position (template LPS, mm) of the grid's center.")


class RefineMask(StepParameters):
    """Hold the brain mask to the template's after registration: what lies deeper than `inside_mm` in the template's
    brain belongs to it, what lies farther than `outside_mm` from it does not."""

    step: Literal["refine-mask"] = "refine-mask"
    inside_mm: float = Field(6.0, ge=0)
    outside_mm: float = Field(6.0, ge=0)


class Normalize(StepParameters):
    """Scale intensities inside the brain mask; outside becomes 0.

    `z-score`: mean 0, standard deviation 1. `tissue`: the medians over the registered atlas' gray and deep white matter
    become 0.5 and 1 (in T1w, cerebrospinal fluid lands near 0).
    """

    step: Literal["normalize"] = "normalize"
    method: Literal["z-score", "tissue"] = "tissue"
    clip: tuple[float, float] = (-0.25, 1.75)


SourceStep = Annotated[
    Reorient | BrainMask | BiasField | Register | Resample | RefineMask | Normalize,
    Field(discriminator="step"),
]


class TargetMapping(StepParameters):
    """How network values relate to the target's units: target = scale * network + offset, at least `minimum`.

    Training divides the target by this mapping, synthesis applies it. Outside the brain mask grown by
    `mask_margin_mm` the target is `background`.
    """

    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    mask_margin_mm: float = Field(6.0, ge=0)
    background: float = 0.0


class ChainParameters(StepParameters):
    """All preprocessing of a model, in the order it runs."""

    source: tuple[SourceStep, ...] = ()
    target: TargetMapping = TargetMapping()
