"""Model packages as they come from other people's computers: what is a package's own is taken, the rest passed over."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from test_models_install import assert_refused, zipped
from test_models_package import WEIGHTS, facts
from typer.testing import CliRunner

from modality_synthesis import doctor
from modality_synthesis.cli import app
from modality_synthesis.errors import BadInputError
from modality_synthesis.models import (
    hidden_by,
    install_model,
    list_models,
    load_weights,
    remove_model,
    verify_model,
    write_package,
)
from modality_synthesis.slicer import cards

NAMES = {"model.json", "weights.safetensors", "MODEL_CARD.md"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1" * 64 + b"\nsize 6000000\n"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("MODALITY_SYNTHESIS_MODELS", str(folder))
    (tmp_path / "resources" / "Models").mkdir(parents=True)
    monkeypatch.setenv("MODALITY_SYNTHESIS_RESOURCES", str(tmp_path / "resources"))
    return folder


@pytest.fixture
def files(tmp_path) -> dict[str, bytes]:
    package = write_package(tmp_path / "made" / "tiny", facts(), WEIGHTS)
    return {path.name: path.read_bytes() for path in sorted(package.folder.iterdir())}


def finder(files):
    inside = {f"demo/{name}": content for name, content in files.items()} | {"demo/.DS_Store": bytes(100)}
    forks = {f"__MACOSX/demo/._{name}": bytes(100) for name in files} | {"__MACOSX/._demo": bytes(100)}
    return inside | forks


def github(files):
    beside = {"README.md": b"# x\n", ".gitattributes": b"*.safetensors filter=lfs\n", "LICENSE": b"MIT\n",
              ".github/workflows/ci.yml": b"on: push\n", "CITATION.cff": b"x\n", "LICENSE.txt": b"MIT\n"}  # fmt: skip
    return {f"my-model-main/{name}": content for name, content in (files | beside).items()}


def nested_in_a_repository(files):
    return {f"my-model-main/package/{name}": content for name, content in files.items()} | {
        "my-model-main/README.md": b"# x\n",
        "my-model-main/.gitignore": b"",
    }


def windows(files):
    return {f"demo\\{name}": content for name, content in files.items()} | {"demo\\Thumbs.db": b"x"}


def two_levels(files):
    return {f"models/demo/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("packed", [finder, github, nested_in_a_repository, windows, two_levels])
def test_archives_of_every_kind_give_the_package(tmp_path, store, files, packed):
    package = install_model(zipped(tmp_path / "in.zip", packed(files)))
    assert NAMES <= {path.name for path in package.folder.iterdir()} <= NAMES | {"README.md", "LICENSE"}
    assert (package.folder / "weights.safetensors").read_bytes() == files["weights.safetensors"]
    assert set(load_weights(verify_model("tiny"))) == set(WEIGHTS)


@pytest.mark.parametrize("name", ["train.py", "package/x.py", "../evil.json", "docs/figure.png"])
def test_what_is_neither_a_package_s_nor_a_companion_is_refused(tmp_path, store, files, name):
    assert_refused(zipped(tmp_path / "in.zip", {**github(files), f"my-model-main/{name}": b"x"}), store, "not belong")


def test_two_packages_in_one_archive_are_named(tmp_path, store, files):
    both = {f"{folder}/{name}": content for folder in ("a", "b") for name, content in files.items()}
    assert_refused(zipped(tmp_path / "in.zip", both), store, r"several model packages are in it \(a/, b/\)")


def test_a_cloned_repository_and_a_browsed_folder_are_packages(tmp_path, store, files):
    folder = tmp_path / "clone"
    (folder / ".git").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / ".DS_Store").write_bytes(b"x")
    installed = install_model(folder).folder
    assert {path.name for path in installed.iterdir()} == NAMES
    (installed / ".DS_Store").write_bytes(b"x")
    verify_model("tiny")


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_pointer_is_named_for_what_it_is(tmp_path, store, files, name):
    path = zipped(tmp_path / "in.zip", {**files, name: POINTER})
    assert_refused(path, store, rf"{name} is a Git LFS pointer of 132 bytes, .*6\.0 MB.*git lfs pull")
    folder = write_package(tmp_path / "work" / "tiny", facts(), WEIGHTS).folder
    (folder / name).write_bytes(POINTER)
    with pytest.raises(BadInputError, match="Git LFS pointer"):
        verify_model(str(folder))


@pytest.mark.parametrize(
    "edited",
    [
        lambda card: b"\xef\xbb\xbf" + card.replace(b"\n", b"\r\n"),
        lambda card: card.decode().encode("utf-16"),
    ],
    ids=["notepad", "UTF-16"],
)
def test_a_card_edited_in_windows_is_read(tmp_path, store, files, edited):
    installed = install_model(zipped(tmp_path / "in.zip", {**files, "model.json": edited(files["model.json"])}))
    assert installed.card.id == "tiny"
    assert installed.card.weights.sha256 == json.loads(files["model.json"])["weights"]["sha256"]
    assert [card.id for card in cards.installed_cards()] == ["tiny"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"explainability": {"kind": "shap"}}, r"unknown key 'explainability'.*upgrade"),
        ({"schema_version": 2}, r"'schema_version' is 2.*Upgrade"),
        ({"gate": 1, "training": {"package_version": "99.0.0"}}, r"made by version 99\.0\.0.*upgrade"),
        ({"license": "MIT"}, "Did you mean 'licence'"),
    ],
)
def test_a_card_of_a_newer_version_says_so(tmp_path, store, files, change, message):
    card = json.loads(files["model.json"])
    for key, value in change.items():
        card[key] = {**card[key], **value} if isinstance(card.get(key), dict) else value
    path = zipped(tmp_path / "in.zip", {**files, "model.json": json.dumps(card).encode()})
    assert_refused(path, store, message)


def test_a_missing_zip_does_not_exist(tmp_path):
    result = CliRunner().invoke(app, ["models", "install", str(tmp_path / "nowhere.zip")])
    assert result.exit_code == 1
    assert "nowhere.zip does not exist" in result.stderr


def test_a_shipped_id_is_refused_and_when_asked_for_shown_as_hiding_it(tmp_path, store, files):
    shipped = write_package(tmp_path / "resources" / "Models" / "tiny", facts(version="9.0.0"), WEIGHTS).folder
    path = zipped(tmp_path / "in.zip", files)
    assert_refused(path, store, "came with the program.*another id.*--replace")
    write_package(shipped, facts(), WEIGHTS)
    assert install_model(path).folder == store / "tiny"  # the very same model
    remove_model("tiny")
    write_package(shipped, facts(version="9.0.0"), WEIGHTS)
    package = install_model(path, replace=True)
    assert [found.folder for found in list_models()] == [store / "tiny"]
    assert [found.folder for found in hidden_by(package)] == [shipped]
    listed = CliRunner().invoke(app, ["models", "list"]).stdout
    assert f"hides tiny 9.0.0 in {shipped}" in listed
    assert json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)["models"][0]["hides"] == [
        str(shipped)
    ]
    assert "hides 9.0.0" in doctor._models()[0]["state"]
    (card,) = cards.installed_cards()
    assert card.hides == ("9.0.0",)
    assert "Hides tiny 9.0.0" in cards.badge_text(card)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ["a"]},
        {"inference": [1]},
        {"training": 3},
        {"route": {"source": 1, "target": None}},
        {"output": {"quantity": "SUVR", "units": "SUVR", "display_window": [0]}},
        {"metrics": [{"value": 10**400}]},
        {"clinical_variables": 7},
        {"input_ranges": [1, 2, 3]},
    ],
)
def test_a_damaged_card_does_not_stop_the_panel(tmp_path, store, files, change, caplog):
    install_model(zipped(tmp_path / "in.zip", files))
    (store / "odd").mkdir()
    (store / "odd" / "model.json").write_text(json.dumps({**json.loads(files["model.json"]), "id": "odd", **change}))
    (store / "deep").mkdir()
    (store / "deep" / "model.json").write_text("[" * 100_000)
    assert [card.id for card in cards.installed_cards()] == ["tiny"]
    assert "its card cannot be read" in caplog.text


def test_an_archive_with_a_nameless_entry_is_not_intact(tmp_path, store, files):
    path = zipped(tmp_path / "in.zip", {**files, "x.json": b"{}"})
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: place + 28] + b"\0\0" + content[place + 30 :])
    assert_refused(path, store, "not an intact zip|not belong")


def test_a_zip_inside_a_zip_says_what_to_do(tmp_path: Path) -> None:
    outer = tmp_path / "outer.zip"
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("models/inner.zip", b"PK")
    with pytest.raises(BadInputError, match=r"inner\.zip' is an archive itself\. Unpack"):
        install_model(outer)
