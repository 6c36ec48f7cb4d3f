"""Inputs that fuzzing found and that were mended stay mended; and a few fresh ones of every kind."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from fuzz import write_case
from kinds import KINDS

from modality_synthesis.errors import ModalitySynthesisError

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
FOUND = sorted(case for kind in (FUZZ / "corpus").iterdir() for case in kind.iterdir())
# What takes a second each: networks are built, folders of DICOM files read.
SLOW = {"card", "dicom", "dicom-deflated", "dicom-encapsulated", "dicom-jpeg2000", "recipe", "run"}


def read(kind: str, folder: Path) -> None:
    with suppress(ModalitySynthesisError):
        KINDS[kind].read(folder)


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(tmp_path / "store"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", FOUND, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_what_fuzzing_found(case: Path, tmp_path: Path) -> None:
    read(case.parent.name, Path(shutil.copytree(case, tmp_path / "case")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_fresh_cases_of_every_kind(kind: str, tmp_path: Path) -> None:
    for number in range(2 if kind in SLOW else 8):
        read(kind, write_case(KINDS[kind].make(Random(f"{kind} {number}")), tmp_path / "case"))
