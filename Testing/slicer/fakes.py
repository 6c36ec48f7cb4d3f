"""A worker, models and volumes for the panel tests: small, quick, no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
# Not there, or slow to import, when a panel opens.
HEAVY = ("torch", "monai", "pydantic", "SimpleITK", "nibabel", "typer", "scipy", "matplotlib", "platformdirs")
MODULES = ("MRItoPETSynthesis", "CTtoMRSynthesis")
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


def fake_command() -> Any:
    """Starts the fake worker instead of the real one."""
    from modality_synthesis.slicer.command import WorkerCommand

    return WorkerCommand(sys.executable, [str(FAKE_WORKER)])


def card_facts(identifier: str, source: str, target: str, **changes: Any) -> dict:
    """A complete model card."""
    pet = target.endswith("PET")
    facts = {
        "schema_version": 1,
        "id": identifier,
        "version": "1.2.0",
        "name": f"{target} from {source} (test)",
        "badge": "demonstration",
        "route": {"source": source, "target": target},
        "generator": {"name": "residual-unet", "parameters": {}},
        "output": {
            "quantity": "SUVR" if pet else "signal",
            "units": "SUVR" if pet else "signal",
            "reference_region": "cerebellar gray matter" if pet else None,
            "display_window": [0.0, 2.0] if pet else [0.0, 1.2],
            "colormap": "PET-Heat" if pet else None,
        },
        "clinical_variables": [],
        "training": {"data": "Made-up heads", "simulated": True, "subjects": {"train": 8, "validation": 2, "test": 2}},
        "metrics": [
            {
                "name": "MAE",
                "value": 0.0812,
                "low": 0.075,
                "high": 0.088,
                "unit": "SUVR",
                "definition": "Mean absolute error",
                "region": "brain",
                "dataset": "made-up heads",
                "subjects": 2,
                "compared_with": {"mean image": 0.11},
            }
        ],
        "licence": "Apache-2.0",
        "intended_use": "Tests <only>",
        "limits": ["Adults only"],
        "citation": "None",
        "weights": {"file": "weights.safetensors", "sha256": "ab" * 32, "parameters": 1},
    }
    return {**facts, **changes}


def install_card(folder: Path, identifier: str, source: str = "T1w", target: str = "FDG-PET", **changes: Any) -> Path:
    """Put a card where the panel finds it."""
    package = folder / identifier
    package.mkdir(parents=True)
    path = package / "model.json"
    path.write_text(json.dumps(card_facts(identifier, source, target, **changes)), encoding="utf-8")
    return path


CLINICAL = [
    {"name": "age", "label": "Age", "kind": "number", "unit": "years", "minimum": 40, "maximum": 100, "required": True},
    {"name": "mmse", "label": "MMSE", "kind": "number", "unit": None, "minimum": 0, "maximum": 30, "required": False},
    {"name": "sex", "label": "Sex", "kind": "choice", "choices": ["F", "M"], "required": False},
]


def head_matrix(spacing: float = 6.0, angle: float = 10.0, left_handed: bool = False) -> np.ndarray:
    """An oblique IJK to RAS matrix."""
    radians = np.deg2rad(angle)
    cosine, sine = np.cos(radians), np.sin(radians)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * spacing
    if left_handed:
        matrix[:3, 2] *= -1
    matrix[:3, 3] = (-80.3, -95.7, 60.1 if left_handed else -60.1)
    return matrix


def add_head(name: str = "sub-01 T1w", ct: bool = False, matrix: np.ndarray | None = None, size: int = 28) -> Any:
    """A ball that passes for a head, in the scene."""
    import slicer

    k, j, i = np.mgrid[0:size, 0 : size + 2, 0 : size - 2]
    radius = np.sqrt((k - size / 2) ** 2 + (j - size / 2) ** 2 + (i - size / 2 + 1) ** 2)
    noise = np.random.default_rng(3).normal(0, 4, radius.shape)
    head = np.where(radius < size * 0.42, 300 - 5 * radius + noise, 0)
    if ct:
        head = np.where(radius < size * 0.42, 40 + noise, -1000)
    matrix = head_matrix() if matrix is None else matrix
    return slicer.util.addVolumeFromArray(head.astype(np.int16), matrix, name)
