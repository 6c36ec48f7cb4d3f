"""Simulated cohorts: atrophy and uptake follow severity, heads stay in their split, same seed gives the same files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from modality_synthesis.errors import BadInputError
from modality_synthesis.simulation import plan_cohort, simulate_cohort
from modality_synthesis.simulation.anatomy import (
    CORTICAL_LOSS,
    HIPPOCAMPAL_LOSS,
    VENTRICULAR_GROWTH,
    atrophy,
    random_shape,
)
from modality_synthesis.simulation.clinical import draw_person
from modality_synthesis.simulation.labels import CORTEX, HEADS_BY_SPLIT, load_head, parcel
from modality_synthesis.simulation.pet import regional_uptake, simulate_pet


@pytest.fixture(scope="module")
def head() -> sitk.Image:
    return load_head("03")


def volume(labels: sitk.Image, *codes: int) -> int:
    return int(np.isin(sitk.GetArrayFromImage(labels), codes).sum())


def test_atrophy_removes_and_adds_the_stated_fractions(head):
    severe, mild = atrophy(head, 1.0), atrophy(head, 0.5)
    for labels, severity in ((severe, 1.0), (mild, 0.5)):
        for code in (17, 53):
            assert volume(labels, code) == pytest.approx(
                (1 - HIPPOCAMPAL_LOSS * severity) * volume(head, code), rel=0.01
            )
        loss = CORTICAL_LOSS["entorhinal"] * severity
        assert volume(labels, *parcel("entorhinal")) == pytest.approx(
            (1 - loss) * volume(head, *parcel("entorhinal")), rel=0.01
        )
        growth = 1 + VENTRICULAR_GROWTH * severity
        assert volume(labels, 4) == pytest.approx(growth * volume(head, 4), rel=0.02)
    assert volume(severe, *CORTEX) < volume(mild, *CORTEX) < volume(head, *CORTEX)


def test_atrophy_leaves_the_head_outside_the_brain_alone(head):
    before, after = (sitk.GetArrayFromImage(labels) for labels in (head, atrophy(head, 1.0)))
    outside = before >= 500
    outside &= before < 1000
    np.testing.assert_array_equal(after[outside], before[outside])


def test_no_severity_no_change(head):
    assert atrophy(head, 0.0) is head


def test_random_shape_differs_between_subjects_and_repeats_for_one(head):
    first, again, other = (random_shape(head, np.random.default_rng(seed)) for seed in (1, 1, 2))
    first, again, other = (sitk.GetArrayFromImage(labels) for labels in (first, again, other))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.05
    kept = np.isin(first, CORTEX).sum() / np.isin(sitk.GetArrayFromImage(head), CORTEX).sum()
    assert 0.7 < kept < 1.3


@pytest.mark.parametrize("tracer", ["FDG", "TAU"])
def test_disease_moves_the_meta_regions_and_spares_the_cerebellum(tracer):
    healthy, ill = regional_uptake(tracer, 0.0), regional_uptake(tracer, 1.0)
    region = parcel("precuneus")[0] if tracer == "FDG" else parcel("inferiortemporal")[0]
    change = ill[region] / healthy[region] - 1
    if tracer == "FDG":
        assert change == pytest.approx(-0.30, abs=0.005)
    else:
        assert change > 0.8
    assert ill[8] == healthy[8] == 1.0
    motor = parcel("precentral")[0]
    assert abs(ill[motor] / healthy[motor] - 1) < 0.25 * abs(change)


def test_tau_spreads_in_the_order_of_the_braak_stages():
    def gain(region: str, severity: float) -> float:
        """Share of the region's final gain."""
        none, some, full = (regional_uptake("TAU", s)[parcel(region)[0]] for s in (0.0, severity, 1.0))
        return float((some - none) / (full - none))

    for severity in (0.3, 0.5):
        stages = [gain(name, severity) for name in ("entorhinal", "inferiortemporal", "precuneus", "precentral")]
        assert stages == sorted(stages, reverse=True)


def test_pet_is_scaled_to_the_cerebellar_cortex_and_cold_in_the_ventricles(head):
    pet = simulate_pet(head, "FDG", 0.0, np.random.default_rng(0))
    labels = sitk.GetArrayFromImage(
        sitk.Resample(head, pet, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt16)
    )
    values = sitk.GetArrayFromImage(pet)
    assert values[np.isin(labels, (8, 47))].mean() == pytest.approx(1.0, abs=0.03)
    gray, white, fluid = (values[np.isin(labels, codes)].mean() for codes in (parcel("precuneus"), (2, 41), (4, 43)))
    assert gray > 1.6 * white > 1.6 * fluid


def test_variables_follow_severity():
    people = [draw_person(np.random.default_rng(seed)) for seed in range(300)]
    severity = [person.severity for person in people]
    assert np.corrcoef(severity, [person.mmse for person in people])[0, 1] < -0.8
    assert np.corrcoef(severity, [person.adas_cog_13 for person in people])[0, 1] > 0.8
    assert all(0 <= person.mmse <= 30 and 50 <= person.age <= 95 for person in people)


def test_heads_stay_in_their_split():
    for plan in plan_cohort(60, seed=4, modalities=("T1w",)):
        assert plan.head in HEADS_BY_SPLIT[plan.split]
    heads = [head for heads in HEADS_BY_SPLIT.values() for head in heads]
    assert len(heads) == len(set(heads)) == 12


@pytest.mark.long
def test_cohort_is_complete_and_reproducible_whatever_the_number_of_jobs(tmp_path):
    tables = [
        simulate_cohort(3, tmp_path / name, seed=5, modalities=("T1w", "FDG-PET"), jobs=jobs)
        for name, jobs in (("a", 1), ("b", 3))
    ]
    rows = [list(csv.DictReader(table.open(), delimiter="\t")) for table in tables]
    assert rows[0] == rows[1]
    assert [row["split"] for row in rows[0]] == ["train", "validation", "test"]
    for row in rows[0]:
        for column in ("T1w", "FDG-PET", "labels"):
            images = [sitk.ReadImage(str(table.parent / row[column])) for table in tables]
            np.testing.assert_array_equal(*(sitk.GetArrayFromImage(image) for image in images))
        truth = json.loads((tables[0].parent / row["subject"] / "truth" / f"{row['subject']}_truth.json").read_text())
        assert truth["severity"] == pytest.approx(float(row["severity"]))
        assert truth["volume_ml"]["hippocampus"] > 0.5


def test_bad_arguments(tmp_path):
    with pytest.raises(BadInputError, match="'PET'"):
        simulate_cohort(3, tmp_path, modalities=("PET",))
    with pytest.raises(BadInputError, match="3 subjects"):
        simulate_cohort(2, tmp_path)
    assert not list(tmp_path.iterdir())
