"""The many ways people write a modality."""

from __future__ import annotations

import pytest

from modality_synthesis.modalities import MODALITIES, modality_of, nearest_modality, tracer_modality


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((name, name) for name in MODALITIES),
        *((name.lower(), name) for name in MODALITIES),
        *((name.replace("-", "_").upper(), name) for name in MODALITIES),
        ("fdg-pet", "FDG-PET"),
        ("FDG", "FDG-PET"),
        ("fdg_pet", "FDG-PET"),
        ("FDG PET", "FDG-PET"),
        ("pet-fdg", "FDG-PET"),
        ("[18F]FDG", "FDG-PET"),
        ("18F-FDG PET", "FDG-PET"),
        ("tau", "TAU-PET"),
        ("amyloid", "AMYLOID-PET"),
        ("t1", "T1w"),
        ("T1-weighted", "T1w"),
        ("T2", "T2w"),
        ("t2_flair", "FLAIR"),
        ("Flair", "FLAIR"),
        ("ct", "CT"),
    ],
)
def test_every_usual_spelling_is_understood(written, meant):
    assert modality_of(written) == meant


@pytest.mark.parametrize("written", ["", "PET", "MRI", "age", "T3w", "TAU-PETT", "sub-01", "raclopride", "f18"])
def test_what_is_no_modality_is_none(written):
    assert modality_of(written) is None


@pytest.mark.parametrize(
    ("tracer", "meant"),
    [
        ("18FAV45", "AMYLOID-PET"),
        ("18FAV1451", "TAU-PET"),
        ("18FFBB", "AMYLOID-PET"),
        ("11CPIB", "AMYLOID-PET"),
        ("18FFDG", "FDG-PET"),
        ("18FFMM", "AMYLOID-PET"),
        ("flortaucipir (18F)", "TAU-PET"),
        ("MK-6240", "TAU-PET"),
        ("PiB", "AMYLOID-PET"),
    ],
)
def test_tracers_are_known_with_and_without_isotope(tracer, meant):
    assert tracer_modality(tracer) == meant


def test_a_slip_leads_to_the_nearest():
    assert nearest_modality("TAU-PETT") == "TAU-PET"
    assert nearest_modality("FGD-PET") == "FDG-PET"
    assert nearest_modality("zzzzzz") is None
