"""Do the tissues of a synthetic MRI lie where they should: medians in atlas regions, for CTs without a reference.

python Testing/benchmarks/tissue_contrast.py --model demo-ct-t1w --model demo-ct-t2w CT.nii.gz DICOM_FOLDER ...

The atlas fits each head through the model's own affine registration only: cortex is mixed with white matter and fluid.
Deep gray matter, white matter and ventricles are eroded, so that their order can be read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis import synthesize
from modality_synthesis.preprocessing.atlas import labels_on

# FreeSurfer labels, and by how many voxels of the model's grid each region is eroded.
REGIONS = {
    "white matter": ((2, 41), 2),
    "deep gray matter": ((10, 11, 12, 49, 50, 51), 1),
    "cortex": ((*range(1001, 1036), *range(2001, 2036)), 0),
    "lateral ventricles": ((4, 43), 1),
}


def medians(volume: sitk.Image) -> dict[str, float]:
    """Median of each region in a volume in template space."""
    labels = labels_on(volume, sitk.Transform())
    values = sitk.GetArrayFromImage(volume)
    found = {}
    for name, (members, erosion) in REGIONS.items():
        mask = sitk.GetImageFromArray(np.isin(labels, members).astype(np.uint8))
        inside = sitk.GetArrayFromImage(sitk.BinaryErode(mask, [erosion] * 3) if erosion else mask) > 0
        found[name] = float(np.median(values[inside]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Medians of a synthetic MRI in atlas regions.")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("sources", nargs="+", type=Path)
    arguments = parser.parse_args()
    print("| head | model | " + " | ".join(REGIONS) + " |")
    print("|---" * (len(REGIONS) + 2) + "|")
    for source in arguments.sources:
        for model in arguments.model:
            found = medians(synthesize(source, model=model, space="template").image)
            print(
                f"| {source.name} | {Path(model).name} | " + " | ".join(f"{found[name]:.2f}" for name in REGIONS) + " |"
            )


if __name__ == "__main__":
    main()
