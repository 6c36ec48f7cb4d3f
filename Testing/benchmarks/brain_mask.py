"""Which offline brain mask? The shipped network, the template's mask through the affine, and both combined.

    python Testing/benchmarks/brain_mask.py FOLDER_WITH_REAL_HEADS

Truth: the native FreeSurfer parcellation of one head (sub-ecog, closed and filled), and for Colin27 the share of its
AAL regions inside the mask. Neither head ships with the project.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import SimpleITK as sitk

from modality_synthesis.preprocessing.bias_field import correct_bias_field
from modality_synthesis.preprocessing.brain_mask import brain_mask, hold_to_template
from modality_synthesis.preprocessing.parameters import BiasField
from modality_synthesis.preprocessing.registration import mni152, register_to_template
from modality_synthesis.volumes import read_image


def overlap(first: sitk.Image, second: sitk.Image) -> float:
    """Dice."""
    a, b = (sitk.GetArrayFromImage(mask) > 0 for mask in (first, second))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def inside(mask: sitk.Image, region: sitk.Image) -> float:
    """Share of `region` inside `mask`."""
    a, b = sitk.GetArrayFromImage(mask) > 0, sitk.GetArrayFromImage(region) > 0
    return float((a & b).sum() / b.sum())


def candidates(image: sitk.Image) -> dict[str, tuple[sitk.Image, float]]:
    """Mask and CPU seconds by method."""
    start = time.process_time()
    network = brain_mask(image)
    after_network = time.process_time() - start
    corrected = correct_bias_field(image, network, BiasField())
    transform = register_to_template(corrected, network).transform
    after_registration = time.process_time() - start
    back = transform.GetInverse()
    atlas = sitk.Resample(mni152().mask, image, back, sitk.sitkNearestNeighbor, 0)
    on_template = sitk.Resample(network, mni152().mask, transform, sitk.sitkNearestNeighbor, 0)
    held = sitk.Resample(hold_to_template(on_template, 6, 6), image, back, sitk.sitkNearestNeighbor, 0)
    return {
        "network": (network, after_network),
        "template mask through the affine": (atlas, after_registration),
        "network held to the template": (held, after_registration),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Brain masks on real heads.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print("| head | method | agreement | CPU s |\n|---|---|---|---|")
    for name, truth_name in (("ecog", "sub-ecog_aparc+aseg.nii.gz"), ("colin27", "sub-colin27_aal.nii.gz")):
        image = sitk.DICOMOrient(read_image(folder / f"sub-{name}_T1w.nii.gz"), "LPS")
        truth = sitk.DICOMOrient(sitk.ReadImage(str(folder / truth_name), sitk.sitkUInt16), "LPS") > 0
        if name == "ecog":
            truth = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(truth, [5, 5, 5]))
        for method, (mask, seconds) in candidates(image).items():
            figure = (
                f"Dice {overlap(mask, truth):.3f}" if name == "ecog" else f"{inside(mask, truth):.1%} of AAL inside"
            )
            print(f"| {name} | {method} | {figure} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
