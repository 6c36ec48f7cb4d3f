"""What preprocessing hands from step to step, and what it needs to go back."""

from __future__ import annotations

from dataclasses import dataclass, field

import SimpleITK as sitk

from modality_synthesis.errors import BadInputError


@dataclass
class Prepared:
    """A volume on its way from its own grid to the model's.

    Attributes:
        native: the volume as given; its geometry is the one results return to.
        image: the volume as it is after the steps so far.
        mask: brain mask (uint8, 1 inside) on the grid of `image`, once found.
        native_mask: the same mask on the reoriented native grid.
        to_native: maps points of `image`'s space to points of the native world (identity before registration).
        quality: figures the steps measured (registration Dice, brain volume, ...).
        name: what messages call the volume.
    """

    native: sitk.Image
    image: sitk.Image
    name: str = "The volume"
    mask: sitk.Image | None = None
    native_mask: sitk.Image | None = None
    to_native: sitk.Transform = field(default_factory=lambda: sitk.Transform(3, sitk.sitkIdentity))
    quality: dict[str, float] = field(default_factory=dict)

    def require_mask(self) -> sitk.Image:
        """The brain mask.

        Raises:
            BadInputError: the chain has no brain-mask step before the step that needs it.
        """
        if self.mask is None:
            raise BadInputError("The model's preprocessing needs a 'brain-mask' step before this one.")
        return self.mask

    def to_native_grid(self, volume: sitk.Image, background: float = 0.0) -> sitk.Image:
        """Bring a volume of `image`'s space onto the native grid: the one interpolation of a result (linear).

        Args:
            volume: scalar volume in the space of `image` (any grid).
            background: value outside the volume's field of view.

        Returns:
            float32 volume; size, spacing, origin and direction are those of `native`, bit for bit.
        """
        return sitk.Resample(
            volume, self.native, self.to_native.GetInverse(), sitk.sitkLinear, background, sitk.sitkFloat32
        )

    def from_native_world(self, other: sitk.Image, background: float = 0.0) -> sitk.Image:
        """Sample another volume of the same person, aligned with the native one, on the grid of `image`."""
        return sitk.Resample(
            sitk.Cast(other, sitk.sitkFloat32), self.image, self.to_native, sitk.sitkLinear, background
        )
