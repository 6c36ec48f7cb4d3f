"""PASTA: pathology-aware MRI to PET cross-modal translation with diffusion models.

Source: Li et al., MICCAI 2024 (doi:10.1007/978-3-031-72104-5_51) and Medical Image Analysis 2026 (arXiv:2603.18896).
Two U-Nets of one shape: the conditioner arm turns the MRI into features, the denoiser arm removes noise from the PET
under their guidance. In training the arms also swap roles (cycle exchange consistency).

- `blocks`, `arm`: the network.
- `clinical`: clinical variables with missing values.
- `schedule`, `samplers`: Gaussian diffusion.
- `objective`: the losses of one pass.
- `slabs`, `volume`: from 2.5-D slabs to volumes, the published way and a faster one.
- `checkpoint`: weights in the published layout.
- `generator`: all of it as a `Generator`.
"""

from __future__ import annotations

from modality_synthesis.generators.pasta.generator import Pasta

__all__ = ["Pasta"]
