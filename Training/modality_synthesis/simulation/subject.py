"""One simulated subject: every modality and the truth, from a head, a severity and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from modality_synthesis.datasets.simulated import MARK
from modality_synthesis.json_files import read_json_object
from modality_synthesis.simulation.anatomy import atrophy, random_shape
from modality_synthesis.simulation.clinical import Person
from modality_synthesis.simulation.ct import simulate_ct
from modality_synthesis.simulation.labels import PARCELS, STRUCTURES, load_head, parcel
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.simulation.pet import Scanner, regional_uptake, simulate_pet
from modality_synthesis.volumes import atomic_files, write_image, write_json

FILES = {
    "T1w": "anat/{subject}_T1w.nii.gz",
    "T2w": "anat/{subject}_T2w.nii.gz",
    "CT": "ct/{subject}_ct.nii.gz",
    "FDG-PET": "pet/{subject}_trc-FDG_pet.nii.gz",
    "TAU-PET": "pet/{subject}_trc-AV1451_pet.nii.gz",
}
LABELS_FILE = "truth/{subject}_dseg.nii.gz"
TRUTH_FILE = "truth/{subject}_truth.json"


@dataclass(frozen=True)
class Plan:
    """Everything that determines one simulated subject."""

    subject: str
    split: str
    head: str
    seed: tuple[int, ...]
    person: Person
    scanner: Scanner
    modalities: tuple[str, ...]

    def stream(self, purpose: str) -> np.random.Generator:
        """A generator of its own per purpose, so that leaving one modality out changes no other."""
        return np.random.default_rng(
            [*self.seed, sum(ord(letter) << (8 * (i % 3)) for i, letter in enumerate(purpose))]
        )


def simulate_subject(plan: Plan, folder: Path) -> dict[str, str]:
    """Simulate one subject and write its files below `folder`.

    Returns:
        Paths relative to `folder`, by modality, and the label map's as "labels".
    """
    anatomy = random_shape(load_head(plan.head), plan.stream("shape"))
    anatomy = atrophy(anatomy, plan.person.severity)
    written: dict[str, str] = {}
    with atomic_files():
        for modality in plan.modalities:
            image = _simulate(modality, anatomy, plan)
            written[modality] = _write(image, FILES[modality], plan.subject, folder)
        written["labels"] = _write(anatomy, LABELS_FILE, plan.subject, folder)
        write_json(_truth(anatomy, plan), _truth_file(plan, folder))
    return written


def subject_files(plan: Plan, folder: Path) -> list[Path]:
    """Every file that `simulate_subject` writes."""
    templates = [*(FILES[modality] for modality in plan.modalities), LABELS_FILE, TRUTH_FILE]
    return [folder / plan.subject / template.format(subject=plan.subject) for template in templates]


def is_simulated(plan: Plan, folder: Path) -> bool:
    """Whether the subject of that name was simulated by this program."""
    try:
        return read_json_object(_truth_file(plan, folder))["simulated"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _truth_file(plan: Plan, folder: Path) -> Path:
    return folder / plan.subject / TRUTH_FILE.format(subject=plan.subject)


def _simulate(modality: str, anatomy: sitk.Image, plan: Plan) -> sitk.Image:
    rng = plan.stream(modality)
    if modality == "T1w":
        return simulate_mri(anatomy, "T1w", rng, Acquisition.draw(rng))
    if modality == "T2w":
        return simulate_mri(anatomy, "T2w", rng, Acquisition.draw(rng))
    if modality == "CT":
        return simulate_ct(anatomy, rng)
    return simulate_pet(anatomy, "FDG" if modality == "FDG-PET" else "TAU", plan.person.severity, rng, plan.scanner)


def _write(image: sitk.Image, template: str, subject: str, folder: Path) -> str:
    relative = f"{subject}/{template.format(subject=subject)}"
    write_image(image, folder / relative, description=MARK)
    return relative


def _truth(anatomy: sitk.Image, plan: Plan) -> dict[str, object]:
    regions = {name: parcel(name) for name in PARCELS} | STRUCTURES
    codes, counts = np.unique(sitk.GetArrayViewFromImage(anatomy), return_counts=True)
    voxels = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    voxel_ml = float(np.prod(anatomy.GetSpacing())) / 1000
    uptake = {tracer: regional_uptake(tracer, plan.person.severity) for tracer in ("FDG", "TAU")}
    volumes = {
        name: round(voxel_ml * sum(voxels.get(label, 0) for label in group), 4) for name, group in regions.items()
    }
    return {
        "simulated": True,
        "subject": plan.subject,
        "head": plan.head,
        "split": plan.split,
        "seed": list(plan.seed),
        "severity": plan.person.severity,
        "scanner": plan.scanner.manufacturer,
        "volume_ml": volumes,
        "expected_suvr": {
            tracer: {name: round(float(table[group[0]]), 4) for name, group in regions.items()}
            for tracer, table in uptake.items()
        },
    }
