"""The augmentation of the paper on the cyclic 2.5D perceptual loss (arXiv:2406.12632), as its authors published it."""

from __future__ import annotations

import numpy as np

from modality_synthesis.datasets.augmentation import Layout, Sample


class CyclicAugmentation:
    """Elastic deformation, rotation and scaling, flip, noise, in this order and with the published numbers.

    Elastic: probability 0.5, sigma 4 to 7, magnitude 50 to 100 voxels, which displaces by about one voxel. Affine:
    probability 0.5, +-15 degrees about each axis, +-10 %, reflection beyond the edge. Flip: probability 0.5, all three
    axes together, so that the head stands upside down. Noise on the source: standard deviation 0 to 0.1, always.
    """

    square = False

    def __call__(self, sample: Sample, layout: Layout, rng: np.random.Generator) -> Sample:
        from monai.data import MetaTensor
        from monai.transforms import Compose, Rand3DElasticd, RandAffined, RandFlipd, RandGaussianNoised

        names = list(sample)
        modes = ["bilinear" if name in ("source", "target") else "nearest" for name in names]
        angle = float(np.deg2rad(15))
        changes = Compose(
            [
                Rand3DElasticd(
                    names, prob=0.5, sigma_range=(4, 7), magnitude_range=(50, 100), mode=modes, padding_mode="zeros"
                ),
                RandAffined(
                    names, prob=0.5, rotate_range=(angle,) * 3, scale_range=(0.1,) * 3, mode=modes,
                    padding_mode="reflection",
                ),
                RandFlipd(names, prob=0.5, spatial_axis=[0, 1, 2]),
                RandGaussianNoised(["source"], prob=1.0, mean=0.0, std=0.1),
            ]
        )  # fmt: skip
        changes.set_random_state(seed=int(rng.integers(2**31)))
        changed = changes(sample)
        return {name: value.as_tensor() if isinstance(value := changed[name], MetaTensor) else value for name in names}
