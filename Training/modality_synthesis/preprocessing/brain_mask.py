"""Find the brain with the shipped network, in any orientation and contrast, without a download."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.resources import resource

if TYPE_CHECKING:
    from modality_synthesis.preprocessing.brain_network import BrainNetwork

# Adult brains (ventricles included) measure 900 to 1900 ml; these bounds only catch what is certainly no whole brain.
SMALLEST_ML = 500.0
LARGEST_ML = 2500.0


def brain_mask(image: sitk.Image, network: str = "brain-mask", name: str = "The volume") -> sitk.Image:
    """Segment the brain, ventricles and sulci included.

    Args:
        image: head or skull-stripped brain, stored axes close to Left-Posterior-Superior.
        network: file name, without ending, in Resources/Networks.
        name: what messages call the volume.

    Returns:
        uint8 mask on the image's grid.

    Raises:
        BadInputError: nothing like a whole brain was found.
    """
    probability = sitk.Resample(_probability(image, network), image, sitk.Transform(), sitk.sitkLinear, 0.0)
    components = sitk.RelabelComponent(sitk.ConnectedComponent(probability > 0.5), sortByObjectSize=True)
    mask = sitk.BinaryFillhole(components == 1)
    volume = mask_volume_ml(mask)
    if not SMALLEST_ML <= volume <= LARGEST_ML:
        raise BadInputError(
            f"{name}: no whole brain was found ({volume:.0f} ml looked like brain). The program needs a head or a "
            "skull-stripped brain with the complete brain in the field of view; check orientation and modality."
        )
    return mask


def mask_volume_ml(mask: sitk.Image) -> float:
    """The volume of a binary mask, ml."""
    return float(sitk.GetArrayViewFromImage(mask).sum()) * float(np.prod(mask.GetSpacing())) / 1000.0


def _probability(image: sitk.Image, network: str) -> sitk.Image:
    import torch

    from modality_synthesis.preprocessing.brain_network import DIVISOR, SPACING_MM, scale_intensities

    coarse = resample_isotropic(image, SPACING_MM)
    volume = torch.from_numpy(sitk.GetArrayFromImage(coarse))
    padding = [amount for size in reversed(volume.shape) for amount in _padding(size, DIVISOR)]
    padded = torch.nn.functional.pad(scale_intensities(volume), padding)
    with torch.inference_mode():
        logits = _load(network)(padded[None, None])[0, 0]
    inside = logits[tuple(slice(low, low + n) for (low, _), n in zip(_pairs(padding), volume.shape, strict=True))]
    result = sitk.GetImageFromArray(inside.sigmoid().numpy())
    result.CopyInformation(coarse)
    return result


def _padding(size: int, divisor: int) -> tuple[int, int]:
    missing = -size % divisor
    return missing // 2, missing - missing // 2


def _pairs(padding: list[int]) -> list[tuple[int, int]]:
    """torch's flat padding (last axis first) as (before, after) per axis, first axis first."""
    return [(padding[index], padding[index + 1]) for index in range(len(padding) - 2, -1, -2)]


@lru_cache(maxsize=2)
def _load(network: str) -> BrainNetwork:
    from safetensors.torch import load_file

    from modality_synthesis.preprocessing.brain_network import BrainNetwork

    module = BrainNetwork()
    module.load_state_dict({name: value.float() for name, value in load_file(_weights(network)).items()})
    return module.eval()


def _weights(network: str) -> str:
    if not network.replace("-", "").replace("_", "").replace(".", "").isalnum() or ".." in network:
        raise BadInputError(f"{network!r} is not the name of a shipped network.")
    return str(resource("Networks", f"{network}.safetensors"))
