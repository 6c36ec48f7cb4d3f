"""What a recipe or a command says about samples: which part of a volume, how it is changed at random, which fold.

Light: pydantic only.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modality_synthesis.errors import UsageError

Axis = Literal["axial", "coronal", "sagittal"]
Positive = Annotated[int, Field(ge=1)]
AugmentationPreset = Literal["default", "right-angles", "cyclic-2.5d"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampling(_Part):
    """Which parts of a training volume are samples.

    `whole`: the volume. `slab`: `thickness` neighboring slices (1 is a single slice), which lie along the sample's
    depth: an axial slab is (z, y, x), a coronal one (y, z, x), a sagittal one (x, z, y). With the axis `all` slabs of
    every plane are padded to one size, so that they fit into one batch. `patch`: a box.
    """

    mode: Literal["whole", "slab", "patch"] = "whole"
    axis: Axis | Literal["all"] = Field(
        "axial", description="Slabs only: the plane of the slices; 'all' draws one for each sample."
    )
    thickness: Positive = Field(1, description="Slabs only: slices per slab.")
    size: tuple[Positive, Positive, Positive] | None = Field(None, description="Patches only: voxels along z, y, x.")
    per_volume: Positive = Field(1, description="Samples per volume and epoch, spread evenly over the slab's axis.")
    foreground_share: float = Field(
        1.0, ge=0, le=1, description="Share of the samples that are centered in the brain; the others lie anywhere."
    )
    multiple: Positive = Field(
        1, description="Heights and widths (of volumes and patches, depths too) are padded to a multiple of it."
    )

    @property
    def planes(self) -> tuple[Axis, ...]:
        """The planes in which a slice-wise generator meets slices: what lies along depth in a volume is axial."""
        return get_args(Axis) if self.axis == "all" else (self.axis,)

    @model_validator(mode="after")
    def _size_fits_mode(self) -> Sampling:
        if (self.mode == "patch") != (self.size is not None):
            raise ValueError("a size goes with the mode 'patch', and only with it")
        if self.mode != "slab" and (self.axis, self.thickness) != ("axial", 1):
            raise ValueError("axis and thickness go with the mode 'slab', and only with it")
        return self


class Augmentation(_Part):
    """Random changes of a sample. Geometry changes source and target alike, intensities the source alone.

    The ranges suit volumes that were registered to the template: what is left of pose and size is small.
    """

    mirror: float = Field(0.5, ge=0, le=1, description="Probability of exchanging left and right.")
    affine: float = Field(0.5, ge=0, le=1, description="Probability of rotation, scaling and shift together.")
    rotation_degrees: float = Field(5.0, ge=0, description="Largest angle, about each axis; slabs turn in their plane.")
    scale: float = Field(0.05, ge=0, lt=1, description="Largest relative change of size.")
    shift_voxels: float = Field(2.0, ge=0, description="Largest shift along each axis.")
    intensities: Literal["mri", "ct", "none"] = "mri"
    low_contrast: float = Field(
        0.3, ge=0, le=1, description="MRI: probability that gray and white matter lie 1.25 to 8 times closer together."
    )


def check_fold(number: int, folds: int) -> None:
    """Refuse a fold that cannot be.

    Raises:
        UsageError: fewer than two folds, or no such one.
    """
    if folds < 2:
        raise UsageError(f"A cross-validation needs at least 2 folds, not {folds}.")
    if not 1 <= number <= folds:
        raise UsageError(f"There is no fold {number} of {folds}; folds are numbered from 1 to {folds}.")
