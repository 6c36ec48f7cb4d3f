"""A model is loaded once, whoever uses it; a volume in memory gives what its file gives."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk

import modality_synthesis
from modality_synthesis.errors import BadInputError
from modality_synthesis.generators import build_generator
from modality_synthesis.models import write_package
from modality_synthesis.synthesis import synthesizer as room
from modality_synthesis.synthesis.batch import synthesize_batch
from modality_synthesis.volumes import array, image_like, read_image

from .conftest import MINI_RECIPE


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """An untrained mini model."""
    card = {name: MINI_RECIPE[name] for name in ("route", "generator", "inference", "preprocessing", "output")}
    names = ("id", "name", "badge", "licence", "intended_use", "limits", "citation")
    facts = {key: MINI_RECIPE["package"][key] for key in names}
    training = {"data": "none", "simulated": True, "subjects": {"train": 0, "validation": 0}}
    generator = build_generator("residual-unet", MINI_RECIPE["generator"]["parameters"])
    folder = tmp_path_factory.mktemp("models") / "mini"
    return write_package(folder, {**card, **facts, "version": "1.0.0", "training": training}, generator.package_state())


@pytest.fixture(scope="module")
def head(mini_cohort):
    return mini_cohort.parent / next(csv.DictReader(mini_cohort.open()))["T1w"]


@pytest.fixture
def loads(monkeypatch):
    """Counts how often a network is loaded."""
    counted, load = [], room.load_generator
    monkeypatch.setattr(room, "_KEPT", {})
    monkeypatch.setattr(room, "load_generator", lambda package: (counted.append(package.card.id), load(package))[1])
    return counted


def test_prepare_and_run_give_what_synthesize_gives(package, head, loads):
    whole = modality_synthesis.synthesize(head, model=package, device="cpu")
    synthesizer = modality_synthesis.load_synthesizer(package.folder, "cpu")
    for _ in range(2):
        prepared = synthesizer.prepare(read_image(head))
        (made,) = synthesizer.run(prepared)
        np.testing.assert_array_equal(array(made), array(whole.image))
    assert loads == ["mini", "mini"]  # the one that is kept, and the one that was asked for
    again = modality_synthesis.synthesize(head, model=synthesizer)
    assert again.sidecar["Fingerprint"] == whole.sidecar["Fingerprint"]
    assert len(loads) == 2


def test_a_volume_in_memory_is_taken_as_its_file(package, head, tmp_path):
    image = read_image(head)
    made = modality_synthesis.synthesize(image, tmp_path / "pet.nii.gz", model=package, device="cpu")
    np.testing.assert_array_equal(array(made.image), array(modality_synthesis.synthesize(head, model=package).image))
    (source,) = made.sidecar["Sources"]
    assert source["sha256"] != modality_synthesis.synthesize(image + 1.0, model=package).sidecar["Sources"][0]["sha256"]
    assert (tmp_path / "pet.json").is_file()
    with pytest.raises(BadInputError, match="not finite"):
        modality_synthesis.synthesize(image_like(np.full_like(array(image), np.nan), image), model=package)
    with pytest.raises(BadInputError, match="numbers per voxel"):
        modality_synthesis.synthesize(sitk.Compose(image, image), model=package)


def test_rows_of_a_batch_share_one_network(package, mini_cohort, tmp_path, loads):
    """With one row the work is done in this process, where loads can be counted: twice the same model, one load."""
    rows = list(csv.DictReader(mini_cohort.open()))[:1]
    for number in range(2):
        table = tmp_path / f"{number}.csv"
        table.write_text(f"subject,T1w\nsub-{number},{mini_cohort.parent / rows[0]['T1w']}\n")
        (row,) = synthesize_batch(table, tmp_path / f"out{number}", model=package, device="cpu")
        assert row.state == "done", row.message
    assert loads == ["mini"]


def test_few_models_are_kept_and_a_changed_package_is_loaded_anew(package, loads, tmp_path):
    first = room.kept_synthesizer(package, "cpu")
    assert room.kept_synthesizer(package, "cpu") is first
    card = package.card.model_copy(update={"version": "1.0.1"})
    assert room.kept_synthesizer(type(package)(package.folder, card), "cpu") is not first
    for number in range(9):
        room.kept_synthesizer(type(package)(tmp_path / str(number), card), "cpu")
    assert len(room._KEPT) <= 4
