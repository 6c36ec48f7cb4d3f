"""SUVR of a simulated PET against the simulator's truth, in the native space of a tilted, obliquely scanned head.

What a scanner cannot see (its point spread moves signal between regions) is told from what the program may get wrong:
the truth is known as the person's uptake and as that uptake blurred by the scanner's point spread alone, both averaged
over the person's own regions. The program knows neither: it has the T1w, the PET and its atlas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.evaluation import suvr, tables
from modality_synthesis.evaluation.partial_volume import iterative_yang
from modality_synthesis.evaluation.tables import SUVR
from modality_synthesis.preprocessing.atlas import regions
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.simulation.pet import SCANNERS, point_spread, scan, true_suvr, true_uptake
from modality_synthesis.volumes import array

pytestmark = pytest.mark.long

HEAD, SEVERITY, SCANNER = "18", 0.4, SCANNERS[1]
# Smaller regions say more about the affine atlas than about the measurement.
LEAST_ML = 10.0
LABELS = [label for region in regions() for label in region.labels]


@dataclass(frozen=True)
class Patient:
    """One simulated person.

    Attributes:
        mri: T1w, oblique.
        pet: on another oblique grid of the same world.
        labels: the person's own regions, on the PET's grid.
        truth: SUVR by region, of both hemispheres.
        seen: the same, seen through the scanner's point spread.
        volume_ml: by region.
    """

    mri: sitk.Image
    pet: sitk.Image
    labels: np.ndarray
    truth: dict[str, float]
    seen: dict[str, float]
    volume_ml: dict[str, float]

    @property
    def large(self) -> list[str]:
        """Regions of at least `LEAST_ML`, without the reference."""
        return [name for name, ml in self.volume_ml.items() if ml >= LEAST_ML and name != "Cerebellum-Cortex"]


def oblique(
    image: sitk.Image, spacing: tuple[float, float, float], degrees: tuple[float, float, float], nearest: bool = False
) -> sitk.Image:
    """A head tilted by up to 14 degrees, on a sagittal, left-handed grid that is tilted by `degrees`."""
    center = np.array(image.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in image.GetSize()]))
    pose = sitk.Euler3DTransform()
    pose.SetCenter(center.tolist())
    pose.SetRotation(*np.deg2rad([14, -9, 11]).tolist())
    pose.SetTranslation((8.0, -15.0, 6.0))
    tilt = sitk.Euler3DTransform()
    tilt.SetRotation(*np.deg2rad(degrees).tolist())
    direction = np.array(tilt.GetMatrix()).reshape(3, 3) @ [[0, 0, 1], [1, 0, 0], [0, -1, 0]]
    size = [int(np.ceil(290 / step)) for step in spacing]
    origin = np.array(pose.GetInverse().TransformPoint(center.tolist()))
    origin -= direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return sitk.Resample(
        image, size, pose, sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear, origin.tolist(), spacing,
        direction.ravel().tolist(), 0.0, sitk.sitkUInt16 if nearest else sitk.sitkFloat32,
    )  # fmt: skip


@pytest.fixture(scope="module")
def patient() -> Patient:
    return simulated_patient()


def simulated_patient() -> Patient:
    """The same person every time."""
    labels, rng = load_head(HEAD), np.random.default_rng(11)
    mri = simulate_mri(labels, "T1w", rng, Acquisition((1.2,) * 3))
    uptake = true_uptake(labels, "FDG", SEVERITY, rng)
    pet = scan(uptake, labels, rng, SCANNER)
    counts = np.bincount(sitk.GetArrayFromImage(labels).ravel(), minlength=1 + max(LABELS))
    groups = {
        region.name: region.labels
        for region in regions()
        if region.hemisphere == "both" and counts[list(region.labels)].any()
    }
    grid = ((2.5, 2.5, 3.0), (-12.0, 8.0, 25.0))
    return Patient(
        mri=oblique(mri, (1.3, 1.3, 1.5), (20.0, -5.0, 7.0)),
        pet=oblique(pet, *grid),
        labels=sitk.GetArrayFromImage(oblique(labels, *grid, nearest=True)),
        truth=true_suvr(uptake, labels, groups),
        seen=true_suvr(point_spread(uptake, SCANNER), labels, groups),
        volume_ml={name: counts[sorted(set(codes))].sum() / 1000 for name, codes in groups.items()},
    )


@pytest.fixture(scope="module")
def measured(patient: Patient) -> tuple[SUVR, SUVR]:
    """The program's answer without and with partial-volume correction, with one way to the template for both."""
    found = []

    def once(*arguments):
        if not found:
            found.append(way_to_template(*arguments))
        return found[0]

    way_to_template = tables._way_to_template
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_way_to_template", once)
        return (
            suvr(patient.pet, mri=patient.mri),
            suvr(patient.pet, mri=patient.mri, pvc_fwhm_mm=SCANNER.fwhm_mm),
        )


