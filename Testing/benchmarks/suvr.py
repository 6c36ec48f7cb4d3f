"""SUVR of real PET, and against the simulator's truth: the numbers and pictures of docs/measurements.md.

python Testing/benchmarks/suvr.py FOLDER_WITH_REAL_PET FOLDER_FOR_PICTURES
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))
from test_suvr_truth import HEAD, LEAST_ML, SCANNER, means, simulated_patient

from modality_synthesis.evaluation import suvr
from modality_synthesis.evaluation.tables import SUVR
from modality_synthesis.preprocessing.registration import mni152
from modality_synthesis.volumes import array, read_image

SHOWN = (
    "amyloid_global", "fdg_ad_signature", "braak_5", "ctx-precuneus", "ctx-superiorfrontal", "ctx-pericalcarine",
    "Putamen", "Thalamus", "Hippocampus", "Brain-Stem", "Cerebral-White-Matter",
)  # fmt: skip


def against_the_truth(docs: Path) -> None:
    patient = simulated_patient()
    plain, corrected = (
        means(suvr(patient.pet, mri=patient.mri, pvc_fwhm_mm=width)) for width in (None, SCANNER.fwhm_mm)
    )
    print(f"head {HEAD}, {len(patient.large)} regions of at least {LEAST_ML:g} ml")
    for name in (name for name in SHOWN if name in patient.truth):
        print(f"{name:24s}", *(f"{found[name]:.2f}" for found in (patient.truth, patient.seen, plain, corrected)))
    columns = {}
    for label, found, truth in (
        ("measured / true seen by the scanner", plain, patient.seen),
        ("measured / true", plain, patient.truth),
        ("corrected / true", corrected, patient.truth),
    ):
        away = np.array([found[name] / truth[name] - 1 for name in patient.large])
        columns[label] = away
        print(label, f"median |deviation| {np.median(np.abs(away)):.1%}, largest {np.abs(away).max():.1%}")
    away, before = np.abs(columns["corrected / true"]), np.abs(columns["measured / true"])
    print(f"nearer to the truth after correction: {(away < before).sum()} of {away.size}")
    _draw_truth(patient, plain, corrected, docs / "suvr-truth.png")


def _draw_truth(patient, plain: dict[str, float], corrected: dict[str, float], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.9), dpi=110, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, truth, title in zip(
        panels, (patient.seen, patient.truth), ("what the scanner lets through", "what the tracer does"), strict=True
    ):
        series = [("measured", plain, "#0072B2", "o")]
        if truth is patient.truth:
            series.append(("measured, corrected for partial volume", corrected, "#D55E00", "s"))
        axes.plot([0, 2.1], [0, 2.1], color="#1b1b1f", linewidth=0.8)
        for label, found, color, marker in series:
            axes.scatter(
                [truth[name] for name in patient.large], [found[name] for name in patient.large], s=22, color=color,
                marker=marker, label=label, edgecolor="white", linewidth=0.5,
            )  # fmt: skip
        axes.set(xlim=(0.3, 2.1), ylim=(0.3, 2.1), xlabel="true regional SUVR", ylabel="measured SUVR", aspect="equal")
        axes.set_title(f"Against {title}", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path)


def real(data: Path, docs: Path) -> None:
    fdg = read_image(data / "templates" / "fdg_pet_template_2mm.nii.gz")
    patient = _to_template(read_image(data / "pet" / "sub-qin24_trc-FDG_pet.nii.gz"), fdg)
    volumes = {
        "FDG template": fdg,
        "H2O template": read_image(data / "gpl" / "spm_PET_2mm.nii.gz"),
        "FDG patient": patient,
    }
    found: dict[str, SUVR] = {}
    for name, volume in volumes.items():
        found[name] = suvr(volume, template_space=True)
        deep = means(suvr(volume, template_space=True, reference_region="white-matter-eroded"))
        regional = means(found[name])
        print(name, {region: round(regional[region], 2) for region in SHOWN}, end=" ")
        print(f"cortex / white matter {regional['amyloid_global'] / regional['Cerebral-White-Matter']:.2f}", end=", ")
        print(f"cortex / eroded white matter {deep['amyloid_global']:.2f}")
    _draw_template(found["FDG template"].image, docs / "suvr-fdg-template.png")


def _to_template(pet: sitk.Image, template: sitk.Image) -> sitk.Image:
    """A PET without an MRI: affine to the tracer's template by mutual information, resampled there."""
    pet, template = sitk.Cast(pet, sitk.sitkFloat32), sitk.Cast(template, sitk.sitkFloat32)
    transform: sitk.Transform = sitk.CenteredTransformInitializer(
        template, pet, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    brain = sitk.Resample(mni152().mask, template, sitk.Transform(), sitk.sitkNearestNeighbor)
    for stage in (sitk.Euler3DTransform(), sitk.AffineTransform(3)):
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(48)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([3, 2])
        method.SetSmoothingSigmasPerLevel([4, 2])
        method.SetMetricFixedMask(sitk.BinaryDilate(brain, [3] * 3))
        method.SetMovingInitialTransform(transform)
        method.SetInitialTransform(stage)
        transform = sitk.CompositeTransform([transform, method.Execute(template, pet)])
    resampled = sitk.Resample(pet, template, transform, sitk.sitkLinear, -1.0)
    # The vertex is above the field of view: what was not measured is cut off, not taken for zero.
    missing = (array(resampled) < 0) & (array(brain) > 0)
    last = int(np.flatnonzero(missing.any(axis=(1, 2)) & (np.arange(missing.shape[0]) > missing.shape[0] // 2))[0])
    return sitk.Maximum(resampled, 0.0)[:, :, :last]


def _draw_template(image: sitk.Image, path: Path) -> None:
    from matplotlib.figure import Figure

    values = array(sitk.DICOMOrient(image, "LPS"))
    index = sitk.DICOMOrient(image, "LPS").TransformPhysicalPointToIndex((4.0, 20.0, 8.0))
    planes = [values[index[2]], values[::-1, index[1]], values[::-1, :, index[0]]]
    figure = Figure(figsize=(8.2, 2.9), dpi=110, layout="constrained")
    panels = figure.subplots(1, 3, width_ratios=[plane.shape[1] for plane in planes])
    for axes, plane, title in zip(panels, planes, ("axial", "coronal", "sagittal"), strict=True):
        drawn = axes.imshow(plane, cmap="inferno", vmin=0, vmax=1.6)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    figure.colorbar(drawn, ax=list(panels), label="SUVR (cerebellar gray)", shrink=0.85)
    figure.savefig(path)


if __name__ == "__main__":
    data, docs = Path(sys.argv[1]), Path(sys.argv[2])
    real(data, docs)
    against_the_truth(docs)
