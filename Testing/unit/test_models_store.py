"""Installed models: what is found, what is chosen, what is removed."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path

import pytest
from test_models_package import WEIGHTS, facts

from modality_synthesis.errors import BadInputError, HashMismatchError, ModelMissingError
from modality_synthesis.models import (
    choose_model,
    find_model,
    list_models,
    load_model,
    remove_model,
    verify_model,
    write_package,
)
from modality_synthesis.models.versions import version_key


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """The user's folder; the shipped one, beside it, is the test's own too."""
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(folder))
    (tmp_path / "resources" / "Models").mkdir(parents=True)
    monkeypatch.setenv("MODALITY_SYNTHESIS_RESOURCES", str(tmp_path / "resources"))
    return folder


@pytest.fixture
def shipped(store) -> Path:
    return store.parent / "resources" / "Models"


def put(root: Path, name: str, **changes: object) -> Path:
    return write_package(root / name, facts(id=name, **changes), WEIGHTS).folder


def test_versions_are_ordered_as_semver_says():
    versions = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"]
    versions += ["1.0.0", "1.9.0", "1.10.0-rc.1", "1.10.0"]
    for older, newer in itertools.pairwise(versions):
        assert version_key(older) < version_key(newer)
    assert version_key("1.0.0+a") == version_key("1.0.0+b")


def test_the_user_s_package_hides_the_shipped_one(store, shipped):
    put(shipped, "tiny", version="9.0.0")
    mine = put(store, "tiny")
    assert [found.folder for found in list_models()] == [mine]
    assert load_model("tiny").folder == mine
    assert remove_model("tiny") == mine
    assert find_model("tiny").folder == shipped / "tiny"


def test_listing_filters_by_route_and_sorts(store, shipped):
    put(shipped, "b")
    put(store, "c", route={"source": "CT", "target": "T1w"})
    put(store, "a")
    assert [found.card.id for found in list_models()] == ["a", "b", "c"]
    assert [found.card.id for found in list_models("CT")] == ["c"]
    assert [found.card.id for found in list_models(target="FDG-PET")] == ["a", "b"]
    assert list_models("T2w") == []


def test_packages_on_their_way_in_or_out_are_not_seen(store):
    mine = put(store, "tiny")
    shutil.copytree(mine, store / ".ms-tmp-0123456789-1")
    shutil.copytree(mine, store / ".ms-old-0123456789-1")
    assert [found.folder for found in list_models()] == [mine]


def test_a_broken_package_is_a_warning_and_not_a_missing_one(store, caplog):
    put(store, "good")
    (store / "broken").mkdir()
    (store / "broken" / "weights.safetensors").write_bytes(b"")
    (store / "deep").mkdir()
    (store / "deep" / "model.json").write_text("[" * 200_000)
    with caplog.at_level(logging.WARNING):
        assert [found.card.id for found in list_models()] == ["good"]
    assert "broken is not a model package" in caplog.text
    assert "deep/model.json" in caplog.text
    with pytest.raises(BadInputError, match=r"no model\.json"):
        find_model("broken")
    assert remove_model("broken") == store / "broken"
    assert not (store / "broken").exists()


def test_a_model_is_found_by_folder_too(tmp_path):
    folder = put(tmp_path / "elsewhere", "tiny")
    assert find_model(folder).folder == folder
    assert find_model(str(folder)).card.id == "tiny"
    with pytest.raises(BadInputError, match="not a model package"):
        find_model(tmp_path / "elsewhere" / "absent")


def test_missing_models_name_the_nearest_and_what_there_is(store):
    with pytest.raises(ModelMissingError, match="Installed: none"):
        find_model("anything")
    put(store, "demo-t1w-fdg")
    with pytest.raises(ModelMissingError, match="Did you mean 'demo-t1w-fdg'"):
        find_model("Demo-T1w-FDG")
    with pytest.raises(ModelMissingError, match="Installed: demo-t1w-fdg"):
        find_model("zzz")


def test_choosing_prefers_research_then_the_newest(store, shipped):
    put(shipped, "demo", badge="demonstration", version="9.0.0")
    assert choose_model("FDG-PET").card.id == "demo"
    put(store, "old", badge="research", version="1.9.0")
    put(store, "new", badge="research", version="1.10.0")
    put(store, "preview", badge="research", version="1.10.0-rc.1")
    put(store, "other", badge="research", version="5.0.0", route={"source": "T2w", "target": "FDG-PET"})
    assert choose_model("FDG-PET", "T1w").card.id == "new"
    assert choose_model("FDG-PET").card.id == "other"


def test_of_equal_models_the_one_without_noise_is_chosen(store):
    put(store, "a-sampler", inference={"mode": "whole", "stochastic": True})
    put(store, "b-regression")
    assert choose_model("FDG-PET").card.id == "b-regression"


@pytest.mark.parametrize(("typed", "meant"), [("FGD", "FDG-PET"), ("tau-pett", "TAU-PET"), ("amyloyd", "AMYLOID-PET")])
def test_no_model_for_a_target_says_what_to_do(store, typed, meant):
    put(store, "ct", route={"source": "CT", "target": "T1w"})
    with pytest.raises(ModelMissingError) as refusal:
        choose_model(typed)
    for part in (f"Did you mean '{meant}'", "CT -> T1w", "models install"):
        assert part in str(refusal.value)


def test_a_known_target_without_model_gets_no_guess(store):
    with pytest.raises(ModelMissingError) as refusal:
        choose_model("TAU-PET", "T1w")
    assert "TAU-PET from T1w" in str(refusal.value)
    assert "mean" not in str(refusal.value)


def test_verifying_an_installed_model(store):
    folder = put(store, "tiny")
    assert verify_model("tiny").folder == folder
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(HashMismatchError):
        verify_model("tiny")


def test_only_what_the_user_installed_is_removed(tmp_path, store, shipped, monkeypatch):
    kept = put(shipped, "shipped"), put(tmp_path / "work", "mine")
    with pytest.raises(BadInputError, match="came with the program"):
        remove_model("shipped")
    monkeypatch.chdir(tmp_path / "work")
    for name in ("mine", str(kept[1])):
        with pytest.raises(BadInputError, match="not among the installed models"):
            remove_model(name)
    with pytest.raises(ModelMissingError):
        remove_model("absent")
    assert all((folder / "model.json").exists() for folder in kept)


def test_removing_a_linked_package_removes_the_link_alone(tmp_path, store):
    folder = put(tmp_path / "work", "tiny")
    (store / "tiny").symlink_to(folder, target_is_directory=True)
    remove_model("tiny")
    assert list(store.iterdir()) == []
    assert (folder / "model.json").exists()


def test_an_unreadable_store_is_a_warning(store, monkeypatch):
    real = Path.iterdir

    def refuse(path: Path):
        if path == store:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list_models() == []