def means(result: SUVR) -> dict[str, float]:
    return {row.region: row.suvr for row in result.rows if row.hemisphere == "both"}


def deviations(result: SUVR, truth: dict[str, float], names: list[str]) -> np.ndarray:
    found = means(result)
    return np.array([found[name] / truth[name] - 1 for name in names])


def test_regional_suvr_is_what_the_scanner_lets_through(patient, measured):
    plain, _ = measured
    assert plain.registration_dice > 0.92
    assert len(patient.large) >= 20
    away = np.abs(deviations(plain, patient.seen, patient.large))
    assert np.median(away) < 0.04
    assert away.max() < 0.18
    cortex = deviations(plain, patient.seen, ["amyloid_global", "braak_5", "braak_6"])
    assert np.abs(cortex).max() < 0.04


def test_what_is_missing_to_the_true_uptake_is_the_partial_volume_effect(patient, measured):
    """Cortex loses what the point spread takes from it, white matter gains it."""
    plain, _ = measured
    found = means(plain)
    for name in patient.large:
        true, seen = patient.truth[name], patient.seen[name]
        low, high = min(true, seen), max(true, seen)
        assert low - 0.15 * true < found[name] < high + 0.15 * true, name
    assert found["amyloid_global"] < 0.75 * patient.truth["amyloid_global"]
    assert found["Cerebral-White-Matter"] > 1.5 * patient.truth["Cerebral-White-Matter"]


def test_partial_volume_correction_comes_nearer_to_the_truth(patient, measured):
    plain, corrected = (np.abs(deviations(result, patient.truth, patient.large)) for result in measured)
    assert (corrected < plain).mean() > 2 / 3
    assert np.median(corrected) < 0.75 * np.median(plain)
    white = means(measured[1])["Cerebral-White-Matter"]
    assert white == pytest.approx(patient.truth["Cerebral-White-Matter"], rel=0.08)


def test_with_the_person_s_own_regions_the_correction_is_right(patient):
    """So that what it leaves above is the affine atlas, not the method."""
    values = array(patient.pet)
    spacing = patient.pet.GetSpacing()[::-1]
    unblurred = iterative_yang(values, patient.labels, SCANNER.fwhm_mm, spacing)
    reference = np.isin(patient.labels, (8, 47))
    groups = {region.name: region.labels for region in regions() if region.hemisphere == "both"}
    plain, corrected = (
        np.array(
            [
                volume[np.isin(patient.labels, groups[name])].mean() / volume[reference].mean() / patient.truth[name]
                - 1
                for name in patient.large
            ]
        )
        for volume in (values, unblurred)
    )
    assert np.median(np.abs(plain)) > 0.25
    # The rest: a shift of up to 1 mm between PET and head, and what resampling adds to the point spread.
    assert np.median(np.abs(corrected)) < 0.25 * np.median(np.abs(plain))
    assert np.abs(corrected).max() < 0.18
