"""A cohort small enough to train on in seconds: 2.5 mm simulated heads and a recipe for an 8 mm grid."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from modality_synthesis import parallel
from modality_synthesis.preprocessing.resampling import resample_isotropic
from modality_synthesis.simulation.labels import load_head
from modality_synthesis.simulation.mri import Acquisition, simulate_mri
from modality_synthesis.simulation.pet import simulate_pet
from modality_synthesis.training import run as training_run
from modality_synthesis.volumes import write_image

MINI_RECIPE = {
    "name": "mini",
    "route": {"source": "T1w", "target": "FDG-PET"},
    "cohort": "cohort.csv",
    "preprocessing": {
        "source": [
            {"step": "reorient"},
            {"step": "brain-mask"},
            {"step": "resample", "size": [24, 28, 24], "spacing": [8.0, 8.0, 8.0], "center": [0.0, 0.0, 20.0]},
            {"step": "normalize", "method": "z-score"},
        ],
        "target": {"minimum": 0.0, "mask_margin_mm": 8.0},
    },
    "generator": {"name": "residual-unet", "parameters": {"channels": [4, 8], "stem_stride": 1}},
    "inference": {"mode": "whole"},
    "losses": [{"name": "mse"}, {"name": "ssim", "weight": 0.1, "parameters": {"data_range": 2.0}}],
    "optimizer": {"name": "adamw", "learning_rate": 0.003},
    "training": {"epochs": 3, "batch_size": 1, "validate_every": 1, "average_decay": 0.9, "seed": 7},
    "output": {
        "quantity": "SUVR",
        "units": "SUVR",
        "reference_region": "cerebellar gray matter",
        "display_window": [0, 2],
    },
    "package": {
        "id": "mini",
        "name": "Mini",
        "badge": "demonstration",
        "licence": "Apache-2.0",
        "intended_use": "Tests",
        "limits": ["a test"],
        "citation": "none",
        "data": "simulated",
        "simulated": True,
    },
}


_in_this_process, _write_report = parallel._in_this_process, training_run.write_report


def _as_in_workers(work: parallel._Work) -> None:
    """Where no number of jobs is said, all is done in this process, as workers take seconds to start; but it could be
    done in them: it can be pickled."""
    pickle.dumps((work.function, list(work.items)))
    _in_this_process(work)
    pickle.dumps(work.results)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Around the tests of this folder and what they set up, for the session too; tests of other folders go without."""
    if Path(__file__).parent not in item.path.parents:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_in_this_process", _as_in_workers)
        patch.setattr(parallel.os, "cpu_count", lambda: 1)
        patch.setattr(training_run, "write_report", lambda folder: None)
        return (yield)


@pytest.fixture(scope="session")
def with_report() -> Callable[[], AbstractContextManager[None]]:
    """Trainings write their report inside `with with_report():` only: here it costs more than what it reports."""

    @contextmanager
    def written() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_run, "write_report", _write_report)
            yield

    return written


@pytest.fixture(scope="session")
def mini_cohort(tmp_path_factory) -> Path:
    """A table of six simulated subjects with T1w and FDG PET volumes at 2.5 mm, of two manufacturers by turns."""
    folder = tmp_path_factory.mktemp("mini cohort")
    rows = []
    heads = (("01", "train"), ("02", "train"), ("03", "train"), ("04", "train"), ("11", "validation"), ("16", "test"))
    for index, (head, split) in enumerate(heads):
        labels = coarse(load_head(head))
        rng = np.random.default_rng(index)
        subject = f"sub-{index}"
        files = {"T1w": f"{subject}_T1w.nii.gz", "FDG-PET": f"{subject}_pet.nii.gz"}
        write_image(
            simulate_mri(labels, "T1w", rng, Acquisition((2.5,) * 3)), folder / files["T1w"], description="simulated"
        )
        write_image(
            simulate_pet(labels, "FDG", 0.5, rng, spacing=(4.0, 4.0, 4.0)),
            folder / files["FDG-PET"],
            description="simulated",
        )
        maker = ("SIEMENS", "GE MEDICAL SYSTEMS")[index % 2]
        rows.append({"subject": subject, "split": split, **files, "age": 70 + index, "manufacturer": maker})
    with (folder / "cohort.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cohort.csv"


def coarse(labels: sitk.Image) -> sitk.Image:
    grid = resample_isotropic(labels, 2.5, is_mask=True)
    return sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)


@pytest.fixture(scope="session")
def mini_recipe(tmp_path_factory) -> Path:
    """The recipe above as a file."""
    path = tmp_path_factory.mktemp("recipe") / "mini.yaml"
    path.write_text(yaml.safe_dump(MINI_RECIPE))
    return path
